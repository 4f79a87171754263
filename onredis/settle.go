package onredis

import (
	"context"
	"slices"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// actions are the names that the script settle knows.
var actions = map[driver.Action]string{
	driver.Acknowledge: "ack", driver.Retry: "retry", driver.Release: "release",
	driver.DeadLetter: "dead", driver.Renew: "renew",
}

// settling is a settlement with its id as Redis has it and as the keys of
// retries do.
type settling struct {
	driver.Settlement
	redis, text string
}

// Settle implements driver.Subscriber. Acknowledging in volume is one XACK, or for
// a queue the script ack; all else is one script, which tells of each id whether it
// was held.
func (e *engine) Settle(ctx context.Context, topic, name, consumer string, settlements []driver.Settlement) ([]string, error) {
	list := make([]settling, 0, len(settlements))
	var notHeld []string
	onlyAcks := true
	for _, one := range settlements {
		id, err := streamid.Parse(one.ID)
		if err != nil {
			notHeld = append(notHeld, one.ID)
			continue
		}
		list = append(list, settling{Settlement: one, redis: id.Redis(), text: id.String()})
		onlyAcks = onlyAcks && one.Do == driver.Acknowledge
	}
	if ctx.Err() != nil {
		return nil, e.explain(ctx, &notSent{ctx.Err()}, "", writing)
	}
	if len(list) == 0 {
		return notHeld, nil
	}
	s := e.subscription(topic, name)
	inexact := len(list) > driver.ExactSettlements
	known, queue := s.kind()
	if onlyAcks && known && (inexact || len(list) == 1) {
		if done, err := e.acknowledge(ctx, s, queue, list); done || err != nil {
			return notHeld, err
		}
	}
	if !onlyAcks {
		defer s.setSettled() // a retry may be due at once
	}
	missing, err := e.settle(ctx, s, consumer, list)
	for range maxHeals {
		if !isReply(err, "NOGROUP") {
			break
		}
		if err := e.heal(ctx, s); err != nil {
			return nil, err
		}
		missing, err = e.settle(ctx, s, consumer, list)
	}
	if err != nil {
		return nil, e.explain(ctx, err, s.keys.stream, writing)
	}
	if onlyAcks && known && inexact {
		// Most of what the script missed, acknowledge has done before.
		return notHeld, nil
	}
	return append(notHeld, missing...), nil
}

// kind tells whether the subscription is known to exist and of which kind it is, and
// whether it is that of a queue.
func (s *subscription) kind() (known, queue bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known && s.asked, s.queue
}

// acknowledge acknowledges by XACK alone, or by the script ack, and reports whether
// that was all.
func (e *engine) acknowledge(ctx context.Context, s *subscription, queue bool, list []settling) (done bool, err error) {
	b := e.b
	var cmds []rueidis.Completed
	var acked int64
	for portion := range slices.Chunk(list, maxPipeline) {
		ids := make([]string, len(portion))
		for i := range portion {
			ids[i] = portion[i].redis
		}
		if queue {
			n, err := e.runInt(ctx, e.scripts.ack, []string{s.keys.stream, s.keys.subs}, append([]string{s.id.name}, ids...)...)
			if err != nil {
				return false, e.explain(ctx, err, s.keys.stream, writing)
			}
			acked += n
			continue
		}
		cmds = append(cmds, b.Xack().Key(s.keys.stream).Group(s.id.name).Id(ids...).Build())
	}
	if queue {
		return acked == int64(len(list)), nil
	}
	replies, err := e.work.at(s.keys.stream).doMulti(ctx, cmds...)
	if err != nil {
		return false, e.explain(ctx, err, s.keys.stream, writing)
	}
	for _, r := range replies {
		n, err := r.ToInt64()
		if err != nil {
			return false, e.explain(ctx, err, s.keys.stream, writing)
		}
		acked += n
	}
	return acked == int64(len(list)), nil
}

// settle runs the script settle and returns the ids that were not held.
func (e *engine) settle(ctx context.Context, s *subscription, consumer string, list []settling) ([]string, error) {
	k := &s.keys
	keys := []string{k.stream, k.subs, k.waiting, k.leased, k.retry, k.dead, k.lost, k.buried}
	var notHeld []string
	for portion := range slices.Chunk(list, maxPipeline) {
		args := make([]string, 0, 2+5*len(portion))
		args = append(args, s.id.name, consumer)
		for _, one := range portion {
			args = append(args, actions[one.Do], one.redis, one.text, millis(max(0, one.After)), one.Reason)
		}
		reply, err := e.work.at(keys[0]).run(ctx, e.scripts.settle, keys, args...)
		if err != nil {
			return nil, err
		}
		numbers, err := reply.AsIntSlice()
		if err != nil {
			return nil, err
		}
		for _, n := range numbers {
			if n >= 1 && int(n) <= len(portion) {
				notHeld = append(notHeld, portion[n-1].ID)
			}
		}
	}
	return notHeld, nil
}

// runInt runs a script that returns a number.
func (e *engine) runInt(ctx context.Context, s script, keys []string, args ...string) (int64, error) {
	reply, err := e.work.at(keys[0]).run(ctx, s, keys, args...)
	if err != nil {
		return 0, err
	}
	return reply.ToInt64()
}
