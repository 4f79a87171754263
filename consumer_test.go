package beck_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beckmq/beck"
)

func TestLostAnswersDontUseUpAttempts(t *testing.T) {
	bus, engine := open(t)
	subscribe(t, bus, "s", func(context.Context, *beck.Message) error { return nil },
		&beck.SubscribeOptions{MaxAttempts: 1, Lease: time.Hour})
	engine.down.Store(true)
	publish(t, bus, "t", 0, 20)
	time.Sleep(150 * time.Millisecond)
	engine.down.Store(false)
	eventually(t, "all are settled", func() bool { s := info(t, bus); return s.Lag == 0 && s.Pending == 0 })
	if s := info(t, bus); s.Dead > 0 {
		t.Errorf("%d messages are dead that no handler has seen", s.Dead)
	}
}

func TestHandlersThatMisbehave(t *testing.T) {
	type failure struct{ error } // whose Error panics if it is nil
	for name, fail := range map[string]func() error{
		"ends its goroutine":   func() error { runtime.Goexit(); return nil },
		"returns a typed nil":  func() error { return (*failure)(nil) },
		"panics with an error": func() error { panic(errors.New("oops")) },
		"panics with nil":      func() error { panic(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			bus, _ := open(t)
			stop := subscribe(t, bus, "s", func(_ context.Context, m *beck.Message) error {
				if m.Attempt == 1 {
					return fail()
				}
				return nil
			}, &beck.SubscribeOptions{Backoff: func(attempt int) time.Duration {
				if attempt == 1 {
					return 0
				}
				panic("no second attempt fails")
			}})
			publish(t, bus, "t", 0, 5)
			eventually(t, "all are handled", func() bool { return bus.Stats().Acknowledged == 5 })
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOneAtATimeIsInOrder(t *testing.T) {
	bus, _ := open(t)
	var mu sync.Mutex
	var got []string
	for _, key := range []string{"a", "a", "b", "", "a", "b"} {
		if _, err := bus.Publish(within(t), "t", beck.Message{Key: key, Body: []byte(key)}); err != nil {
			t.Fatal(err)
		}
	}
	subscribe(t, bus, "s", func(_ context.Context, m *beck.Message) error {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, string(m.Body))
		return nil
	}, &beck.SubscribeOptions{Prefetch: 10})
	eventually(t, "all are handled", func() bool { return bus.Stats().Acknowledged == 6 })
	if !slices.Equal(got, []string{"a", "a", "b", "", "a", "b"}) {
		t.Errorf("handled in the order %q", got)
	}
}

func TestSlowHandlersLeaveWorkToOthers(t *testing.T) {
	bus, _ := open(t)
	publish(t, bus, "t", 0, 2)
	release := make(chan struct{})
	defer close(release)
	var running atomic.Int64
	for range 2 {
		subscribe(t, bus, "s", func(context.Context, *beck.Message) error {
			running.Add(1)
			<-release
			return nil
		}, nil)
	}
	eventually(t, "both consumers have one", func() bool { return running.Load() == 2 })
}

func TestHandlersThatBecomeSlowGiveBack(t *testing.T) {
	bus, _ := open(t)
	release, slow := make(chan struct{}), make(chan struct{})
	defer close(release)
	var first, second atomic.Int64
	subscribe(t, bus, "s", func(ctx context.Context, m *beck.Message) error {
		if first.Add(1) > 2000 {
			select {
			case <-slow:
			default:
				close(slow)
			}
			<-release
		}
		return nil
	}, &beck.SubscribeOptions{Lease: 300 * time.Millisecond})
	publish(t, bus, "t", 0, 3000)
	<-slow
	subscribe(t, bus, "s", func(context.Context, *beck.Message) error {
		second.Add(1)
		return nil
	}, nil)
	// The first may keep the one it handles, and one to go on with.
	eventually(t, "the second gets what the first can't handle", func() bool { return second.Load() >= 998 })
}

func TestHandlersAreKeptBusy(t *testing.T) {
	bus, _ := open(t)
	release := make(chan struct{})
	defer close(release)
	var short atomic.Int64
	publish(t, bus, "t", 0, 20)
	subscribe(t, bus, "s", func(_ context.Context, m *beck.Message) error {
		if len(m.Body) == 1 && m.Body[0] < '3' {
			<-release
		} else {
			short.Add(1)
		}
		return nil
	}, &beck.SubscribeOptions{Concurrency: 4, Prefetch: 4})
	eventually(t, "the fourth handler does the rest", func() bool { return short.Load() == 17 })
}

func TestStoppingDoesNotUseUpAttempts(t *testing.T) {
	bus, _ := open(t)
	publish(t, bus, "t", 0, 1)
	started := make(chan struct{})
	stop := subscribe(t, bus, "s", func(ctx context.Context, m *beck.Message) error {
		close(started)
		<-ctx.Done()
		return ctx.Err()
	}, &beck.SubscribeOptions{MaxAttempts: 1, Grace: time.Millisecond})
	<-started
	if err := stop(); err != nil {
		t.Error(err)
	}
	if s := info(t, bus); s.Dead != 0 || s.Waiting != 1 {
		t.Errorf("after the stop: %+v", s)
	}
}

func TestHandlersMayPublishWhileTheBusCloses(t *testing.T) {
	bus, _ := open(t)
	publish(t, bus, "t", 0, 1)
	started := make(chan struct{})
	ended := make(chan error, 1)
	published := make(chan error, 1)
	go func() {
		ended <- bus.Subscribe(within(t), "t", "s", func(ctx context.Context, m *beck.Message) error {
			close(started)
			time.Sleep(50 * time.Millisecond)
			_, err := bus.Publish(ctx, "out", beck.Message{Body: m.Body})
			published <- err
			return err
		}, nil)
	}()
	<-started
	if err := bus.Close(within(t)); err != nil {
		t.Error(err)
	}
	if err := <-published; err != nil {
		t.Errorf("publishing from a handler: %v", err)
	}
	if err := <-ended; !errors.Is(err, beck.ErrClosed) {
		t.Errorf("Subscribe returned %v", err)
	}
	if _, err := bus.Publish(within(t), "t", beck.Message{Body: []byte{}}); !errors.Is(err, beck.ErrClosed) {
		t.Errorf("Publish after Close: %v", err)
	}
}

func TestWatchMayBeStoppedTwice(t *testing.T) {
	bus, _ := open(t)
	hints, stop, err := bus.Watch("t")
	if err != nil {
		t.Fatal(err)
	}
	publish(t, bus, "t", 0, 1)
	<-hints
	stop()
	stop()
}

func TestNamedConsumerRecoversWhatItHeld(t *testing.T) {
	bus, _ := open(t)
	ctx := within(t)
	if _, err := bus.Join(ctx, "t", "s", &beck.JoinOptions{Lease: time.Hour}); err != nil {
		t.Fatal(err)
	}
	publish(t, bus, "t", 0, 50)
	if got, err := bus.Fetch(ctx, "t", "s", &beck.FetchOptions{Consumer: "c1", Max: 30}); err != nil || len(got.Messages) != 30 {
		t.Fatalf("fetched %+v, %v", got, err)
	}
	var mu sync.Mutex
	attempts := map[string]int{}
	subscribe(t, bus, "s", func(_ context.Context, m *beck.Message) error {
		mu.Lock()
		defer mu.Unlock()
		attempts[string(m.Body)] = m.Attempt
		return nil
	}, &beck.SubscribeOptions{Consumer: "c1"})
	// The lease is an hour: what it held before must come without waiting.
	eventually(t, "all are handled", func() bool { return bus.Stats().Acknowledged == 50 })
	if attempts["0"] < 2 || attempts["29"] < 2 || attempts["49"] != 1 {
		t.Errorf("attempts %v", attempts)
	}
}

// Attempts that are used up are those of handlers, whatever the engine had to count
// while answers were lost.
func TestOutagesDontUseUpAttempts(t *testing.T) {
	bus, engine := open(t)
	publish(t, bus, "t", 0, 1)
	var mu sync.Mutex
	attempts := map[string][]int{}
	started, fail := make(chan struct{}, 10), make(chan struct{})
	subscribe(t, bus, "s", func(_ context.Context, m *beck.Message) error {
		mu.Lock()
		attempts[string(m.Body)] = append(attempts[string(m.Body)], m.Attempt)
		mu.Unlock()
		started <- struct{}{}
		<-fail
		return errors.New("fails always")
	}, &beck.SubscribeOptions{MaxAttempts: 3, Concurrency: 2, Lease: time.Hour, Backoff: func(int) time.Duration { return 0 }})
	<-started
	engine.down.Store(true)
	publish(t, bus, "t", 1, 1)
	time.Sleep(300 * time.Millisecond)
	engine.down.Store(false)
	<-started
	close(fail)
	eventually(t, "both are dead", func() bool { return info(t, bus).Dead == 2 })
	mu.Lock()
	defer mu.Unlock()
	for _, body := range []string{"0", "1"} {
		if !slices.Equal(attempts[body], []int{1, 2, 3}) {
			t.Errorf("message %s was handled in the attempts %v", body, attempts[body])
		}
	}
}
