package onredis

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck/internal/driver"
)

// Fetch implements driver.Subscriber. In volume it is one pipeline of two
// commands: the script take, which arms the watcher and tells what is due, and
// XREADGROUP for messages never delivered. Messages pass through a script only
// when they are retried or reclaimed.
func (e *engine) Fetch(ctx context.Context, topic, name string, req driver.FetchRequest) (driver.Fetched, error) {
	s := e.subscription(topic, name)
	l := e.reader(topic)
	f, err := e.fetch(ctx, l, s, req)
	for range maxHeals {
		if !isReply(err, "NOGROUP") {
			break
		}
		if err := e.heal(ctx, s); err != nil {
			return driver.Fetched{}, err
		}
		f, err = e.fetch(ctx, l, s, req)
	}
	if err != nil {
		return driver.Fetched{}, e.explain(ctx, err, s.keys.stream, writing)
	}
	return f, nil
}

func (e *engine) fetch(ctx context.Context, l *link, s *subscription, req driver.FetchRequest) (driver.Fetched, error) {
	f := fetching{engine: e, link: l, s: s, consumer: req.Consumer, max: req.Max, due: -1, held: true}
	if req.Recover {
		if err := f.recover(ctx); err != nil {
			return driver.Fetched{}, err
		}
	}
	if cursor, now := s.takeLook(); now && f.room() > 0 {
		if err := f.reclaim(ctx, cursor); err != nil {
			s.lookFailed()
			return driver.Fetched{}, err
		}
	}
	if f.room() > 0 {
		if err := f.fill(ctx); err != nil {
			return driver.Fetched{}, err
		}
	}
	return f.result(), nil
}

// fetching is one Fetch under way.
type fetching struct {
	*engine
	link     *link
	s        *subscription
	consumer string
	max      int

	messages []driver.Message
	due      time.Duration // until the next retry or its lease's end, -1 for none
	held     bool          // a message may be leased, so its lease may end
}

func (f *fetching) room() int { return f.max - len(f.messages) }

func (f *fetching) result() driver.Fetched {
	next := f.due
	if f.held {
		next = f.s.untilLook()
		if f.due > 0 {
			next = min(next, f.due)
		}
	}
	f.s.mu.Lock()
	lease := f.s.lease
	f.s.mu.Unlock()
	return driver.Fetched{
		Messages: f.messages, Lease: lease, Next: max(0, next),
		More: f.due == 0 || f.room() <= 0,
	}
}

// fill takes retries that are due and messages never delivered. Both have their
// turn: if new messages left no room for retries, those come first next time.
func (f *fetching) fill(ctx context.Context) error {
	if f.s.setDue(false) {
		if err := f.take(ctx, f.room()); err != nil {
			return err
		}
		if f.room() > 0 {
			if _, err := f.read(ctx); err != nil {
				return err
			}
		}
	} else {
		if err := f.lookAndRead(ctx); err != nil {
			return err
		}
		if f.due == 0 && f.room() > 0 {
			if err := f.take(ctx, f.room()); err != nil {
				return err
			}
		}
	}
	if f.due == 0 {
		f.s.setDue(true)
	}
	return nil
}

// lookAndRead is the usual case: nothing is known to be due. It looks before it
// reads, so that whatever comes behind is hinted at.
func (f *fetching) lookAndRead(ctx context.Context) error {
	keys, args := f.takeArgs(0)
	replies, err := f.read(ctx, f.scripts.take.call(f.link.client.B(), keys, args))
	if err != nil {
		return err
	}
	looked, err := replies[0].ToMessage()
	if !isReply(err, "NOSCRIPT") {
		return f.addTaken(looked, err)
	}
	if err := f.take(ctx, 0); err != nil || f.room() <= 0 {
		return err
	}
	_, err = f.read(ctx)
	return err
}

// read takes messages never delivered, after other commands, whose replies it
// returns. It asks who holds anything after it has read, so that nothing can
// have been taken unseen.
func (f *fetching) read(ctx context.Context, before ...rueidis.Completed) ([]rueidis.RedisResult, error) {
	pending := f.link.client.B().Xpending().Key(f.s.keys.stream).Group(f.s.id.name).Build()
	replies, err := f.link.doMulti(ctx, append(before, f.readGroup(">", f.room()), pending)...)
	if err != nil {
		return nil, err
	}
	if err := f.addNew(replies[len(before)].ToMessage()); err != nil {
		return nil, err
	}
	f.held, err = readPending(replies[len(before)+1])
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

func (f *fetching) readGroup(from string, count int) rueidis.Completed {
	return f.link.client.B().Xreadgroup().Group(f.s.id.name, f.consumer).Count(int64(count)).
		Streams().Key(f.s.keys.stream).Id(from).Build()
}

// addNew adds what XREADGROUP returned, each with its first attempt.
func (f *fetching) addNew(reply rueidis.RedisMessage, err error) error {
	messages, err := readGroupReply(reply, err)
	for i := range messages {
		messages[i].Attempt = 1
	}
	f.add(messages)
	return err
}

func (f *fetching) add(messages []driver.Message) {
	if f.messages == nil {
		f.messages = messages
	} else {
		f.messages = append(f.messages, messages...)
	}
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

func (f *fetching) takeArgs(count int) (keys, args []string) {
	k := &f.s.keys
	return []string{k.stream, k.subs, k.waiting, k.leased, k.retry, k.lost},
		[]string{f.s.id.name, f.consumer, strconv.Itoa(count)}
}

// take runs the script take.
func (f *fetching) take(ctx context.Context, count int) error {
	keys, args := f.takeArgs(count)
	return f.addTaken(f.link.run(ctx, f.scripts.take, keys, args...))
}

// addTaken reads what the script take returned.
func (f *fetching) addTaken(reply rueidis.RedisMessage, err error) error {
	if err != nil {
		return err
	}
	parts, err := reply.ToArray()
	if err != nil || len(parts) != 3 {
		return fmt.Errorf("%w: the script take returned %d parts: %v", driver.ErrCorrupt, len(parts), err)
	}
	if err := f.addLease(&parts[0]); err != nil {
		return err
	}
	due, err := parts[1].ToInt64()
	if err != nil {
		return err
	}
	f.due = time.Duration(due)
	if due > 0 {
		f.due *= time.Millisecond
	}
	return f.addAttempts(&parts[2])
}

func (f *fetching) addLease(ms *rueidis.RedisMessage) error {
	lease, err := ms.ToInt64()
	if err == nil {
		f.s.setLease(time.Duration(lease) * time.Millisecond)
	}
	return err
}

// addAttempts adds a list of {id, attempt, fields}.
func (f *fetching) addAttempts(list *rueidis.RedisMessage) error {
	entries, err := list.ToArray()
	if err != nil {
		return err
	}
	for i := range entries {
		parts, err := entries[i].ToArray()
		if err != nil || len(parts) != 3 {
			return fmt.Errorf("%w: a script returned an entry of %d parts: %v", driver.ErrCorrupt, len(parts), err)
		}
		m, err := readEntry(&parts[0], &parts[2])
		if err != nil {
			return err
		}
		attempt, err := parts[1].ToInt64()
		if err != nil {
			return err
		}
		m.Attempt = int(attempt)
		f.messages = append(f.messages, m)
	}
	return nil
}

// reclaim takes messages whose lease has ended.
func (f *fetching) reclaim(ctx context.Context, cursor string) error {
	reply, err := f.link.run(ctx, f.scripts.reclaim, []string{f.s.keys.stream, f.s.keys.subs, f.s.keys.lost},
		f.s.id.name, f.consumer, strconv.Itoa(f.room()), cursor)
	if err != nil {
		return err
	}
	parts, err := reply.ToArray()
	if err != nil || len(parts) != 4 {
		return fmt.Errorf("%w: the script reclaim returned %d parts: %v", driver.ErrCorrupt, len(parts), err)
	}
	if err := f.addLease(&parts[0]); err != nil {
		return err
	}
	if cursor, err = parts[1].ToString(); err != nil {
		return err
	}
	f.s.looked(cursor)
	if lost, err := parts[2].ToInt64(); err == nil && lost > 0 {
		f.log.Warn("messages were removed from a topic by someone else while they were leased",
			"topic", f.s.id.topic, "subscription", f.s.id.name, "messages", lost)
	}
	return f.addAttempts(&parts[3])
}

// recover takes what the consumer holds already, the oldest first.
func (f *fetching) recover(ctx context.Context) error {
	k := &f.s.keys
	reply, err := f.link.run(ctx, f.scripts.recover, []string{k.stream, k.subs, k.lost, k.leased, k.retry},
		f.s.id.name, f.consumer, strconv.Itoa(f.max))
	if err != nil {
		return err
	}
	return f.addAttempts(&reply)
}
