package ondisk

import (
	"context"
	"slices"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// Fetch reads messages behind the cursor ahead of time, so that the committer
// need not look into Pebble: it takes of them what is still new when its turn
// comes. What is delivered again is read afterwards.
func (e *engine) Fetch(ctx context.Context, name, subscription string, req driver.FetchRequest) (driver.Fetched, error) {
	if err := ctx.Err(); err != nil {
		return driver.Fetched{}, context.Cause(ctx)
	}
	t, err := e.findWarm(ctx, name)
	if err != nil {
		return driver.Fetched{}, err
	}
	s := e.findSubscription(t, subscription)
	if s == nil {
		return driver.Fetched{}, driver.ErrSubscriptionNotFound
	}
	if err := e.moveIfDue(ctx, t); err != nil {
		return driver.Fetched{}, err
	}
	f := &fetching{engine: e, topic: t, sub: s, req: req}
	if err := f.readAhead(); err != nil {
		return driver.Fetched{}, err
	}
	if err := e.submit(ctx, &request{size: 128 * len(f.ahead.members), decide: f.decide}); err != nil {
		return driver.Fetched{}, err
	}
	if err := f.readAgain(ctx); err != nil {
		return driver.Fetched{}, err
	}
	return f.fetched, nil
}

func (e *engine) findSubscription(t *topic, name string) *subscription {
	if t == nil {
		return nil
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	return t.visible[name]
}

// fetching is one Fetch.
type fetching struct {
	engine *engine
	topic  *topic
	sub    *subscription
	req    driver.FetchRequest

	ahead    run          // of messages behind the cursor, as it was then
	durable  *topicRecord // up to which it was read; nil if it was not
	cursor   streamid.ID  // from which it was read
	removals uint64       // of the topic, before it was read
	bytes    int          // given out
	fetched  driver.Fetched
	again    []whereabouts // the first messages in fetched, still to be read
}

// readAhead reads what may be new.
func (f *fetching) readAhead() error {
	end, err := f.engine.reading()
	if err != nil {
		return err
	}
	defer end()
	if f.sub.paused.Load() {
		return nil
	}
	f.removals = f.topic.removals.Load()
	f.cursor = *f.sub.cursor.Load()
	f.durable = f.topic.durable.Load()
	f.ahead, err = f.engine.readRun(f.topic, f.durable, f.cursor.Next(), f.req.Max, false)
	return err
}

// decide leases messages: first what the consumer holds, if it asks for that,
// then what is due, then what is new.
func (f *fetching) decide(tx *transaction) error {
	t, err := f.engine.topic(f.topic.name)
	if err != nil {
		return err
	}
	if t == nil || t.subs[f.sub.name] != f.sub {
		return driver.ErrSubscriptionNotFound
	}
	now := f.engine.now()
	f.sub.consumer(f.req.Consumer, now)
	f.fetched.Lease = f.sub.rec.lease
	f.sub.reads(tx, now)
	if f.sub.rec.paused {
		f.askBefore(f.sub.rec.expires / 4)
		return nil
	}
	f.tellLost(tx)
	if f.req.Recover {
		f.recover(tx, now)
	}
	dueLeft := f.takeDue(tx, now)
	newLeft := f.takeNew(tx, now)
	f.fetched.More = dueLeft || newLeft
	f.fetched.Next = f.sub.next(now)
	if t.rec.delayed > 0 {
		f.askBefore(max(time.Millisecond, time.UnixMilli(t.moves).Sub(now)))
	}
	// Where nothing happens there are no hints, and who waits for one must not
	// look like somebody who has gone.
	f.askBefore(f.sub.rec.expires / 4)
	return nil
}

// askBefore has the consumer ask again after some time at the latest; 0 is never.
func (f *fetching) askBefore(d time.Duration) {
	if d > 0 && (f.fetched.Next == 0 || d < f.fetched.Next) {
		f.fetched.Next = d
	}
}

// tellLost tells what was lost since the last Fetch.
func (f *fetching) tellLost(tx *transaction) {
	rec := &f.sub.rec
	if rec.lost > rec.told {
		f.fetched.Lost = int64(rec.lost - rec.told)
		rec.told = rec.lost
		tx.touchSub(f.sub)
	}
}

func (f *fetching) room() bool {
	return len(f.fetched.Messages) < f.req.Max && f.bytes <= maxPage
}

// recover gives the consumer again what it holds, the oldest first.
func (f *fetching) recover(tx *transaction, now time.Time) {
	for _, d := range f.sub.heldBy(f.req.Consumer) {
		if !f.room() {
			return
		}
		f.giveAgain(tx, d, now)
	}
}

// takeDue takes messages whose retry is due or whose lease has ended; left says
// that there are more.
func (f *fetching) takeDue(tx *transaction, now time.Time) (left bool) {
	for len(f.sub.due) > 0 && !f.sub.due[0].due.After(now) {
		if !f.room() {
			return true
		}
		f.giveAgain(tx, f.sub.due[0].delivery(), now)
	}
	return false
}

func (f *fetching) giveAgain(tx *transaction, d delivery, now time.Time) {
	p := f.sub.single(tx, d)
	p.attempt++
	f.sub.lease(p, f.req.Consumer, now)
	f.bytes += p.size
	f.again = append(f.again, whereabouts{p.id, p.copied})
	f.fetched.Messages = append(f.fetched.Messages, driver.Message{ID: p.id.String(), Attempt: p.attempt})
	tx.setPending(f.sub, p)
}

// takeNew takes those messages read ahead that follow the cursor; left says that
// there may be more.
func (f *fetching) takeNew(tx *transaction, now time.Time) (left bool) {
	if f.durable == nil {
		return true
	}
	rec := &f.sub.rec
	rest, follows := f.follows()
	if !follows {
		return true
	}
	n := 0
	for n < len(rest.members) && len(f.fetched.Messages)+n < f.req.Max && f.bytes <= maxPage {
		f.bytes += int(rest.members[n].size)
		rest.messages[n].Attempt = 1
		n++
	}
	if n > 0 {
		f.lease(tx, rest.first, rest.members[:n], now)
		if f.fetched.Messages == nil {
			f.fetched.Messages = rest.messages[:n]
		} else {
			f.fetched.Messages = append(f.fetched.Messages, rest.messages[:n]...)
		}
	}
	if n == len(rest.members) && !f.ahead.full && rec.delivered < f.durable.appended {
		// There are but holes up to there.
		f.advance(tx, f.durable.last, f.durable.appended)
	}
	return rec.delivered < f.topic.durable.Load().appended
}

// follows is what of the messages read ahead follows the cursor as it is now, if
// they do.
func (f *fetching) follows() (rest run, follows bool) {
	rec, topic := &f.sub.rec, &f.topic.rec
	if rec.cursor.Compare(f.cursor) < 0 {
		return run{}, false
	}
	if rec.delivered < topic.dense && f.topic.removals.Load() != f.removals {
		// Some of them may have been removed since.
		return run{}, false
	}
	return f.ahead.behind(rec.delivered, topic.dense)
}

// lease moves the cursor behind messages that follow it, which the consumer
// holds from now on.
func (f *fetching) lease(tx *transaction, first uint64, members []member, now time.Time) {
	rec := &f.sub.rec
	// What was read ahead may have room for more.
	g := f.sub.newGroup(members[0].id, first, f.req.Consumer, slices.Clone(members))
	g.due, g.since = now.Add(rec.lease), now.UnixMilli()
	f.sub.addGroup(g)
	f.sub.hold(g.owner, g.left)
	tx.touchGroup(g)
	f.advance(tx, members[len(members)-1].id, first+uint64(len(members))-1)
}

func (f *fetching) advance(tx *transaction, cursor streamid.ID, delivered uint64) {
	f.sub.advance(cursor, delivered)
	tx.touchSub(f.sub)
}

// readAgain reads the messages that are delivered again. Those that were taken
// from the consumer already, and removed, are left out.
func (f *fetching) readAgain(ctx context.Context) error {
	if len(f.again) == 0 {
		return nil
	}
	messages, err := f.engine.readDelivered(ctx, f.topic, f.sub, f.again)
	if err != nil {
		return err
	}
	all := f.fetched.Messages
	kept := all[:0]
	for i, m := range messages {
		if m.Body != nil {
			m.Attempt = all[i].Attempt
			kept = append(kept, m)
		}
	}
	f.fetched.Messages = append(kept, all[len(f.again):]...)
	return nil
}

// get returns a copy of a value.
func (e *engine) get(key []byte) ([]byte, error) {
	value, closer, err := e.db.Get(key)
	if err != nil {
		return nil, err
	}
	value = slices.Clone(value)
	return value, closer.Close()
}
