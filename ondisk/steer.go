package ondisk

import (
	"context"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// needSubscription returns a subscription for the committer to work on; that it
// or its topic is not there is an error.
func (e *engine) needSubscription(topic, name string) (*subscription, error) {
	t, err := e.needTopic(topic)
	if err != nil {
		return nil, err
	}
	s := t.subs[name]
	if s == nil {
		return nil, driver.ErrSubscriptionNotFound
	}
	return s, nil
}

// Seek puts the cursor where that of a new subscription would be. A queue keeps
// nothing before it.
func (e *engine) Seek(ctx context.Context, name, subscription string, to driver.Position) error {
	start, err := startOf(to)
	if err != nil {
		return err
	}
	return e.submit(ctx, &request{alone: true, decide: func(tx *transaction) error {
		s, err := e.needSubscription(name, subscription)
		if err != nil {
			return err
		}
		t := e.state.topics[name]
		begin, err := e.begin(t, driver.JoinConfig{From: to}, start)
		if err != nil {
			return err
		}
		if s.rec.queue {
			if err := e.emptyBefore(tx, t, begin.cursor); err != nil {
				return err
			}
		}
		tx.goOn(s, begin.cursor, begin.delivered)
		tx.hint(name)
		return nil
	}})
}

// goOn has a subscription go on behind a message, with nothing held and nothing
// waiting. It must be alone in its transaction.
func (tx *transaction) goOn(s *subscription, cursor streamid.ID, delivered uint64) {
	if s.grouped+len(s.pending) > 0 {
		for _, tag := range deliveredTags {
			prefix := tableKey(tag, s.topic, s.name)
			tx.deleteRange(prefix, rangeEnd(prefix))
		}
	}
	consumers := s.consumers
	s.reset()
	for name, c := range consumers {
		c.held = 0
		s.consumers[name] = c
	}
	s.advance(cursor, delivered)
	tx.touchSub(s)
}

// Pause stops deliveries, or has them go on.
func (e *engine) Pause(ctx context.Context, name, subscription string, paused bool) error {
	return e.submit(ctx, &request{decide: func(tx *transaction) error {
		s, err := e.needSubscription(name, subscription)
		if err != nil || s.rec.paused == paused {
			return err
		}
		s.rec.paused = paused
		s.paused.Store(paused)
		tx.touchSub(s)
		if !paused {
			tx.hint(name)
		}
		return nil
	}})
}

// Purge removes a topic's messages, and what its subscriptions have of them but
// for dead letters.
func (e *engine) Purge(ctx context.Context, name string) (removed int64, err error) {
	var gone int64 // belongs to the committer until it has answered
	err = e.submit(ctx, &request{alone: true, decide: func(tx *transaction) error {
		t, err := e.needTopic(name)
		if err != nil {
			return err
		}
		gone = t.rec.length() + int64(t.rec.delayed)
		t.rec.trimmed, t.rec.holes, t.rec.delayed = t.rec.appended, 0, 0
		t.rec.bytes, t.rec.counted = 0, true
		t.trimmed.Store(t.rec.trimmed)
		floor := t.rec.last.Next()
		t.floor.Store(&floor)
		e.noneDue(tx, t)
		for _, tag := range []byte{tagMessage, tagDelayed} {
			prefix := tableKey(tag, name)
			tx.deleteRange(prefix, rangeEnd(prefix))
		}
		for _, s := range t.subs {
			cursor := t.rec.last
			if t.rec.appended == 0 {
				cursor = streamid.ID{}
			}
			tx.goOn(s, cursor, t.rec.appended)
		}
		tx.touch(t)
		tx.hint(name)
		return nil
	}})
	if err != nil {
		return 0, err
	}
	return gone, nil
}
