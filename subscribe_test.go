package beck_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beckmq/beck"
)

// subscribe runs a subscription until the test ends or stop is called, and
// returns what Subscribe returned.
func subscribe(t *testing.T, bus *beck.Bus, name string, h beck.Handler, o *beck.SubscribeOptions) (stop func() error) {
	ctx, cancel := context.WithCancel(within(t))
	if _, err := bus.Join(ctx, "t", name, nil); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- bus.Subscribe(ctx, "t", name, h, o) }()
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { stop() })
	return stop
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came true that %s", what)
		}
	}
}

func info(t *testing.T, bus *beck.Bus) beck.SubscriptionInfo {
	t.Helper()
	topic, err := bus.Topic(within(t), "t")
	if err != nil || len(topic.Subscriptions) == 0 {
		t.Fatalf("topic %+v, %v", topic, err)
	}
	return topic.Subscriptions[0]
}

func TestConsumersShareASubscription(t *testing.T) {
	bus, _ := open(t)
	const n = 5000
	var mu sync.Mutex
	seen := map[string]int{}
	handle := func(_ context.Context, m *beck.Message) error {
		mu.Lock()
		defer mu.Unlock()
		seen[string(m.Body)]++
		return nil
	}
	for range 3 {
		subscribe(t, bus, "s", handle, &beck.SubscribeOptions{Concurrency: 4})
	}
	for i := 0; i < n; i += 50 {
		publish(t, bus, "t", i, 50)
	}
	eventually(t, "everything is settled", func() bool { s := info(t, bus); return s.Lag == 0 && s.Pending == 0 })
	for i := range n {
		if seen[strconv.Itoa(i)] != 1 {
			t.Fatalf("message %d was handled %d times", i, seen[strconv.Itoa(i)])
		}
	}
	if got := bus.Stats(); got.Acknowledged != n || got.Delivered != n {
		t.Errorf("stats %+v", got)
	}
}

func TestSameKeyIsHandledInOrder(t *testing.T) {
	bus, _ := open(t)
	const keys, each = 20, 100
	var mu sync.Mutex
	next := map[string]int{}
	running := map[string]bool{}
	var most, now atomic.Int64
	subscribe(t, bus, "s", func(_ context.Context, m *beck.Message) error {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		mu.Lock()
		if running[m.Key] {
			t.Errorf("two messages of key %s at a time", m.Key)
		}
		running[m.Key] = true
		if want := next[m.Key]; string(m.Body) != strconv.Itoa(want) {
			t.Errorf("key %s: got %s, want %d", m.Key, m.Body, want)
		}
		next[m.Key]++
		mu.Unlock()
		time.Sleep(100 * time.Microsecond)
		mu.Lock()
		running[m.Key] = false
		mu.Unlock()
		return nil
	}, &beck.SubscribeOptions{Concurrency: 16})
	for i := range each {
		var batch []beck.Message
		for k := range keys {
			batch = append(batch, beck.Message{Key: fmt.Sprint("k", k), Body: fmt.Append(nil, i)})
		}
		if _, err := bus.Publish(within(t), "t", batch...); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "everything is settled", func() bool { s := info(t, bus); return s.Lag == 0 && s.Pending == 0 })
	if most.Load() < 2 {
		t.Error("different keys were not handled side by side")
	}
}

func TestFailedMessagesComeAgain(t *testing.T) {
	bus, _ := open(t)
	var mu sync.Mutex
	attempts := map[string][]int{}
	subscribe(t, bus, "s", func(_ context.Context, m *beck.Message) error {
		mu.Lock()
		attempts[string(m.Body)] = append(attempts[string(m.Body)], m.Attempt)
		mu.Unlock()
		switch body := string(m.Body); {
		case body == "0":
			return nil
		case body == "1" && m.Attempt < 3:
			return errors.New("not yet")
		case body == "2" && m.Attempt < 2:
			panic("oops")
		case body == "3":
			return beck.Dead(errors.New("never"))
		case body == "4" && m.Attempt < 2:
			return fmt.Errorf("wrapped: %w", beck.RetryAfter(20*time.Millisecond))
		case body == "5":
			return errors.New("again and again")
		}
		return nil
	}, &beck.SubscribeOptions{MaxAttempts: 4, Backoff: func(int) time.Duration { return 5 * time.Millisecond }})
	publish(t, bus, "t", 0, 6)
	eventually(t, "all is over", func() bool {
		s := info(t, bus)
		return s.Lag == 0 && s.Pending == 0 && s.Waiting == 0 && s.Dead == 2
	})
	mu.Lock()
	defer mu.Unlock()
	for body, want := range map[string][]int{"0": {1}, "1": {1, 2, 3}, "2": {1, 2}, "3": {1}, "4": {1, 2}, "5": {1, 2, 3, 4}} {
		if !slices.Equal(attempts[body], want) {
			t.Errorf("message %s: attempts %v, want %v", body, attempts[body], want)
		}
	}
}

func TestLeaseIsRenewedWhileAHandlerRuns(t *testing.T) {
	bus, _ := open(t)
	var calls atomic.Int64
	handle := func(ctx context.Context, m *beck.Message) error {
		calls.Add(1)
		select {
		case <-time.After(2 * time.Second):
		case <-ctx.Done():
			t.Errorf("context ended: %v", context.Cause(ctx))
		}
		return nil
	}
	o := &beck.SubscribeOptions{Lease: 300 * time.Millisecond}
	subscribe(t, bus, "s", handle, o)
	subscribe(t, bus, "s", handle, o)
	publish(t, bus, "t", 0, 1)
	eventually(t, "it is handled", func() bool { return bus.Stats().Acknowledged == 1 })
	if calls.Load() != 1 {
		t.Errorf("handled %d times", calls.Load())
	}
}

func TestMessagesOfADeadConsumerGoToAnother(t *testing.T) {
	bus, _ := open(t)
	ctx := within(t)
	if _, err := bus.Join(ctx, "t", "s", &beck.JoinOptions{Lease: 200 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	publish(t, bus, "t", 0, 5)
	got, err := bus.Fetch(ctx, "t", "s", &beck.FetchOptions{Consumer: "dead", Max: 3})
	if err != nil || len(got.Messages) != 3 {
		t.Fatalf("fetched %+v, %v", got, err)
	}
	var mu sync.Mutex
	attempts := map[string]int{}
	subscribe(t, bus, "s", func(_ context.Context, m *beck.Message) error {
		mu.Lock()
		defer mu.Unlock()
		attempts[string(m.Body)] = m.Attempt
		return nil
	}, nil)
	eventually(t, "all are handled", func() bool { return bus.Stats().Acknowledged == 5 })
	for i := range 5 {
		want := 1
		if i < 3 {
			want = 2
		}
		if attempts[strconv.Itoa(i)] != want {
			t.Errorf("message %d: attempt %d, want %d", i, attempts[strconv.Itoa(i)], want)
		}
	}
}

func TestAnswerLostByAnOutageIsRecovered(t *testing.T) {
	bus, engine := open(t)
	var handled atomic.Int64
	subscribe(t, bus, "s", func(context.Context, *beck.Message) error {
		handled.Add(1)
		return nil
	}, &beck.SubscribeOptions{Lease: time.Hour})
	publish(t, bus, "t", 0, 1)
	eventually(t, "the first is handled", func() bool { return handled.Load() == 1 })
	engine.down.Store(true)
	publish(t, bus, "t", 1, 10)
	time.Sleep(50 * time.Millisecond)
	engine.down.Store(false)
	// The lease is an hour: without a recovery they would stay away.
	eventually(t, "all are settled", func() bool { return bus.Stats().Acknowledged == 11 })
}

func TestRetriedMessageMayComeBeforeTheAnswer(t *testing.T) {
	bus, engine := open(t)
	engine.late.Store(int64(20 * time.Millisecond))
	var mu sync.Mutex
	attempts := map[string][]int{}
	subscribe(t, bus, "s", func(_ context.Context, m *beck.Message) error {
		mu.Lock()
		attempts[string(m.Body)] = append(attempts[string(m.Body)], m.Attempt)
		mu.Unlock()
		if m.Attempt < 3 {
			return beck.RetryAfter(0)
		}
		return nil
	}, &beck.SubscribeOptions{Lease: time.Hour, Concurrency: 2})
	publish(t, bus, "t", 0, 20)
	// The lease is an hour: what is overlooked stays away.
	eventually(t, "all are settled", func() bool { return bus.Stats().Acknowledged == 20 })
	mu.Lock()
	defer mu.Unlock()
	for body, got := range attempts {
		if !slices.Equal(got, []int{1, 2, 3}) {
			t.Errorf("message %s: attempts %v", body, got)
		}
	}
}

func TestSubscribeDrainsAtItsEnd(t *testing.T) {
	bus, _ := open(t)
	publish(t, bus, "t", 0, 8)
	started, finish := make(chan struct{}, 8), make(chan struct{})
	stop := subscribe(t, bus, "s", func(ctx context.Context, m *beck.Message) error {
		started <- struct{}{}
		<-finish
		return ctx.Err()
	}, &beck.SubscribeOptions{Concurrency: 2, Prefetch: 8})
	<-started
	<-started
	go stop()
	eventually(t, "what no handler has begun is given back", func() bool { return info(t, bus).Waiting == 6 })
	close(finish)
	if err := stop(); err != nil {
		t.Errorf("Subscribe returned %v", err)
	}
	if s := info(t, bus); s.Pending != 0 || len(s.Consumers) != 0 {
		t.Errorf("left behind: %+v", s)
	}
	got, err := bus.Fetch(within(t), "t", "s", &beck.FetchOptions{Consumer: "next"})
	if err != nil || len(got.Messages) != 6 {
		t.Fatalf("fetched %+v, %v", got, err)
	}
	for _, m := range got.Messages {
		if m.Attempt != 1 {
			t.Errorf("a released message comes as attempt %d", m.Attempt)
		}
	}
}

func TestCloseWaitsForHandlersAndThenCancels(t *testing.T) {
	bus, _ := open(t)
	publish(t, bus, "t", 0, 1)
	started, cancelled := make(chan struct{}), make(chan error, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- bus.Subscribe(within(t), "t", "s", func(ctx context.Context, m *beck.Message) error {
			close(started)
			<-ctx.Done()
			cancelled <- context.Cause(ctx)
			return ctx.Err()
		}, nil)
	}()
	<-started
	short, cancel := context.WithTimeout(within(t), 50*time.Millisecond)
	defer cancel()
	if err := bus.Close(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close returned %v", err)
	}
	if err := <-cancelled; !errors.Is(err, beck.ErrClosed) {
		t.Errorf("the handler's context ended with %v", err)
	}
	if err := <-ended; !errors.Is(err, beck.ErrClosed) {
		t.Errorf("Subscribe returned %v", err)
	}
	if _, err := bus.Publish(within(t), "t", beck.Message{Body: []byte("x")}); !errors.Is(err, beck.ErrClosed) {
		t.Errorf("Publish on a closed bus returned %v", err)
	}
}

func TestSubscribeEndsWhenItsSubscriptionIsDeleted(t *testing.T) {
	bus, _ := open(t)
	ended := make(chan error, 1)
	go func() {
		ended <- bus.Subscribe(within(t), "t", "s", func(context.Context, *beck.Message) error { return nil }, nil)
	}()
	eventually(t, "it is there", func() bool { return bus.Stats().Consumers == 1 })
	if err := bus.DeleteSubscription(within(t), "t", "s"); err != nil {
		t.Fatal(err)
	}
	publish(t, bus, "t", 0, 1)
	if err := <-ended; !errors.Is(err, beck.ErrSubscriptionNotFound) {
		t.Errorf("Subscribe returned %v", err)
	}
}

func BenchmarkSubscribe(b *testing.B) {
	bus, _ := open(b)
	publish(b, bus, "t", 0, 1)
	ctx, cancel := context.WithCancel(context.Background())
	var left atomic.Int64
	left.Store(int64(b.N))
	for done := 0; done < b.N; done += 1000 {
		publish(b, bus, "t", 0, min(1000, b.N-done))
	}
	b.ResetTimer()
	if err := bus.Subscribe(ctx, "t", "s", func(context.Context, *beck.Message) error {
		if left.Add(-1) == 0 {
			cancel()
		}
		return nil
	}, nil); err != nil {
		b.Fatal(err)
	}
}
