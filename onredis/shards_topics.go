package onredis

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// Each method here is that of the engine of the topic's instance, wherever the topic
// goes meanwhile.

// Append implements driver.Log. Messages that were stored before the topic went
// elsewhere are part of what went; the others follow.
func (s *shards) Append(ctx context.Context, topic string, messages []driver.Message) (ids []string, err error) {
	before := 0 // how many went elsewhere with the topic
	err = s.on(ctx, topic, makesAlways, func(e *engine) error {
		before = len(ids)
		more, err := e.Append(ctx, topic, messages[before:])
		ids = append(ids, more...)
		return err
	})
	if _, durably := asked(messages[:before]); durably && err == nil {
		err = fmt.Errorf("%w: the topic has moved to another instance meanwhile", driver.ErrDurability)
	}
	return ids, err
}

// Read implements driver.Log.
func (s *shards) Read(ctx context.Context, topic string, from driver.Position, max int) (page driver.Page, err error) {
	err = s.on(ctx, topic, makesNone, func(e *engine) error {
		page, err = e.Read(ctx, topic, from, max)
		page.Era = s.eras.shown(topic, e, page.Era)
		return err
	})
	return page, err
}

// Join implements driver.Subscriber.
func (s *shards) Join(ctx context.Context, topic, name string, config driver.JoinConfig) (existed bool, err error) {
	err = s.on(ctx, topic, makesMaybe, func(e *engine) error {
		existed, err = e.Join(ctx, topic, name, config)
		return err
	})
	return existed, err
}

// Fetch implements driver.Subscriber.
func (s *shards) Fetch(ctx context.Context, topic, name string, req driver.FetchRequest) (got driver.Fetched, err error) {
	err = s.on(ctx, topic, makesNone, func(e *engine) error {
		got, err = e.Fetch(ctx, topic, name, req)
		got.Era = s.eras.shown(topic, e, got.Era)
		return err
	})
	return got, err
}

// Settle implements driver.Subscriber. What one script settles is settled either
// before the topic goes elsewhere or after; so no more than that is asked for at once.
func (s *shards) Settle(ctx context.Context, topic, name, consumer string, settlements []driver.Settlement) ([]string, error) {
	var notHeld []string
	for portion := range slices.Chunk(settlements, maxPipeline) {
		err := s.on(ctx, topic, makesNone, func(e *engine) error {
			more, err := e.Settle(ctx, topic, name, consumer, portion)
			notHeld = append(notHeld, more...)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return notHeld, nil
}

// Leave implements driver.Subscriber.
func (s *shards) Leave(ctx context.Context, topic, name, consumer string) error {
	return s.on(ctx, topic, makesNone, func(e *engine) error { return e.Leave(ctx, topic, name, consumer) })
}

// Outstanding implements driver.Subscriber.
func (s *shards) Outstanding(ctx context.Context, topic, name string, ids []string) (open map[string]driver.State, err error) {
	err = s.on(ctx, topic, makesNone, func(e *engine) error {
		open, err = e.Outstanding(ctx, topic, name, ids)
		return err
	})
	return open, err
}

// Topic implements driver.Admin.
func (s *shards) Topic(ctx context.Context, topic string) (info driver.TopicInfo, err error) {
	err = s.on(ctx, topic, makesNone, func(e *engine) error {
		info, err = e.Topic(ctx, topic)
		return err
	})
	return info, err
}

// Trim implements driver.Admin.
func (s *shards) Trim(ctx context.Context, topic string, before driver.Position) (removed int64, err error) {
	err = s.on(ctx, topic, makesNone, func(e *engine) error {
		removed, err = e.Trim(ctx, topic, before)
		return err
	})
	return removed, err
}

// DeleteTopic implements driver.Admin.
func (s *shards) DeleteTopic(ctx context.Context, topic string) error {
	defer s.forgetKnown(topic)
	return s.on(ctx, topic, makesNone, func(e *engine) error { return e.DeleteTopic(ctx, topic) })
}

// forgetKnown forgets that a topic was made where it is.
func (s *shards) forgetKnown(topic string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, topic)
}

// DeleteSubscription implements driver.Admin.
func (s *shards) DeleteSubscription(ctx context.Context, topic, name string) error {
	return s.on(ctx, topic, makesNone, func(e *engine) error { return e.DeleteSubscription(ctx, topic, name) })
}

// Configure implements driver.Steerer.
func (s *shards) Configure(ctx context.Context, topic string, config driver.TopicConfig) error {
	return s.on(ctx, topic, makesAlways, func(e *engine) error { return e.Configure(ctx, topic, config) })
}

// Peek implements driver.Steerer.
func (s *shards) Peek(ctx context.Context, topic, name string, req driver.PeekRequest) (peeked driver.Peeked, err error) {
	err = s.on(ctx, topic, makesNone, func(e *engine) error {
		peeked, err = e.Peek(ctx, topic, name, req)
		return err
	})
	return peeked, err
}

// Requeue implements driver.Steerer.
func (s *shards) Requeue(ctx context.Context, topic, name string, ids []string) (missing []string, err error) {
	return s.letters(ctx, topic, ids, func(e *engine, ids []string) ([]string, error) { return e.Requeue(ctx, topic, name, ids) })
}

// Drop implements driver.Steerer.
func (s *shards) Drop(ctx context.Context, topic, name string, ids []string) (missing []string, err error) {
	return s.letters(ctx, topic, ids, func(e *engine, ids []string) ([]string, error) { return e.Drop(ctx, topic, name, ids) })
}

// letters takes dead letters away, no more at once than one script does.
func (s *shards) letters(ctx context.Context, topic string, ids []string, take func(*engine, []string) ([]string, error)) (missing []string, err error) {
	for portion := range portions(ids, lettersAtOnce) {
		err := s.on(ctx, topic, makesNone, func(e *engine) error {
			more, err := take(e, portion)
			missing = append(missing, more...)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return missing, nil
}

// Cancel implements driver.Steerer.
func (s *shards) Cancel(ctx context.Context, topic string, ids []string) (missing []string, err error) {
	err = s.on(ctx, topic, makesNone, func(e *engine) error {
		missing, err = e.Cancel(ctx, topic, ids)
		return err
	})
	return missing, err
}

// Seek implements driver.Steerer.
func (s *shards) Seek(ctx context.Context, topic, name string, to driver.Position) error {
	return s.on(ctx, topic, makesNone, func(e *engine) error { return e.Seek(ctx, topic, name, to) })
}

// Pause implements driver.Steerer.
func (s *shards) Pause(ctx context.Context, topic, name string, paused bool) error {
	return s.on(ctx, topic, makesNone, func(e *engine) error { return e.Pause(ctx, topic, name, paused) })
}

// Purge implements driver.Steerer.
func (s *shards) Purge(ctx context.Context, topic string) (removed int64, err error) {
	err = s.on(ctx, topic, makesNone, func(e *engine) error {
		removed, err = e.Purge(ctx, topic)
		return err
	})
	return removed, err
}

// Tick implements driver.Scheduler.
func (s *shards) Tick(ctx context.Context, schedule driver.Schedule, tick time.Time, m driver.Message) (id string, done bool, err error) {
	err = s.on(ctx, schedule.Topic, makesMaybe, func(e *engine) error {
		id, done, err = e.Tick(ctx, schedule, tick, m)
		return err
	})
	return id, done, err
}
