package drivertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
)

func busSubscribeCases() []Case {
	return []Case{
		{Name: "everything once", Promise: "a subscription handles every message, those stored and those to come, once when nothing fails, and returns nil when its context ends", run: subscribeOnce},
		{Name: "shared", Promise: "consumers of one subscription share its messages, each handled once when nothing fails; another subscription gets all", run: subscribeShared},
		{Name: "key order", Promise: "messages with the same key are handled one after the other, in order, while others run beside them", run: subscribeKeyOrder},
		{Name: "retry", Promise: "a message whose handler fails or panics comes again with the next attempt number; RetryAfter says when at the earliest", run: subscribeRetry},
		{Name: "dead", Promise: "a message that its handler gives up, or that has had its attempts, becomes a dead letter", run: subscribeDead},
		{Name: "crashed consumer", Promise: "what a crashed consumer held goes to the others when its lease ends, with the next attempt number", run: subscribeCrashed},
		{Name: "long handler", Promise: "the lease is renewed while a handler runs, so that no other consumer gets its message", run: subscribeLong},
		{Name: "close", Promise: "Close lets running handlers finish and stores what they settled; what was not handled may be had at once, with no attempt counted", run: subscribeClose},
		{Name: "deleted", Promise: "deleting the subscription or its topic ends Subscribe with ErrSubscriptionNotFound", run: subscribeDeleted},
		{Name: "bad options", Promise: "options that make no sense are refused with ErrOption", run: subscribeBadOptions},
	}
}

// fast is a backoff for tests.
func fast(int) time.Duration { return 10 * time.Millisecond }

// handled collects what handlers got, from many goroutines.
type handled struct {
	mu   sync.Mutex
	list []*beck.Message
}

func (h *handled) add(m *beck.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = append(h.list, m)
}

func (h *handled) all() []*beck.Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.list)
}

// subscribe runs a subscription until stop, which reports what it returned.
func (t *T) subscribe(bus *beck.Bus, s string, o *beck.SubscribeOptions, handle beck.Handler) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- bus.Subscribe(ctx, orders, s, handle, o) }()
	stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(t.patience):
			return fmt.Errorf("bus.Subscribe has not returned within %v after its context ended", t.patience)
		}
	})
	t.Cleanup(func() { _ = stop() })
	return stop
}

// wantNil stops subscriptions, which must return nil.
func (t *T) wantNil(stops ...func() error) {
	t.Helper()
	for _, stop := range stops {
		if err := stop(); err != nil {
			t.Errorf("Subscribe whose context ended: %v, want nil", err)
		}
	}
}

// settled waits until a subscription is done with everything.
func (t *T) settled(bus *beck.Bus, s string) {
	t.Helper()
	t.eventually(s+" is done with everything", func() bool {
		i := t.inspected(bus, s)
		return i.Pending == 0 && i.Waiting == 0 && i.Lag <= 0
	})
}

// inspected tells about a subscription once it is there.
func (t *T) inspected(bus *beck.Bus, s string) (found beck.SubscriptionInfo) {
	t.Helper()
	t.eventually("there is a subscription "+s, func() bool {
		ctx, cancel := t.ctx()
		defer cancel()
		info, err := bus.Topic(ctx, orders)
		if err != nil && !errors.Is(err, beck.ErrTopicNotFound) {
			t.Fatalf("Topic: %v", err)
		}
		if err != nil {
			return false
		}
		i := slices.IndexFunc(info.Subscriptions, func(i beck.SubscriptionInfo) bool { return i.Name == s })
		if i >= 0 {
			found = info.Subscriptions[i]
		}
		return i >= 0
	})
	return found
}

// wantEachOnce checks that every id was handled once, with attempt 1.
func (t *T) wantEachOnce(what string, got []*beck.Message, ids []string) {
	t.Helper()
	count := map[string]int{}
	for _, m := range got {
		count[m.ID]++
		if m.Attempt != 1 || m.Topic != orders {
			t.Errorf("%s: message %s with attempt %d of topic %q, want 1 and %s", what, m.ID, m.Attempt, m.Topic, orders)
		}
	}
	for _, id := range ids {
		if count[id] != 1 {
			t.Errorf("%s: message %s was handled %d times, want once", what, id, count[id])
		}
	}
	if len(got) != len(ids) {
		t.Errorf("%s: %d messages were handled, want %d", what, len(got), len(ids))
	}
}

func subscribeOnce(t *T) {
	bus := t.bus()
	ids := t.publish(bus, orders, numbers(0, 60)...)
	var got handled
	stop := t.subscribe(bus, billing, nil, func(_ context.Context, m *beck.Message) error {
		got.add(m)
		return nil
	})
	ids = append(ids, t.publishers(bus, 3, 40)()...)
	t.eventually("all messages are handled", func() bool { return len(got.all()) >= len(ids) })
	t.settled(bus, billing)
	t.wantNil(stop)
	t.wantEachOnce("one consumer", got.all(), ids)
	t.wantFollowed("one handler at a time", got.all(), ids)
}

func subscribeShared(t *T) {
	bus := t.bus()
	var shared, audit handled
	var stops []func() error
	var perConsumer [3]atomic.Int64
	for c := range 3 {
		stops = append(stops, t.subscribe(bus, billing, &beck.SubscribeOptions{Concurrency: 4}, func(_ context.Context, m *beck.Message) error {
			perConsumer[c].Add(1)
			shared.add(m)
			time.Sleep(time.Millisecond)
			return nil
		}))
	}
	stops = append(stops, t.subscribe(bus, "audit", nil, func(_ context.Context, m *beck.Message) error {
		audit.add(m)
		return nil
	}))
	ids := t.publishers(bus, 3, 100)()
	t.eventually("all messages are handled twice", func() bool { return len(shared.all()) >= len(ids) && len(audit.all()) >= len(ids) })
	t.settled(bus, billing)
	t.settled(bus, "audit")
	t.wantNil(stops...)
	t.wantEachOnce("three consumers", shared.all(), ids)
	t.wantEachOnce("the other subscription", audit.all(), ids)
}

func subscribeKeyOrder(t *T) {
	const keys, perKey = 5, 20
	bus := t.bus()
	ctx, cancel := t.ctx()
	defer cancel()
	for i := range perKey {
		for k := range keys {
			m := beck.Message{Key: fmt.Sprint("k", k), Body: fmt.Append(nil, i)}
			if _, err := bus.Publish(ctx, orders, m); err != nil {
				t.Fatalf("Publish: %v", err)
			}
		}
	}
	var running [keys]atomic.Int64
	var mu sync.Mutex
	var together, most int
	next := map[string]int{}
	done := 0
	stop := t.subscribe(bus, billing, &beck.SubscribeOptions{Concurrency: 16, Prefetch: 100}, func(_ context.Context, m *beck.Message) error {
		k := m.Key[1] - '0'
		if running[k].Add(1) > 1 {
			t.Errorf("two messages with the key %s are handled at once", m.Key)
		}
		defer running[k].Add(-1)
		mu.Lock()
		together++
		most = max(most, together)
		if want := fmt.Sprint(next[m.Key]); string(m.Body) != want {
			t.Errorf("key %s: message %s is handled where %s should be", m.Key, m.Body, want)
		}
		next[m.Key]++
		mu.Unlock()
		time.Sleep(2 * time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		together--
		done++
		return nil
	})
	t.eventually("all are handled", func() bool { mu.Lock(); defer mu.Unlock(); return done == keys*perKey })
	t.wantNil(stop)
	if most < 2 {
		t.Errorf("with 16 handlers and 5 keys never more than one ran at a time")
	}
}

func subscribeRetry(t *T) {
	bus := t.bus()
	t.publish(bus, orders, "fails", "panics", "later", "fine")
	var mu sync.Mutex
	attempts := map[string][]int{}
	var failed time.Time
	const later = 300 * time.Millisecond
	stop := t.subscribe(bus, billing, &beck.SubscribeOptions{Concurrency: 2, Backoff: fast}, func(_ context.Context, m *beck.Message) error {
		mu.Lock()
		defer mu.Unlock()
		body := string(m.Body)
		attempts[body] = append(attempts[body], m.Attempt)
		switch {
		case body == "later" && m.Attempt == 2:
			t.notBefore("a message came again that its handler wanted later", failed, later)
		case body == "fine" || m.Attempt >= 3:
		case body == "panics":
			panic("this is a test")
		case body == "later":
			failed = time.Now()
			return beck.RetryAfter(later)
		default:
			return errors.New("no luck")
		}
		return nil
	})
	t.eventually("all are handled", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(attempts["fails"]) >= 3 && len(attempts["panics"]) >= 3 && len(attempts["later"]) >= 2 && len(attempts["fine"]) >= 1
	})
	t.settled(bus, billing)
	t.wantNil(stop)
	mu.Lock()
	defer mu.Unlock()
	if got, want := fmt.Sprint(attempts), "map[fails:[1 2 3] fine:[1] later:[1 2] panics:[1 2 3]]"; got != want {
		t.Errorf("attempts: %s, want %s", got, want)
	}
}

func subscribeDead(t *T) {
	bus := t.bus()
	t.publish(bus, orders, "hopeless", "unlucky", "fine")
	var got handled
	stop := t.subscribe(bus, billing, &beck.SubscribeOptions{MaxAttempts: 3, Backoff: fast}, func(_ context.Context, m *beck.Message) error {
		got.add(m)
		switch string(m.Body) {
		case "hopeless":
			return beck.Dead(errors.New("it can't be parsed"))
		case "unlucky":
			return errors.New("no luck")
		}
		return nil
	})
	t.eventually("two are dead letters", func() bool { return t.inspected(bus, billing).Dead == 2 })
	t.settled(bus, billing)
	t.wantNil(stop)
	count := map[string]int{}
	for _, m := range got.all() {
		count[string(m.Body)]++
	}
	if s := fmt.Sprint(count); s != "map[fine:1 hopeless:1 unlucky:3]" {
		t.Errorf("handled %s, want the hopeless one once and the unlucky one three times", s)
	}
}

func subscribeCrashed(t *T) {
	bus := t.bus()
	ctx, cancel := t.ctx()
	defer cancel()
	ids := t.publish(bus, orders, numbers(0, 20)...)
	if _, err := bus.Join(ctx, orders, billing, &beck.JoinOptions{Lease: short}); err != nil {
		t.Fatalf("Join: %v", err)
	}
	fetched := time.Now()
	crashed, err := bus.Fetch(ctx, orders, billing, &beck.FetchOptions{Consumer: "crashed", Max: 5})
	if err != nil || len(crashed.Messages) == 0 {
		t.Fatalf("Fetch: %+v, %v", crashed, err)
	}
	held := map[string]bool{}
	for _, m := range crashed.Messages {
		held[m.ID] = true
	}
	var got handled
	stop := t.subscribe(bus, billing, nil, func(_ context.Context, m *beck.Message) error {
		if held[m.ID] {
			t.notBefore("a message of a crashed consumer was handled", fetched, short)
		}
		got.add(m)
		return nil
	})
	t.eventually("all are handled", func() bool { return len(got.all()) >= len(ids) })
	t.settled(bus, billing)
	t.wantNil(stop)
	for _, m := range got.all() {
		if want := map[bool]int{false: 1, true: 2}[held[m.ID]]; m.Attempt < want {
			t.Errorf("message %s has attempt %d, want %d (held by the crashed consumer: %v)", m.ID, m.Attempt, want, held[m.ID])
		}
	}
}

// subscribeLong looks whether the message was taken away; on a machine so slow
// that a renewal comes too late, it may be, and then the handler is told.
func subscribeLong(t *T) {
	bus := t.bus()
	t.publish(bus, orders, "long")
	const lease = 600 * time.Millisecond
	var began atomic.Int64
	var lost atomic.Bool
	handle := func(ctx context.Context, m *beck.Message) error {
		began.Add(1)
		select {
		case <-ctx.Done():
			lost.Store(errors.Is(context.Cause(ctx), beck.ErrNotHeld))
			return ctx.Err()
		case <-time.After(4 * lease):
			return nil
		}
	}
	a := t.subscribe(bus, billing, &beck.SubscribeOptions{Lease: lease}, handle)
	b := t.subscribe(bus, billing, &beck.SubscribeOptions{Lease: lease}, handle)
	t.eventually("the message is being handled", func() bool { return began.Load() > 0 })
	t.settled(bus, billing)
	t.wantNil(a, b)
	if began.Load() != 1 && !lost.Load() {
		t.Errorf("a message was handled %d times while its handler ran for four leases, and the handler was not told", began.Load())
	}
}

// leftOpen is an engine that is used on after the bus on it was closed.
type leftOpen struct{ driver.Engine }

func (leftOpen) Close(context.Context) error { return nil }

func subscribeClose(t *T) {
	engine := t.engine
	t.engine = leftOpen{engine}
	bus := t.bus()
	t.engine = engine
	ids := t.publish(bus, orders, numbers(0, 10)...)
	running, finish := make(chan string, 10), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- bus.Subscribe(context.Background(), orders, billing, func(_ context.Context, m *beck.Message) error {
			running <- m.ID
			<-finish
			return nil
		}, &beck.SubscribeOptions{Prefetch: 5})
	}()
	first := <-running
	closed := make(chan error, 1)
	ctx, cancel := t.ctx()
	defer cancel()
	go func() { closed <- bus.Close(ctx) }()
	// What waited behind the handler that runs can be had while it runs.
	var got []driver.Message
	t.awake(orders, billing, "next", 9, func(m driver.Message) { got = append(got, m) })
	select {
	case <-closed:
		t.Errorf("Close did not wait for a handler that was running")
	default:
	}
	close(finish)
	if err := <-closed; err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := <-ended; !errors.Is(err, beck.ErrClosed) {
		t.Errorf("Subscribe when the bus is closed: %v, want ErrClosed", err)
	}
	if n := len(running); n != 0 {
		t.Errorf("%d more handlers were started after Close", n)
	}
	if first != ids[0] {
		t.Errorf("the first message handled was %s, want %s", first, ids[0])
	}
	t.none(orders, billing, "next")
	seen := map[string]bool{}
	for _, m := range got {
		seen[m.ID] = true
		if m.Attempt != 1 {
			t.Errorf("message %s, which no handler had, has attempt %d, want 1", m.ID, m.Attempt)
		}
	}
	if seen[first] || len(seen) != 9 {
		t.Errorf("after Close %d messages come, the handled one among them: %v, want the 9 others", len(seen), seen[first])
	}
}

func subscribeDeleted(t *T) {
	bus := t.bus()
	ctx, cancel := t.ctx()
	defer cancel()
	for what, remove := range map[string]func() error{
		"the subscription": func() error { return bus.DeleteSubscription(ctx, orders, billing) },
		"the topic":        func() error { return bus.DeleteTopic(ctx, orders) },
	} {
		t.publish(bus, orders, "a")
		var got handled
		ended := make(chan error, 1)
		go func() {
			ended <- bus.Subscribe(ctx, orders, billing, func(_ context.Context, m *beck.Message) error {
				got.add(m)
				return nil
			}, nil)
		}()
		t.eventually("the message is handled", func() bool { return len(got.all()) > 0 })
		t.settled(bus, billing)
		if err := remove(); err != nil {
			t.Fatalf("deleting %s: %v", what, err)
		}
		select {
		case err := <-ended:
			if !errors.Is(err, beck.ErrSubscriptionNotFound) {
				t.Errorf("Subscribe after %s was deleted: %v, want ErrSubscriptionNotFound", what, err)
			}
		case <-time.After(t.patience):
			t.Fatalf("Subscribe does not end within %v after %s was deleted", t.patience, what)
		}
	}
}

func subscribeBadOptions(t *T) {
	bus := t.bus()
	ctx, cancel := t.ctx()
	defer cancel()
	nothing := func(context.Context, *beck.Message) error { return nil }
	for _, o := range []beck.SubscribeOptions{
		{Concurrency: -1}, {MaxAttempts: -1}, {Prefetch: -1}, {Grace: -1}, {Lease: -1}, {Lease: time.Millisecond}, {Lease: 48 * time.Hour},
		{Concurrency: 4, Prefetch: 2},
	} {
		if err := bus.Subscribe(ctx, orders, billing, nothing, &o); !errors.Is(err, beck.ErrOption) {
			t.Errorf("Subscribe with %+v: %v, want ErrOption", o, err)
		}
	}
	if err := bus.Subscribe(ctx, orders, billing, nil, nil); !errors.Is(err, beck.ErrOption) {
		t.Errorf("Subscribe without a handler: %v, want ErrOption", err)
	}
	if err := bus.Subscribe(ctx, orders, billing, nothing, &beck.SubscribeOptions{Consumer: "a b"}); !errors.Is(err, beck.ErrName) {
		t.Errorf("Subscribe as the consumer %q: %v, want ErrName", "a b", err)
	}
	if err := bus.Subscribe(ctx, orders, billing, nothing, &beck.SubscribeOptions{From: "nonsense"}); !errors.Is(err, beck.ErrPosition) {
		t.Errorf("Subscribe from %q: %v, want ErrPosition", "nonsense", err)
	}
}
