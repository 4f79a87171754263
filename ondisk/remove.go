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
	return e.trimBefore(ctx, name, limit)
}

const (
	// maxStale is how often a portion is looked for that is no longer what it was
	// when the committer gets to it, since others remove messages meanwhile.
	maxStale = 3
	// smallSurvey is how many messages the committer itself looks at then.
	smallSurvey = 500
)

func (e *engine) trimBefore(ctx context.Context, name string, limit streamid.ID) (removed int64, err error) {
	for stale := 0; ; {
		r := &trimming{engine: e, name: name, limit: limit}
		if stale < maxStale {
			err = r.trimAhead(ctx)
		} else {
			err = r.trimNow(ctx)
		}
		if err != nil {
			return removed, err
		}
		if r.stale {
			stale++
			continue
		}
		removed += int64(r.cut.count)
		if !r.cut.more {
			return removed, nil
		}
	}
}

// trimming removes a portion of what comes before a limit and is not needed.
type trimming struct {
	engine *engine
	name   string
	limit  streamid.ID
	cut    cutting
	stale  bool // nothing was removed, since the topic has changed
}

// trimAhead looks at the messages ahead of the committer, which then sees whether
// that is still how things stand.
func (r *trimming) trimAhead(ctx context.Context) error {
	e := r.engine
	var t *topic
	err := e.submit(ctx, &request{decide: func(*transaction) (err error) {
		if t, err = e.needTopic(r.name); err == nil {
			r.limit = t.neededFrom(r.limit)
		}
		return err
	}})
	if err != nil {
		return err
	}
	end, err := e.reading()
	if err != nil {
		return err
	}
	c, err := e.survey(t, earlier(r.limit, t.durable.Load().last.Next()), maxSurvey)
	end()
	if err != nil || c.count == 0 {
		return err
	}
	return e.submit(ctx, &request{decide: func(tx *transaction) error {
		now, err := e.needTopic(r.name)
		if err != nil {
			return err
		}
		if r.stale = now != t || !c.holds(t) || t.neededFrom(c.behind()) != c.behind(); r.stale {
			return nil
		}
		return r.remove(tx, t, c)
	}})
}

// trimNow has the committer look at a few messages.
func (r *trimming) trimNow(ctx context.Context) error {
	return r.engine.submit(ctx, &request{alone: true, decide: func(tx *transaction) error {
		t, err := r.engine.needTopic(r.name)
		if err != nil {
			return err
		}
		c, err := r.engine.survey(t, t.neededFrom(r.limit), smallSurvey)
		if err != nil || c.count == 0 {
			return err
		}
		return r.remove(tx, t, c)
	}})
}

func (r *trimming) remove(tx *transaction, t *topic, c cutting) error {
	if err := r.engine.cut(tx, t, c); err != nil {
		return err
	}
	r.cut = c
	tx.hint(t.name)
	return nil
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
