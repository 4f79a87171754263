package onredis

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"time"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck/internal/driver"
)

// XREADGROUP takes messages of a paused subscription as well as of any other, and
// a script in its place would cost every message twice. So a Fetch finds out in
// three ways. One that has cause for doubt, because it is the first in this
// process or something has changed what subscriptions are made with, asks before
// it takes anything. The scripts that deliver again look by themselves. And behind
// each XREADGROUP comes a look, on the same connection: should the subscription
// have been paused meanwhile, what was taken is given back, as if it had not been
// delivered.

const (
	// takePaused is what the script take returns as due from a paused subscription.
	takePaused = -2
	// notRunning is the mark of a subscription that may be paused.
	notRunning = math.MaxUint64
)

// Pause implements driver.Steerer.
func (e *engine) Pause(ctx context.Context, topic, name string, paused bool) error {
	s := e.subscription(topic, name)
	s.setRunning(notRunning)
	to := "0"
	if paused {
		to = "1"
	}
	_, err := e.steer(ctx, s, e.scripts.pause, writing, []string{s.keys.stream, s.keys.subs}, name, to)
	s.setRunning(notRunning)
	return err
}

func (s *subscription) setRunning(mark uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = mark
}

// checkPaused asks whether the subscription is paused if it may be.
func (f *fetching) checkPaused(ctx context.Context) error {
	mark := f.hub.mark(f.s.id.topic)
	f.s.mu.Lock()
	known := f.s.running == mark
	f.s.mu.Unlock()
	if known {
		return nil
	}
	replies, err := f.link.doMulti(ctx, f.b.Hget().Key(f.s.keys.subs).Field(f.s.id.name).Build())
	if err == nil {
		f.paused, err = f.readPaused(replies[0])
	}
	if err == nil && !f.paused {
		f.s.setRunning(mark)
	}
	return err
}

// giveBack gives back what was taken from a subscription that has been paused
// meanwhile. What the consumer held before stays with it.
func (f *fetching) giveBack(ctx context.Context) error {
	f.s.setRunning(notRunning)
	var list []settling
	for _, messages := range [][]driver.Message{f.again, f.fresh} {
		for _, m := range messages {
			id, err := parseID(m.ID)
			if err != nil {
				return err
			}
			list = append(list, settling{
				Settlement: driver.Settlement{ID: m.ID, Do: driver.Release}, redis: id.Redis(), text: id.String(),
			})
		}
	}
	f.again, f.fresh = nil, nil
	if len(list) == 0 {
		return nil
	}
	defer f.s.setSettled()
	_, err := f.engine.settle(ctx, f.s, f.consumer, list)
	return err
}

// readPaused reads what the hash subs has of the subscription.
func (f *fetching) readPaused(reply rueidis.RedisResult) (bool, error) {
	text, err := reply.AsBytes()
	if rueidis.IsRedisNil(err) {
		return false, nil // a group of another client's
	}
	if err != nil || !bytes.Contains(text, []byte(`"paused"`)) {
		return false, err
	}
	var config subscriptionConfig
	if json.Unmarshal(text, &config) != nil {
		return false, nil // not for this to tell
	}
	if config.Paused && config.LeaseMS > 0 {
		f.s.setLease(time.Duration(config.LeaseMS) * time.Millisecond)
	}
	return config.Paused, nil
}
