package ondisk

import (
	"context"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// Peek shows messages without holding up the committer: it is asked which there
// are, and they are read when it has gone on. Of those that change at that moment
// some may be missing from what is shown.
func (e *engine) Peek(ctx context.Context, name, subscription string, req driver.PeekRequest) (driver.Peeked, error) {
	if req.State == driver.Delayed {
		return e.peekDelayed(ctx, name, req)
	}
	t, err := e.findWarm(ctx, name)
	if err != nil {
		return driver.Peeked{}, err
	}
	if t == nil {
		return driver.Peeked{}, driver.ErrTopicNotFound
	}
	s := e.findSubscription(t, subscription)
	if s == nil {
		return driver.Peeked{}, driver.ErrSubscriptionNotFound
	}
	p := &peeking{engine: e, topic: t, sub: s, req: req}
	if req.After != "" {
		if p.after, err = streamid.Parse(req.After); err != nil {
			return driver.Peeked{}, fmt.Errorf("%w: %.40q is not a message id", driver.ErrPosition, req.After)
		}
	}
	switch req.State {
	case driver.Ready:
		return p.ready(ctx)
	case driver.Held, driver.Waiting:
		return p.delivered(ctx)
	case driver.Buried:
		return p.dead(ctx)
	}
	return driver.Peeked{}, fmt.Errorf("there is no state %.20q", req.State)
}

// peeking is one Peek.
type peeking struct {
	engine *engine
	topic  *topic
	sub    *subscription
	req    driver.PeekRequest
	after  streamid.ID // zero for none
}

// ready reads on behind the cursor.
func (p *peeking) ready(ctx context.Context) (peeked driver.Peeked, err error) {
	if err := ctx.Err(); err != nil {
		return peeked, context.Cause(ctx)
	}
	end, err := p.engine.reading()
	if err != nil {
		return peeked, err
	}
	defer end()
	from := *p.sub.cursor.Load()
	if p.after.Compare(from) > 0 {
		from = p.after
	}
	run, err := p.engine.readRun(p.topic, p.topic.durable.Load(), from.Next(), p.req.Max, true)
	for _, m := range run.messages {
		peeked.Entries = append(peeked.Entries, driver.Entry{Message: m, State: driver.Ready, Since: m.Time})
	}
	peeked.More = run.full
	return peeked, err
}

// delivered shows what is held, in the order of the topic, or what waits, by when
// it is due.
func (p *peeking) delivered(ctx context.Context) (peeked driver.Peeked, err error) {
	var found []delivery // belongs to the committer until it has answered
	err = p.engine.submit(ctx, &request{decide: func(*transaction) error {
		if p.engine.state.topics[p.topic.name] != p.topic || p.topic.subs[p.sub.name] != p.sub {
			return driver.ErrSubscriptionNotFound
		}
		found = p.sub.inState(p.req.State, p.place(), p.req.Max+1)
		for i := range found {
			found[i] = found[i].still()
		}
		return nil
	}})
	if err != nil {
		return peeked, err
	}
	peeked.More = len(found) > p.req.Max
	found = found[:min(len(found), p.req.Max)]
	for bytes := 0; len(found) > 0; {
		// A few at a time, so that large messages don't take too much memory.
		some := found[:min(len(found), peekStep)]
		found = found[len(some):]
		entries, err := p.read(ctx, some)
		if err != nil {
			return peeked, err
		}
		peeked.Entries = append(peeked.Entries, entries...)
		for _, e := range entries {
			bytes += len(e.Message.Body)
		}
		if bytes > maxPage && len(found) > 0 {
			peeked.More = true
			break
		}
	}
	if n := len(peeked.Entries); n > 0 && p.req.State == driver.Waiting {
		last := peeked.Entries[n-1]
		id, _ := streamid.Parse(last.Message.ID)
		p.sub.seen.add(p.req.State, rank{dueRank(last.Due), id})
	}
	return peeked, nil
}

// peekStep is how many messages are read at a time.
const peekStep = 16

// read reads the messages of deliveries that are still there.
func (p *peeking) read(ctx context.Context, list []delivery) (entries []driver.Entry, err error) {
	where := make([]whereabouts, len(list))
	for i, d := range list {
		where[i] = whereabouts{d.id, d.copied()}
	}
	messages, err := p.engine.readDelivered(ctx, p.topic, p.sub, where)
	if err != nil {
		return nil, err
	}
	for i, m := range messages {
		if m.Body == nil {
			continue
		}
		d := list[i]
		m.Attempt = d.attempt
		entries = append(entries, driver.Entry{
			Message: m, State: p.req.State, Consumer: d.owner, Since: fromMillis(d.single.since),
			Due: d.single.due.Round(0).UTC(), Reason: d.single.reason,
		})
	}
	return entries, nil
}

// fromMillis is a stored time; zero is unknown.
func fromMillis(millis int64) time.Time {
	if millis == 0 {
		return time.Time{}
	}
	return time.UnixMilli(millis).UTC()
}

// place is that of the last entry seen. If it is not known any more, showing some
// entries again is better than leaving some out.
func (p *peeking) place() rank {
	if p.after.IsZero() || p.req.State == driver.Held {
		return rank{id: p.after}
	}
	if p.req.State == driver.Waiting {
		if d, ok := p.sub.find(p.after); ok && d.waiting {
			return d.rank()
		}
	}
	return p.sub.seen.find(p.req.State, p.after)
}

// dead reads dead letters in the order in which they died.
func (p *peeking) dead(ctx context.Context) (peeked driver.Peeked, err error) {
	err = p.engine.submit(ctx, &request{alone: true, decide: func(tx *transaction) error {
		if p.engine.state.topics[p.topic.name] != p.topic || p.topic.subs[p.sub.name] != p.sub {
			return driver.ErrSubscriptionNotFound
		}
		return p.engine.placeLetters(tx, p.sub)
	}})
	if err != nil {
		return peeked, err
	}
	end, err := p.engine.reading()
	if err != nil {
		return peeked, err
	}
	defer end()
	place := rank{}
	if !p.after.IsZero() {
		rec, found, err := p.engine.letter(p.sub, p.after)
		if err != nil {
			return peeked, err
		}
		place = rank{rec.place, p.after}
		if !found {
			place = p.place()
		}
	}
	last, err := p.readLetters(&peeked, place)
	p.sub.seen.add(driver.Buried, last)
	return peeked, err
}

// readLetters reads those behind a place, and returns that of the last one.
func (p *peeking) readLetters(peeked *driver.Peeked, place rank) (last rank, err error) {
	s := p.sub
	prefix := tableKey(tagBurial, s.topic, s.name)
	iter, err := p.engine.db.NewIter(&pebble.IterOptions{
		LowerBound: append(burialKey(place.at, place.id, s.topic, s.name), 0), UpperBound: rangeEnd(prefix),
	})
	if err != nil {
		return last, p.engine.problem(err)
	}
	defer iter.Close()
	bytes := 0
	for ok := iter.First(); ok; ok = iter.Next() {
		if peeked.More = len(peeked.Entries) == p.req.Max || bytes > maxPage; peeked.More {
			break
		}
		r, ok := burialOf(iter.Key())
		if !ok {
			return last, p.engine.corrupt(iter.Key(), errRecord)
		}
		rec, found, err := p.engine.letter(s, r.id)
		if err != nil {
			return last, err
		}
		if !found || rec.place != r.at {
			continue // it was taken back just now, or died again
		}
		m, _, err := decodeMessage(rec.message, r.id)
		if err != nil {
			return last, p.engine.corrupt(idKey(r.id, tagDead, s.topic, s.name), err)
		}
		m.Attempt = int(rec.attempt)
		bytes += len(rec.message)
		last = r
		peeked.Entries = append(peeked.Entries, driver.Entry{
			Message: m, State: driver.Buried, Consumer: rec.owner, Since: fromMillis(rec.at), Reason: rec.reason,
		})
	}
	return last, p.engine.problem(iter.Error())
}
