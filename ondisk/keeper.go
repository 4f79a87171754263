package ondisk

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/beckmq/beck/internal/streamid"
)

// sweepInterval is about how often the background looks for messages that are
// too old, subscriptions nobody reads, and deduplication ids to be forgotten.
const sweepInterval = time.Minute

func (e *engine) sweepLoop(ctx context.Context, every time.Duration) {
	for {
		// So that several processes of a machine don't do it at once.
		wait := every + time.Duration((rand.Float64()-0.5)*0.2*float64(every))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		if e.failed() == nil {
			e.sweep(ctx)
		}
	}
}

// sweep does once what the background has to do.
func (e *engine) sweep(ctx context.Context) {
	e.mu.RLock()
	names := slices.Sorted(maps.Keys(e.visible))
	e.mu.RUnlock()
	for _, name := range names {
		t := e.find(name)
		if t == nil {
			continue
		}
		if err := e.sweepTopic(ctx, t); err != nil {
			if ctx.Err() != nil || e.failed() != nil {
				return
			}
			e.log.Error("beck: a topic can't be kept in order", "topic", name, "err", err)
		}
	}
}

func (e *engine) sweepTopic(ctx context.Context, t *topic) error {
	durable := t.durable.Load()
	for more := durable.remembered > 0; more; {
		err := e.submit(ctx, &request{size: 256 * forgetSize, decide: func(tx *transaction) error {
			now, err := e.topic(t.name)
			if more = false; err != nil || now != t {
				return err
			}
			if tx.unseen(t) {
				return errLater
			}
			more, err = e.forgetSome(tx, t)
			return err
		}})
		if err != nil {
			return err
		}
	}
	if err := e.expire(ctx, t); err != nil {
		return err
	}
	if !durable.counted {
		if err := e.countBytes(ctx, t.name); err != nil {
			return err
		}
	}
	return e.removeOld(ctx, t)
}

// removeOld removes what is older than the topic keeps it, and not needed.
func (e *engine) removeOld(ctx context.Context, t *topic) error {
	age, durable := time.Duration(t.maxAge.Load()), t.durable.Load()
	if age <= 0 || durable.length() == 0 {
		return nil
	}
	limit := streamid.At(e.now().Add(-age))
	if t.oldest.Load().Compare(limit) >= 0 {
		return nil
	}
	end, err := e.reading()
	if err != nil {
		return err
	}
	c, err := e.survey(t, durable.last.Next(), 1)
	end()
	if err != nil || c.count == 0 {
		return err
	}
	t.oldest.Store(&c.first)
	if c.first.Compare(limit) >= 0 {
		return nil
	}
	_, err = e.trimBefore(ctx, t.name, limit)
	return err
}

// countBytes finds out how large the messages of a topic are that was written by
// a program that did not count. It reads them all, past the committer, as they
// were at a moment; what has changed since is known.
func (e *engine) countBytes(ctx context.Context, name string) error {
	t, err := e.findWarm(ctx, name)
	if err != nil || t == nil {
		return err
	}
	var snapshot *pebble.Snapshot
	var before int64
	err = e.submit(ctx, &request{alone: true, decide: func(*transaction) error {
		if !t.rec.counted {
			snapshot, before = e.db.NewSnapshot(), t.rec.bytes
		}
		return nil
	}})
	if snapshot != nil {
		defer snapshot.Close()
	}
	if err != nil || snapshot == nil {
		return err
	}
	total, err := e.sumSizes(ctx, snapshot, name)
	if err != nil {
		return err
	}
	return e.submit(ctx, &request{decide: func(tx *transaction) error {
		if e.state.topics[name] == t && !t.rec.counted {
			t.rec.bytes, t.rec.counted = total+t.rec.bytes-before, true
			tx.touch(t)
		}
		return nil
	}})
}

func (e *engine) sumSizes(ctx context.Context, from pebble.Reader, name string) (total int64, err error) {
	end, err := e.reading()
	if err != nil {
		return 0, err
	}
	defer end()
	prefix := tableKey(tagMessage, name)
	iter, err := from.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: rangeEnd(prefix)})
	if err != nil {
		return 0, e.problem(err)
	}
	defer iter.Close()
	for ok := iter.First(); ok && ctx.Err() == nil; ok = iter.Next() {
		_, value, err := e.stored(iter)
		if err != nil {
			return 0, err
		}
		total += int64(len(value))
	}
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	return total, e.problem(iter.Error())
}

// expire deletes the topic's subscriptions that nobody has read for as long as
// they say.
func (e *engine) expire(ctx context.Context, t *topic) error {
	if !t.expiring.Load() {
		return nil
	}
	return e.submit(ctx, &request{alone: true, decide: func(tx *transaction) error {
		now, err := e.topic(t.name)
		if err != nil || now != t {
			return err
		}
		for _, s := range t.subs {
			unread := s.unread(e.now())
			if s.rec.expires == 0 || unread < s.rec.expires || s.held(e.now()) {
				continue
			}
			e.deleteSubscription(tx, t, s)
			tx.onDurable(func() {
				e.log.Warn("beck: subscription expired: nobody has read it for "+unread.Round(time.Second).String(),
					"topic", t.name, "subscription", s.name, "expires", s.rec.expires)
			})
		}
		return nil
	}})
}

func (t *topic) mayExpire(s *subscription) {
	if s.rec.expires > 0 {
		t.expiring.Store(true)
	}
}

// reads notes that somebody reads the subscription. If it can expire, that is
// written down now and then.
func (s *subscription) reads(tx *transaction, now time.Time) {
	s.lastRead = now
	if s.rec.expires == 0 {
		s.rec.read = now.UnixMilli()
		return
	}
	if due := time.UnixMilli(s.rec.read).Add(min(s.rec.lease, s.rec.expires) / 4); !now.Before(due) {
		s.rec.read = now.UnixMilli()
		tx.touchSub(s)
	}
}

// unread is the time since somebody read it.
func (s *subscription) unread(now time.Time) time.Duration {
	last := s.lastRead
	if last.IsZero() {
		if s.rec.read == 0 {
			// It comes from a program that did not note it.
			s.lastRead = now
			return 0
		}
		last = time.UnixMilli(s.rec.read)
	}
	return max(0, now.Sub(last))
}

// held reports whether a consumer holds anything whose lease has not ended.
func (s *subscription) held(now time.Time) bool {
	return slices.ContainsFunc(s.due, func(d *deadline) bool {
		return d.due.After(now) && (d.group != nil || !d.single.waiting)
	})
}
