package onredis

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck/internal/driver"
)

// Fetch implements driver.Subscriber. In volume it is one pipeline of four
// commands: the script take, which arms the watcher and tells what is due,
// XREADGROUP for messages never delivered, XPENDING, and a look whether the
// subscription is paused. Messages pass through a script only when they are
// retried or reclaimed.
func (e *engine) Fetch(ctx context.Context, topic, name string, req driver.FetchRequest) (driver.Fetched, error) {
	s := e.subscription(topic, name)
	f := &fetching{
		engine: e, link: e.reader(topic), s: s, consumer: req.Consumer,
		max: req.Max, room: min(req.Max, s.portion()), recovered: !req.Recover, due: -1, held: true, delayed: -1,
	}
	err := f.run(ctx)
	for range maxHeals {
		if !isReply(err, "NOGROUP") {
			break
		}
		if err := e.heal(ctx, s); err != nil {
			return driver.Fetched{}, err
		}
		err = f.run(ctx) // it keeps what it has taken so far
	}
	if isReply(err, "WRONGTYPE") && len(f.first)+len(f.again)+len(f.fresh) > 0 {
		// The topic has just moved to another instance, with what was taken before.
		got := f.result()
		got.More = true
		return got, nil
	}
	if err != nil {
		return driver.Fetched{}, e.explain(ctx, err, s.keys.stream, writing)
	}
	return f.result(), nil
}

// fetching is one Fetch under way.
type fetching struct {
	*engine
	link     route
	s        *subscription
	consumer string
	max      int // messages asked for
	room     int // how many more to take; less than max to bound memory

	recovered bool             // or not asked for
	first     []driver.Message // recovered ones
	again     []driver.Message // retries, and those whose lease has ended
	fresh     []driver.Message // never delivered before

	due    time.Duration // until the next retry or its lease's end, -1 for none
	held   bool          // a message may be leased, so its lease may end
	paused bool          // the subscription delivers nothing

	delayed int64 // ms until a delayed message is due, -1 for none
	era     string
}

func (f *fetching) run(ctx context.Context) error {
	if err := f.checkPaused(ctx); err != nil {
		return err
	}
	if f.paused {
		err := f.lookForEnded(ctx)   // for nothing but to show that somebody is there
		f.paused = len(f.again) == 0 // or it has just been resumed
		return err
	}
	if !f.recovered {
		if err := f.recover(ctx); err != nil {
			return err
		}
	}
	if f.room > 0 {
		if err := f.lookForEnded(ctx); err != nil {
			return err
		}
	}
	if f.room > 0 {
		return f.fill(ctx)
	}
	return nil
}

// lookForEnded takes messages whose lease has ended, if it is time to look.
func (f *fetching) lookForEnded(ctx context.Context) error {
	cursor, now := f.s.takeLook()
	if !now {
		return nil
	}
	err := f.reclaim(ctx, cursor)
	if err != nil {
		f.s.lookFailed()
	}
	return err
}

// result puts first what was delivered before, in the order of the topic.
func (f *fetching) result() driver.Fetched {
	if f.paused {
		return driver.Fetched{Lease: f.s.leaseTime()}
	}
	next := f.due
	if f.held {
		next = f.s.untilLook()
		if f.due > 0 {
			next = min(next, f.due)
		}
	}
	if delayed := time.Duration(f.delayed) * time.Millisecond; delayed > 0 && !f.hub.watched(f.s.id.topic) && (next <= 0 || delayed < next) {
		next = delayed
	}
	messages := f.fresh
	if len(f.first)+len(f.again) > 0 {
		slices.SortFunc(f.again, func(a, b driver.Message) int { return strings.Compare(a.ID, b.ID) })
		messages = slices.Concat(f.first, f.again, f.fresh)
	}
	f.s.weigh(messages)
	return driver.Fetched{
		Messages: messages, Lease: f.s.leaseTime(), Next: max(0, next),
		More: f.due == 0 || f.room <= 0 || f.delayed == 0 && !f.hub.watched(f.s.id.topic),
		Lost: f.s.takeLost(), Era: f.era,
	}
}

// fill takes retries that are due, and then messages never delivered, so that
// what was given back keeps its place before them.
func (f *fetching) fill(ctx context.Context) error {
	due, settled := f.s.retriesDue()
	err := f.fillIn(ctx, due)
	if err == nil && !f.paused {
		err = f.moveDelayed(ctx)
	}
	switch {
	case err != nil:
		return err
	case f.paused:
		return f.giveBack(ctx)
	}
	f.s.setDue(f.due, settled)
	return nil
}

func (f *fetching) fillIn(ctx context.Context, due bool) error {
	if !due {
		if err := f.lookAndRead(ctx); err != nil || f.paused || f.due != 0 || f.room <= 0 {
			return err
		}
		// Another process has given something back. It goes before what was read.
		return f.take(ctx, f.room)
	}
	if err := f.take(ctx, f.room); err != nil || f.paused || f.due == 0 || f.room <= 0 {
		return err
	}
	_, err := f.read(ctx)
	return err
}

// lookAndRead is the usual case: nothing is known to be due. It looks before it
// reads, so that whatever comes behind is hinted at.
func (f *fetching) lookAndRead(ctx context.Context) error {
	keys, args := f.takeArgs(0)
	replies, err := f.read(ctx, f.scripts.take.call(f.b, keys, args))
	if err != nil {
		return err
	}
	looked, err := replies[0].ToMessage()
	if !isReply(err, "NOSCRIPT") {
		paused := f.paused // what was seen last counts
		if err = f.addTaken(looked, err); f.paused && !paused {
			f.due = 0 // it has just been resumed
		}
		f.paused = paused
		return err
	}
	if err := f.take(ctx, 0); err != nil || f.paused || f.room <= 0 {
		return err
	}
	_, err = f.read(ctx)
	return err
}

// read takes messages never delivered, after other commands, whose replies it
// returns. It asks who holds anything after it has read, so that nothing can
// have been taken unseen, and whether the subscription is paused, which XREADGROUP
// knows nothing of.
func (f *fetching) read(ctx context.Context, before ...rueidis.Completed) ([]rueidis.RedisResult, error) {
	b := f.b
	cmds := append(before,
		b.Xreadgroup().Group(f.s.id.name, f.consumer).Count(int64(f.room)).Streams().Key(f.s.keys.stream).Id(">").Build(),
		b.Xpending().Key(f.s.keys.stream).Group(f.s.id.name).Build(),
		b.Hget().Key(f.s.keys.subs).Field(f.s.id.name).Build())
	replies, era, err := f.link.doTelling(ctx, false, func() []rueidis.Completed { return cmds })
	if err != nil {
		return nil, err
	}
	f.era = era
	if err := f.addNew(replies[len(before)].ToMessage()); err != nil {
		return nil, err
	}
	if f.held, err = readPending(replies[len(before)+1]); err == nil {
		f.paused, err = f.readPaused(replies[len(before)+2])
	}
	return replies, err
}

// readPending reads from what XPENDING tells whether any message is pending.
func readPending(reply rueidis.RedisResult) (bool, error) {
	summary, err := reply.ToArray()
	if err != nil || len(summary) == 0 {
		return true, err
	}
	n, err := summary[0].ToInt64()
	return n > 0, err
}

// addNew adds what XREADGROUP returned, each with its first attempt.
func (f *fetching) addNew(reply rueidis.RedisMessage, err error) error {
	messages, err := readGroupReply(reply, err)
	for i := range messages {
		messages[i].Attempt = 1
	}
	if f.fresh == nil {
		f.fresh = messages
	} else {
		f.fresh = append(f.fresh, messages...)
	}
	f.room -= len(messages)
	return err
}

// readGroupReply reads the entries of the one stream that was asked for.
func readGroupReply(reply rueidis.RedisMessage, err error) ([]driver.Message, error) {
	if rueidis.IsRedisNil(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	streams, err := reply.AsMap()
	if err != nil {
		return nil, err
	}
	for _, entries := range streams {
		list, err := entries.ToArray()
		if err != nil {
			return nil, err
		}
		return readEntries(list)
	}
	return nil, nil
}
