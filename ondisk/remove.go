package ondisk

import (
	"context"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// Trim removes a range of messages, up to the first that is needed.
func (e *engine) Trim(ctx context.Context, name string, before driver.Position) (removed int64, err error) {
	limit, err := startOf(before)
	if err != nil {
		return 0, err
	}
	var gone int64 // belongs to the committer until it has answered
	err = e.submit(ctx, &request{alone: true, decide: func(tx *transaction) error {
		t, err := e.needTopic(name)
		if err != nil {
			return err
		}
		limit := t.neededFrom(limit)
		first, exists, err := e.firstFrom(t, limit)
		if err != nil {
			return err
		}
		trimmed := t.rec.appended
		if exists {
			trimmed = first.number - 1
		}
		if gone = int64(trimmed - t.rec.trimmed); gone == 0 {
			return nil
		}
		t.rec.trimmed = trimmed
		t.trimmed.Store(trimmed)
		tx.deleteRange(tableKey(tagMessage, name), idKey(limit, tagMessage, name))
		tx.touch(t)
		tx.hint(name)
		return nil
	}})
	if err != nil {
		return 0, err
	}
	return gone, nil
}

// neededFrom returns the first id that must stay: limit, or what a subscription
// has yet to be delivered or to settle.
func (t *topic) neededFrom(limit streamid.ID) streamid.ID {
	limit = earlier(limit, t.rec.last.Next())
	for _, s := range t.subs {
		limit = earlier(limit, s.rec.cursor.Next())
		for id := range s.pending {
			limit = earlier(limit, id)
		}
		for _, g := range s.groups {
			if g.left > 0 {
				limit = earlier(limit, g.members[g.oldest()].id)
				break // those of the others come later
			}
		}
	}
	return limit
}

func earlier(a, b streamid.ID) streamid.ID {
	if a.Compare(b) <= 0 {
		return a
	}
	return b
}

// DeleteTopic removes all ranges of the topic. Its last id is kept, as part of
// the floor, so that a topic that is made again gives out higher ones.
func (e *engine) DeleteTopic(ctx context.Context, name string) error {
	return e.submit(ctx, &request{alone: true, decide: func(tx *transaction) error {
		t := e.state.topics[name]
		if t == nil {
			return driver.ErrTopicNotFound
		}
		global := &e.state.global
		if t.rec.last.Compare(global.floor) > 0 {
			global.floor = t.rec.last
		}
		t.trimmed.Store(t.rec.appended)
		delete(e.state.topics, name)
		for _, tag := range []byte{tagMessage, tagSub, tagGroup, tagPending, tagDead} {
			prefix := tableKey(tag, name)
			tx.deleteRange(prefix, rangeEnd(prefix))
		}
		tx.delete(tableKey(tagTopic, name))
		tx.onDurable(func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			delete(e.visible, name)
		})
		tx.hint(name)
		return nil
	}})
}

// DeleteSubscription removes the subscription with its pending messages and dead
// letters.
func (e *engine) DeleteSubscription(ctx context.Context, name, subscription string) error {
	return e.submit(ctx, &request{alone: true, decide: func(tx *transaction) error {
		t, err := e.needTopic(name)
		if err != nil {
			return err
		}
		s := t.subs[subscription]
		if s == nil {
			return driver.ErrSubscriptionNotFound
		}
		delete(t.subs, subscription)
		for _, tag := range []byte{tagGroup, tagPending, tagDead} {
			prefix := tableKey(tag, name, subscription)
			tx.deleteRange(prefix, rangeEnd(prefix))
		}
		tx.delete(tableKey(tagSub, name, subscription))
		tx.onDurable(func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			delete(t.visible, subscription)
		})
		tx.hint(name)
		return nil
	}})
}
