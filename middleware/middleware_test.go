package middleware

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/drivertest/model"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

type around = func(beck.Handler) beck.Handler

func open(t testing.TB) *beck.Bus {
	t.Helper()
	bus, err := beck.New(model.New(time.Now), &beck.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return bus
}

func publish(t testing.TB, bus *beck.Bus, n int) {
	t.Helper()
	for i := range n {
		if _, err := bus.Publish(context.Background(), "t", beck.Message{Body: fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestChainBeginsOutside(t *testing.T) {
	var order []string
	note := func(name string) around {
		return func(handle beck.Handler) beck.Handler {
			return func(ctx context.Context, m *beck.Message) error {
				order = append(order, name)
				defer func() { order = append(order, "/"+name) }()
				return handle(ctx, m)
			}
		}
	}
	handle := Chain(func(context.Context, *beck.Message) error { order = append(order, "handler"); return nil }, note("a"), note("b"))
	if err := handle(t.Context(), &beck.Message{}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "b", "handler", "/b", "/a"}; !slices.Equal(order, want) {
		t.Errorf("%q", order)
	}
}

// all is one of each.
func all() []around {
	return []around{Logging(quiet), Recovery(quiet), RateLimit(1e6, 100), Concurrency(10), Timeout(time.Second)}
}

func TestWhatHandlersSayHolds(t *testing.T) {
	for _, c := range []struct {
		name   string
		handle beck.Handler
		// After what time the second attempt comes; 0 for a dead letter.
		again  time.Duration
		reason string
	}{
		{"retry after", func(context.Context, *beck.Message) error { return beck.RetryAfter(7 * time.Second) }, 7 * time.Second, ""},
		{"retry after, too late", func(ctx context.Context, m *beck.Message) error {
			<-ctx.Done()
			return beck.RetryAfter(7 * time.Second)
		}, 8 * time.Second, ""},
		{"retry after, wrapped", func(context.Context, *beck.Message) error {
			return fmt.Errorf("busy: %w", beck.RetryAfter(7*time.Second))
		}, 7 * time.Second, ""},
		{"retry after, panicked", func(context.Context, *beck.Message) error { panic(beck.RetryAfter(7 * time.Second)) }, 7 * time.Second, ""},
		{"dead", func(context.Context, *beck.Message) error { return beck.Dead(errors.New("no such account")) }, 0, "no such account"},
		{"dead, too late", func(ctx context.Context, m *beck.Message) error {
			<-ctx.Done()
			return beck.Dead(context.Cause(ctx))
		}, 0, "more than 1s"},
		{"dead, panicked", func(context.Context, *beck.Message) error { panic(beck.Dead(errors.New("no such account"))) }, 0, "panicked: no such account"},
		{"backoff", func(context.Context, *beck.Message) error { return errors.New("x") }, time.Minute, ""},
		{"backoff, panicked", func(context.Context, *beck.Message) error { panic("x") }, time.Minute, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bus := open(t)
				publish(t, bus, 1)
				ctx, cancel := context.WithCancel(t.Context())
				begin, again := time.Now(), time.Duration(0)
				first := func(ctx context.Context, m *beck.Message) error {
					if m.Attempt > 1 {
						again = time.Since(begin)
						cancel()
						return nil
					}
					return c.handle(ctx, m)
				}
				if c.again == 0 {
					time.AfterFunc(10*time.Minute, cancel)
				}
				err := bus.Subscribe(ctx, "t", "s", Chain(first, all()...), &beck.SubscribeOptions{
					Backoff: func(int) time.Duration { return time.Minute },
				})
				if err != nil {
					t.Fatal(err)
				}
				// Retries come with the next look, at most.
				if again < c.again || again > c.again+time.Second {
					t.Errorf("it came again after %v, not %v", again, c.again)
				}
				dead, _, err := bus.Peek(context.Background(), "t", "s", beck.StateDead, nil)
				if err != nil {
					t.Fatal(err)
				}
				if found := len(dead) == 1; found != (c.again == 0) {
					t.Fatalf("%d dead letters", len(dead))
				}
				if c.again == 0 && !strings.Contains(dead[0].Reason, c.reason) {
					t.Errorf("it died because %q", dead[0].Reason)
				}
				if err := bus.Close(context.Background()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestTimeout(t *testing.T) {
	own := errors.New("own")
	for _, c := range []struct {
		name   string
		handle beck.Handler
		want   []error
		says   string
	}{
		{"in time", func(ctx context.Context, m *beck.Message) error { time.Sleep(time.Second); return own }, []error{own}, "own"},
		{"well", func(ctx context.Context, m *beck.Message) error { return nil }, nil, ""},
		{"late and well", func(ctx context.Context, m *beck.Message) error { time.Sleep(time.Minute); return nil }, nil, ""},
		{"late", func(ctx context.Context, m *beck.Message) error { <-ctx.Done(); return own }, []error{own}, "the handler took more than 5s: own"},
		{"the context's error", func(ctx context.Context, m *beck.Message) error { <-ctx.Done(); return ctx.Err() }, []error{context.DeadlineExceeded}, "the handler took more than 5s: context deadline exceeded"},
		{"the context's cause", func(ctx context.Context, m *beck.Message) error { <-ctx.Done(); return context.Cause(ctx) }, []error{context.DeadlineExceeded}, "the handler took more than 5s: context deadline exceeded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				err := Timeout(5*time.Second)(c.handle)(t.Context(), &beck.Message{})
				for _, want := range c.want {
					if !errors.Is(err, want) {
						t.Errorf("%v is not %v", err, want)
					}
				}
				if got := fmt.Sprint(err); c.want != nil && got != c.says || c.want == nil && err != nil {
					t.Errorf("%s; want %s", got, c.says)
				}
			})
		})
	}
}

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var at []time.Duration
		var mu sync.Mutex
		limit := RateLimit(10, 3)
		note := func(context.Context, *beck.Message) error {
			mu.Lock()
			defer mu.Unlock()
			at = append(at, time.Since(begin).Round(time.Millisecond))
			return nil
		}
		one, other := limit(note), limit(note)
		var running sync.WaitGroup
		for i := range 8 {
			running.Go(func() {
				handle := one
				if i%2 == 0 {
					handle = other
				}
				if err := handle(t.Context(), &beck.Message{}); err != nil {
					t.Error(err)
				}
			})
		}
		running.Wait()
		ms := time.Millisecond
		if want := []time.Duration{0, 0, 0, 100 * ms, 200 * ms, 300 * ms, 400 * ms, 500 * ms}; !slices.Equal(at, want) {
			t.Errorf("%v; want %v", at, want)
		}
	})
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	stopped := errors.New("stopped")
	for name, limit := range map[string]around{"rate": RateLimit(0.001, 1), "concurrency": Concurrency(1)} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			handle := limit(func(context.Context, *beck.Message) error { <-release; return nil })
			first := make(chan error)
			go func() { first <- handle(t.Context(), &beck.Message{}) }()
			runtime.Gosched()
			if name == "rate" {
				close(release)
				if err := <-first; err != nil {
					t.Fatal(err)
				}
			} else {
				time.Sleep(20 * time.Millisecond)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(20*time.Millisecond, func() { cancel(stopped) })
			if err := handle(ctx, &beck.Message{}); !errors.Is(err, stopped) {
				t.Errorf("%v", err)
			}
			if name == "concurrency" {
				close(release)
				if err := <-first; err != nil {
					t.Fatal(err)
				}
				if err := handle(t.Context(), &beck.Message{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestWaitingKeepsTheLease has messages wait for longer than their lease.
func TestWaitingKeepsTheLease(t *testing.T) {
	bus := open(t)
	defer bus.Close(context.Background())
	publish(t, bus, 6)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var mu sync.Mutex
	attempts := map[string]int{}
	handle := Chain(func(_ context.Context, m *beck.Message) error {
		mu.Lock()
		defer mu.Unlock()
		attempts[string(m.Body)] += m.Attempt
		if len(attempts) == 6 {
			cancel()
		}
		return nil
	}, RateLimit(5, 1))
	err := bus.Subscribe(ctx, "t", "s", handle, &beck.SubscribeOptions{Concurrency: 6, Lease: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for body, n := range attempts {
		if n != 1 {
			t.Errorf("message %s was delivered again, attempts %d", body, n)
		}
	}
	if len(attempts) != 6 {
		t.Errorf("%d messages are handled", len(attempts))
	}
}

func TestConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		running, most := 0, 0
		limit := Concurrency(3)
		slow := func(context.Context, *beck.Message) error {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			running--
			mu.Unlock()
			return nil
		}
		begin := time.Now()
		var all sync.WaitGroup
		for range 9 {
			all.Go(func() { _ = limit(slow)(t.Context(), &beck.Message{}) })
		}
		all.Wait()
		if most != 3 || time.Since(begin) != 3*time.Second {
			t.Errorf("%d at a time, %v", most, time.Since(begin))
		}
	})
}

func TestLoggingAndRecovery(t *testing.T) {
	for _, c := range []struct {
		name   string
		handle beck.Handler
		says   []string
		lacks  string
	}{
		{"well", func(context.Context, *beck.Message) error { return nil }, []string{"level=INFO", "handled", "topic=orders", "id=17", "attempt=2", "took="}, "error"},
		{"failed", func(context.Context, *beck.Message) error { return errors.New("declined") }, []string{"level=WARN", "declined", "id=17"}, "panic"},
		{"panicked", explode, []string{"level=ERROR", "panic=boom", "explode", "level=WARN", `error="handler panicked: boom"`, "id=17"}, "did not return"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bytes.Buffer
			log := slog.New(slog.NewTextHandler(&b, nil))
			handle := Chain(c.handle, Logging(log), Recovery(log))
			_ = handle(t.Context(), &beck.Message{Topic: "orders", ID: "17", Attempt: 2})
			for _, s := range c.says {
				if !strings.Contains(b.String(), s) {
					t.Errorf("the log lacks %s:\n%s", s, b.String())
				}
			}
			if strings.Contains(b.String(), c.lacks) {
				t.Errorf("the log has %s:\n%s", c.lacks, b.String())
			}
		})
	}
}

func explode(context.Context, *beck.Message) error { panic("boom") }

// odd panics when it is asked what it is.
type odd struct{}

func (odd) Error() string { panic("again") }

func TestRecoveryOfOddPanics(t *testing.T) {
	for _, value := range []any{odd{}, fmt.Errorf("x: %w", odd{}), nil, 3} {
		handle := Recovery(quiet)(func(context.Context, *beck.Message) error { panic(value) })
		if err := handle(t.Context(), &beck.Message{}); err == nil {
			t.Errorf("%T is no error", value)
		}
	}
}

func TestALogOfAPanicWithoutRecovery(t *testing.T) {
	var b bytes.Buffer
	handle := Logging(slog.New(slog.NewTextHandler(&b, nil)))(explode)
	func() {
		defer func() {
			if p := recover(); p != "boom" {
				t.Errorf("recovered %v", p)
			}
		}()
		_ = handle(t.Context(), &beck.Message{})
	}()
	if !strings.Contains(b.String(), "did not return") {
		t.Error(b.String())
	}
}

func TestWhatCantBe(t *testing.T) {
	for name, a := range map[string]around{
		"no time": Timeout(0), "less time": Timeout(-1),
		"no rate": RateLimit(0, 1), "no number": RateLimit(math.NaN(), 1), "no burst": RateLimit(1, 0),
		"nobody": Concurrency(0),
	} {
		handle := Chain(func(context.Context, *beck.Message) error { return nil }, a)
		if err := handle(t.Context(), &beck.Message{}); !errors.Is(err, beck.ErrOption) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := RateLimit(math.Inf(1), 1)(func(context.Context, *beck.Message) error { return nil })(t.Context(), &beck.Message{}); err != nil {
		t.Error(err)
	}
}
