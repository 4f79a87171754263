package onredis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck/internal/driver"
)

func (f *fetching) takeArgs(count int) (keys, args []string) {
	k := &f.s.keys
	return []string{k.stream, k.subs, k.waiting, k.leased, k.retry, k.lost, k.due},
		[]string{f.s.id.name, f.consumer, strconv.Itoa(count), strconv.Itoa(maxFetched)}
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
	if err != nil || len(parts) != 6 {
		return fmt.Errorf("%w: the script take returned %d parts: %v", driver.ErrCorrupt, len(parts), err)
	}
	if err := f.s.readLease(&parts[0]); err != nil {
		return err
	}
	due, err := parts[1].ToInt64()
	if err != nil {
		return err
	}
	f.due = time.Duration(due)
	f.paused = due == takePaused
	if due > 0 {
		f.due *= time.Millisecond
	}
	if f.delayed, err = parts[3].ToInt64(); err != nil {
		return err
	}
	if err := f.s.readQueue(&parts[4]); err != nil {
		return err
	}
	lost, err := parts[5].ToInt64()
	if err != nil {
		return err
	}
	f.s.addLost(lost)
	messages, err := readAttempts(&parts[2])
	f.again = append(f.again, messages...)
	f.room -= len(messages)
	return err
}

// readAttempts reads a list of {id, attempt, fields}.
func readAttempts(list *rueidis.RedisMessage) ([]driver.Message, error) {
	entries, err := list.ToArray()
	if err != nil {
		return nil, err
	}
	messages := make([]driver.Message, 0, len(entries))
	for i := range entries {
		parts, err := entries[i].ToArray()
		if err != nil || len(parts) != 3 {
			return nil, fmt.Errorf("%w: a script returned an entry of %d parts: %v", driver.ErrCorrupt, len(parts), err)
		}
		m, err := readEntry(&parts[0], &parts[2])
		if err != nil {
			return nil, err
		}
		attempt, err := parts[1].ToInt64()
		if err != nil {
			return nil, err
		}
		m.Attempt = int(attempt)
		messages = append(messages, m)
	}
	return messages, nil
}

// moveDelayed moves delayed messages that are due into the topic, and takes them.
// While somebody watches the topic the mover does that.
func (f *fetching) moveDelayed(ctx context.Context) error {
	if f.delayed != 0 || f.hub.watched(f.s.id.topic) {
		return nil
	}
	next, err := f.moveDue(ctx, f.s.id.topic)
	switch {
	case ctx.Err() != nil:
		return err
	case errors.Is(err, driver.ErrTopicFull):
		next = fullPause
	case err != nil:
		next = failPause
		f.log.Warn("delayed messages can't enter their topic", "topic", f.s.id.topic, "error", err)
	}
	f.delayed = next.Milliseconds()
	if next < 0 {
		f.delayed = -1
	}
	if f.room <= 0 {
		return nil
	}
	_, err = f.read(ctx)
	return err
}

// reclaim takes messages whose lease has ended.
func (f *fetching) reclaim(ctx context.Context, cursor string) error {
	reply, err := f.link.run(ctx, f.scripts.reclaim, []string{f.s.keys.stream, f.s.keys.subs, f.s.keys.lost, f.s.keys.seen},
		f.s.id.name, f.consumer, strconv.Itoa(f.room), cursor)
	if err != nil {
		return err
	}
	parts, err := reply.ToArray()
	if err != nil || len(parts) != 4 {
		return fmt.Errorf("%w: the script reclaim returned %d parts: %v", driver.ErrCorrupt, len(parts), err)
	}
	if err := f.s.readLease(&parts[0]); err != nil {
		return err
	}
	if cursor, err = parts[1].ToString(); err != nil {
		return err
	}
	if lost, err := parts[2].ToInt64(); err == nil && lost > 0 {
		f.log.Warn("messages were removed from a topic by someone else while they were leased",
			"topic", f.s.id.topic, "subscription", f.s.id.name, "messages", lost)
	}
	messages, err := readAttempts(&parts[3])
	f.again = append(f.again, messages...)
	f.room -= len(messages)
	f.s.looked(cursor, f.room <= 0)
	return err
}

// recover takes what the consumer holds already, the oldest first. It is not
// bounded by the size of messages: the caller tells by their number whether these
// were all, and what it holds was fetched in bounded portions.
func (f *fetching) recover(ctx context.Context) error {
	k := &f.s.keys
	reply, err := f.link.run(ctx, f.scripts.recover, []string{k.stream, k.subs, k.lost, k.leased, k.retry},
		f.s.id.name, f.consumer, strconv.Itoa(f.max))
	if err != nil {
		return err
	}
	parts, err := reply.ToArray()
	if err != nil || len(parts) != 2 {
		return fmt.Errorf("%w: the script recover returned %d parts: %v", driver.ErrCorrupt, len(parts), err)
	}
	if err := f.s.readLease(&parts[0]); err != nil {
		return err
	}
	f.first, err = readAttempts(&parts[1])
	f.room -= len(f.first)
	f.recovered = err == nil
	return err
}
