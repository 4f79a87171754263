package ondisk

import (
	"context"
	"slices"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// Trim removes what is not needed, in portions.
func (e *engine) Trim(ctx context.Context, name string, before driver.Position) (removed int64, err error) {
	limit, err := startOf(before)
	if err != nil {
		return 0, err
	}
	for {
		count, more, err := e.trimSome(ctx, name, limit)
		removed += count
		if err != nil || !more {
			return removed, err
		}
	}
}

// trimSome removes a portion of what comes before a limit and is not needed. It
// looks at the messages ahead of the committer, which then sees whether that is
// still how things stand.
func (e *engine) trimSome(ctx context.Context, name string, limit streamid.ID) (removed int64, more bool, err error) {
	var t *topic
	var durable *topicRecord
	err = e.submit(ctx, &request{decide: func(*transaction) error {
		t, err = e.needTopic(name)
		if err == nil {
			limit = t.neededFrom(limit)
		}
		return err
	}})
	if err != nil {
		return 0, false, err
	}
	end, err := e.reading()
	if err != nil {
		return 0, false, err
	}
	durable = t.durable.Load()
	c, err := e.survey(t, earlier(limit, durable.last.Next()), maxSurvey)
	end()
	if err != nil || c.count == 0 {
		return 0, false, err
	}
	stale := false
	err = e.submit(ctx, &request{decide: func(tx *transaction) error {
		now, err := e.needTopic(name)
		if err != nil {
			return err
		}
		if stale = now != t || !c.holds(t) || t.neededFrom(c.behind()) != c.behind(); stale {
			return nil
		}
		if err := e.cut(tx, t, c); err != nil {
			return err
		}
		tx.hint(name)
		return nil
	}})
	if err != nil {
		return 0, false, err
	}
	if stale {
		return 0, true, nil
	}
	return int64(c.count), c.more, nil
}

// neededFrom returns the first id that must stay: limit, or what a subscription
// has yet to be delivered or to settle.
func (t *topic) neededFrom(limit streamid.ID) streamid.ID {
	limit = earlier(limit, t.rec.last.Next())
	for _, s := range t.subs {
		limit = earlier(limit, s.rec.cursor.Next())
		if id, ok := s.oldestSingle(); ok {
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

func later(a, b streamid.ID) streamid.ID {
	if a.Compare(b) >= 0 {
		return a
	}
	return b
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
		e.noneDue(tx, t)
		e.state.recent.drop(e.state.batch)
		for _, tag := range slices.Concat([]byte{tagMessage, tagSub, tagConfig, tagDelayed, tagDedupe, tagForget}, deliveredTags, deadTags) {
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
		e.deleteSubscription(tx, t, s)
		return nil
	}})
}

func (e *engine) deleteSubscription(tx *transaction, t *topic, s *subscription) {
	delete(t.subs, s.name)
	for _, tag := range slices.Concat(deliveredTags, deadTags) {
		prefix := tableKey(tag, t.name, s.name)
		tx.deleteRange(prefix, rangeEnd(prefix))
	}
	tx.delete(tableKey(tagSub, t.name, s.name))
	tx.onDurable(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(t.visible, s.name)
	})
	tx.hint(t.name)
}
