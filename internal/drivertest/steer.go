package drivertest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// must ends the case if a call failed.
func (t *T) must(err error, format string, args ...any) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", fmt.Sprintf(format, args...), err)
	}
}

// wantErr makes a call that must fail with one of these errors.
func (t *T) wantErr(what string, call func(ctx context.Context) error, want ...error) {
	t.Helper()
	ctx, cancel := t.ctx()
	defer cancel()
	err := call(ctx)
	for _, w := range want {
		if errors.Is(err, w) {
			return
		}
	}
	t.Errorf("%s: %v, want %v", what, err, want)
}

func (t *T) configure(topic string, change func(c *driver.TopicConfig)) {
	t.Helper()
	config := driver.DefaultTopicConfig
	change(&config)
	t.do("Configure", func(ctx context.Context) error { return t.engine.Configure(ctx, topic, config) })
}

// bounded lets a topic have n messages at most.
func (t *T) bounded(topic string, n int64, dropOldest bool) {
	t.Helper()
	t.configure(topic, func(c *driver.TopicConfig) { c.MaxMessages, c.DropOldest = n, dropOldest })
}

// joinQueue makes a topic a queue.
func (t *T) joinQueue(topic string, lease time.Duration) {
	t.Helper()
	t.join(topic, driver.QueueSubscription, driver.JoinConfig{Lease: lease, Queue: true})
}

// peek looks at all messages in a state, some at a time.
func (t *T) peek(topic, subscription string, state driver.State) (all []driver.Entry) {
	t.Helper()
	req := driver.PeekRequest{State: state, Max: 7}
	seen := map[string]bool{}
	for {
		got := t.peekSome(topic, subscription, req)
		for _, e := range got.Entries {
			if seen[e.Message.ID] {
				t.Fatalf("Peek (%s) shows %s on two pages", state, e.Message.ID)
			}
			seen[e.Message.ID] = true
		}
		all = append(all, got.Entries...)
		if !got.More {
			return all
		}
		if len(got.Entries) == 0 {
			t.Fatalf("Peek (%s) shows nothing, but says that there is more", state)
		}
		req.After = got.Entries[len(got.Entries)-1].Message.ID
	}
}

func (t *T) peekSome(topic, subscription string, req driver.PeekRequest) driver.Peeked {
	t.Helper()
	ctx, cancel := t.ctx()
	defer cancel()
	got, err := t.engine.Peek(ctx, topic, subscription, req)
	t.must(err, "Peek (%s) of %s", req.State, topic)
	if len(got.Entries) > req.Max {
		t.Fatalf("Peek of at most %d entries returned %d", req.Max, len(got.Entries))
	}
	for _, e := range got.Entries {
		if e.State != req.State {
			t.Fatalf("Peek (%s) shows %s as %s", req.State, e.Message.ID, e.State)
		}
	}
	return got
}

// messagesOf are those of entries.
func messagesOf(entries []driver.Entry) []driver.Message {
	messages := make([]driver.Message, len(entries))
	for i, e := range entries {
		messages[i] = e.Message
	}
	return messages
}

func (t *T) requeue(topic, subscription string, ids ...string) (missing []string) {
	t.Helper()
	t.do("Requeue", func(ctx context.Context) (err error) {
		missing, err = t.engine.Requeue(ctx, topic, subscription, ids)
		return err
	})
	return missing
}

func (t *T) drop(topic, subscription string, ids ...string) (missing []string) {
	t.Helper()
	t.do("Drop", func(ctx context.Context) (err error) {
		missing, err = t.engine.Drop(ctx, topic, subscription, ids)
		return err
	})
	return missing
}

func (t *T) cancel(topic string, ids ...string) (missing []string) {
	t.Helper()
	t.do("Cancel", func(ctx context.Context) (err error) {
		missing, err = t.engine.Cancel(ctx, topic, ids)
		return err
	})
	return missing
}

func (t *T) seek(topic, subscription string, to driver.Position) {
	t.Helper()
	t.do("Seek", func(ctx context.Context) error { return t.engine.Seek(ctx, topic, subscription, to) })
}

func (t *T) pause(topic, subscription string, paused bool) {
	t.Helper()
	t.do("Pause", func(ctx context.Context) error { return t.engine.Pause(ctx, topic, subscription, paused) })
}

func (t *T) purge(topic string) (removed int64) {
	t.Helper()
	t.do("Purge", func(ctx context.Context) (err error) {
		removed, err = t.engine.Purge(ctx, topic)
		return err
	})
	return removed
}

func (t *T) outstanding(topic, subscription string, ids ...string) (open map[string]driver.State) {
	t.Helper()
	t.do("Outstanding", func(ctx context.Context) (err error) {
		open, err = t.engine.Outstanding(ctx, topic, subscription, ids)
		return err
	})
	return open
}

// delay appends a message that is to come later.
func (t *T) delay(topic, body string, by time.Duration) (id string) {
	t.Helper()
	return t.appendMessages(topic, driver.Message{Body: []byte(body), Delay: by})[0]
}

// bury has a consumer fetch n messages and give them up.
func (t *T) bury(topic, subscription string, n int, reason string) (ids []string) {
	t.Helper()
	list := make([]driver.Settlement, n)
	for i, m := range t.take(topic, subscription, "gravedigger", n) {
		list[i] = driver.Settlement{ID: m.ID, Do: driver.DeadLetter, Reason: reason}
		ids = append(ids, m.ID)
	}
	if notHeld := t.trySettle(topic, subscription, "gravedigger", list...); len(notHeld) > 0 {
		t.Fatalf("Settle: %v are not held", notHeld)
	}
	return ids
}

// awake fetches as a consumer does, by hints and Next alone, until n messages
// have come, and hands over each when it comes.
func (t *T) awake(topic, subscription, consumer string, n int, each func(driver.Message)) {
	t.Helper()
	hints, stop := t.engine.Watch(topic)
	defer stop()
	deadline := time.After(t.patience)
	for n > 0 {
		f := t.fetch(topic, subscription, driver.FetchRequest{Consumer: consumer, Max: n})
		for _, m := range f.Messages {
			each(m)
		}
		if n -= len(f.Messages); f.More || n == 0 {
			continue
		}
		var due <-chan time.Time
		if f.Next > 0 {
			due = time.After(f.Next)
		}
		select {
		case <-hints:
		case <-due:
		case <-deadline:
			t.Fatalf("%d messages of %s that were due did not come within %v", n, subscription, t.patience)
		}
	}
}
