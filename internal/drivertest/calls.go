package drivertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/goleak"

	"github.com/beckmq/beck/internal/driver"
)

func callCases() []Case {
	return []Case{
		{Name: "ended context", Promise: "a call with a context that has ended returns its error, wrapped", run: callsEndedContext},
		{Name: "cancelled", Promise: "calls return soon after their context is cancelled, and the engine works on; what was answered is kept", run: callsCancelled},
		{Name: "many goroutines", Promise: "all methods may be called by many goroutines at a time", run: callsConcurrent},
		{Name: "close", alone: true, Promise: "Close ends everything that the engine runs, also with watches open", run: callsClose},
	}
}

// call is any method that takes a context, with its result dropped.
type call struct {
	name string
	do   func(ctx context.Context) error
}

// calls makes one call of each kind, on a topic with a subscription.
func (t *T) calls(topic string) []call {
	e := t.engine
	return []call{
		{"Append", func(ctx context.Context) error {
			_, err := e.Append(ctx, topic, []driver.Message{{Body: []byte("x")}})
			return err
		}},
		{"Read", func(ctx context.Context) error { _, err := e.Read(ctx, topic, start, 10); return err }},
		{"Join", func(ctx context.Context) error {
			_, err := e.Join(ctx, topic, billing, driver.JoinConfig{})
			return err
		}},
		{"Fetch", func(ctx context.Context) error {
			_, err := e.Fetch(ctx, topic, billing, driver.FetchRequest{Consumer: "c", Max: 3})
			return err
		}},
		{"Settle", func(ctx context.Context) error {
			_, err := e.Settle(ctx, topic, billing, "c", each(driver.Acknowledge, "unknown"))
			return err
		}},
		{"Leave", func(ctx context.Context) error { return e.Leave(ctx, topic, billing, "nobody") }},
		{"Topics", func(ctx context.Context) error { _, err := e.Topics(ctx); return err }},
		{"Topic", func(ctx context.Context) error { _, err := e.Topic(ctx, topic); return err }},
		{"Trim", func(ctx context.Context) error { _, err := e.Trim(ctx, topic, start); return err }},
		{"Ping", e.Ping},
		{"DeleteSubscription", func(ctx context.Context) error { return e.DeleteSubscription(ctx, topic, billing) }},
		{"DeleteTopic", func(ctx context.Context) error { return e.DeleteTopic(ctx, topic) }},
	}
}

func callsEndedContext(t *T) {
	t.joinStart(orders, billing, long)
	t.append(orders, "a")
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	expired, cancel2 := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancel2()
	for _, c := range t.calls(orders) {
		if err := c.do(cancelled); !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a cancelled context: %v, want context.Canceled", c.name, err)
		}
		if err := c.do(expired); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s with an expired context: %v, want context.DeadlineExceeded", c.name, err)
		}
	}
	// Nothing was deleted by that.
	t.wantBodies("the topic", t.readAll(orders, start)[:1], "a")
	t.subscription(orders, billing)
}

// callsCancelled cancels appends and fetches at any moment. What was answered
// must be there, in order; what was not may be.
func callsCancelled(t *T) {
	t.joinStart(orders, billing, long)
	const workers, rounds = 6, 60
	var wg sync.WaitGroup
	var mu sync.Mutex
	stored := map[string]string{}
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				ctx, cancel := context.WithCancel(context.Background())
				timer := time.AfterFunc(time.Duration((i*7+w*13)%23)*100*time.Microsecond, cancel)
				body := fmt.Sprintf("%d %d", w, i)
				began := time.Now()
				ids, err := t.engine.Append(ctx, orders, []driver.Message{{Body: []byte(body)}})
				mu.Lock()
				for _, id := range ids {
					stored[id] = body
				}
				mu.Unlock()
				_, fetchErr := t.engine.Fetch(ctx, orders, billing, driver.FetchRequest{Consumer: fmt.Sprint("c", w), Max: 2})
				for _, err := range []error{err, fetchErr} {
					if err != nil && ctx.Err() == nil {
						t.Errorf("a call failed whose context had not ended: %v", err)
					}
				}
				if took := time.Since(began); took > t.patience {
					t.Errorf("two calls took %v though their context was cancelled", took)
				}
				timer.Stop()
				cancel()
			}
		})
	}
	wg.Wait()
	for _, m := range t.readAll(orders, start) {
		if body, ok := stored[m.ID]; ok && body != string(m.Body) {
			t.Errorf("message %s is %q, but its id was returned for %q", m.ID, m.Body, body)
		}
		delete(stored, m.ID)
	}
	if len(stored) > 0 {
		t.Errorf("%d messages whose ids were returned are not in the topic", len(stored))
	}
	// Whatever the cancelled fetches have leased can be had by Recover, and the
	// rest by anyone: nothing is stuck. A fetch that was left may still be on its
	// way when the first Recover is answered, and so may an append: both are asked for more than once.
	got := map[string]bool{}
	t.eventually("everything is held by somebody", func() bool {
		for w := range workers {
			f := t.fetch(orders, billing, driver.FetchRequest{Consumer: fmt.Sprint("c", w), Max: 1000, Recover: true})
			for _, m := range f.Messages {
				got[m.ID] = true
			}
		}
		return len(got) == int(t.topic(orders).Length)
	})
}

func callsConcurrent(t *T) {
	var wg sync.WaitGroup
	for w := range 8 {
		topic := fmt.Sprint("topic", w%3)
		wg.Go(func() {
			for range 25 {
				for _, c := range t.calls(topic) {
					ctx, cancel := t.ctx()
					err := c.do(ctx)
					cancel()
					gone := errors.Is(err, driver.ErrTopicNotFound) || errors.Is(err, driver.ErrSubscriptionNotFound)
					if err != nil && !gone {
						t.Errorf("%s, while others delete the topic: %v", c.name, err)
					}
				}
				_, stop := t.engine.Watch(topic)
				stop()
			}
		})
	}
	wg.Wait()
	t.append(orders, "a")
	t.wantBodies("the engine works on", t.readAll(orders, start), "a")
}

// callsClose looks for goroutines that were not there before the engine was
// opened. Whatever the harness starts for good, it started with the first one.
func callsClose(t *T) {
	t.close() // what runs in the first engine may make connections at any time
	before := goleak.IgnoreCurrent()
	t.engine = t.h.Open(t.TB)
	t.joinStart(orders, billing, short)
	t.appendN(orders, 100)
	t.read(orders, start, 10)
	t.take(orders, billing, "c", 50)
	_, stop := t.engine.Watch(orders)
	_, stillOpen := t.engine.Watch("other")
	stop()
	t.read("other", start, 10)
	t.close()
	stillOpen() // stopping a watch of a closed engine does nothing
	var err error
	for deadline := time.Now().Add(t.patience); ; {
		if err = goleak.Find(before); err == nil || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		t.Errorf("after Close goroutines are left: %v", err)
	}
	t.engine = t.h.Open(t.TB)
}
