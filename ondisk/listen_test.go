package ondisk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// hears listens, and returns what was heard so far, as "subject=body".
func hears(t *testing.T, e *engine, pattern string) (heard func() []string, stop func()) {
	t.Helper()
	var mu sync.Mutex
	var list []string
	stop, err := e.Listen(t.Context(), pattern, driver.Listener{
		Receive: func(subject string, body []byte) {
			mu.Lock()
			defer mu.Unlock()
			list = append(list, subject+"="+string(body))
		},
		Missed: func() { t.Error("missed") },
	})
	if err != nil {
		t.Fatal(err)
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(list)
	}, stop
}

func broadcast(t *testing.T, e *engine, subject, body string) int {
	t.Helper()
	n, err := e.Broadcast(t.Context(), subject, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestListenPatterns(t *testing.T) {
	e := open(t, "db", inMemory())
	subjects := []string{"a", "a.b", "a.b.c", "a.", "ab", "ab.c", "b", "a..b"}
	cases := map[string][]string{
		"a":      {"a"},
		"a.b":    {"a.b"},
		"a.*":    {"a.b", "a.b.c", "a.", "a..b"},
		"a.b.*":  {"a.b.c"},
		"*":      subjects,
		"c.*":    nil,
		"a.":     {"a."},
		"a..*":   {"a..b"},
		"ab.c.*": nil,
	}
	heard := map[string]func() []string{}
	want := map[string]int{}
	for pattern, list := range cases {
		heard[pattern], _ = hears(t, e, pattern)
		for _, subject := range list {
			want[subject]++
		}
	}
	for _, subject := range subjects {
		if n := broadcast(t, e, subject, "x"); n != want[subject] {
			t.Errorf("%s: %d listeners, want %d", subject, n, want[subject])
		}
	}
	for pattern, list := range cases {
		got := strings.Join(heard[pattern](), " ")
		expected := ""
		for _, subject := range list {
			expected += " " + subject + "=x"
		}
		if got != strings.TrimSpace(expected) {
			t.Errorf("%s heard %q, want %q", pattern, got, expected)
		}
	}
}

func TestListenStop(t *testing.T) {
	e := open(t, "db", inMemory())
	first, stop := hears(t, e, "a")
	second, stopSecond := hears(t, e, "a")
	broadcast(t, e, "a", "1")
	stop()
	stop()
	if n := broadcast(t, e, "a", "2"); n != 1 {
		t.Errorf("%d listeners are left", n)
	}
	stopSecond()
	if n := broadcast(t, e, "a", "3"); n != 0 || len(e.air.audiences) != 0 {
		t.Errorf("%d listeners, %d audiences when all have stopped", n, len(e.air.audiences))
	}
	if len(first()) != 1 || len(second()) != 2 {
		t.Errorf("heard %v and %v", first(), second())
	}
}

// The one who broadcasts may use the body again at once.
func TestBroadcastCopies(t *testing.T) {
	e := open(t, "db", inMemory())
	var got []byte
	if _, err := e.Listen(t.Context(), "a", driver.Listener{Receive: func(_ string, body []byte) { got = body }}); err != nil {
		t.Fatal(err)
	}
	body := []byte("abc")
	if _, err := e.Broadcast(t.Context(), "a", body); err != nil {
		t.Fatal(err)
	}
	copy(body, "xyz")
	if string(got) != "abc" {
		t.Errorf("the listener has %q", got)
	}
	if _, err := e.Broadcast(t.Context(), "a", nil); err != nil || got == nil || len(got) != 0 {
		t.Errorf("an empty body is %#v, %v", got, err)
	}
}

// A listener is called by one goroutine at a time, hears what each of them
// broadcasts in order, and nothing once stop has returned.
func TestListenerOneAtATime(t *testing.T) {
	e := open(t, "db", inMemory())
	var inside, stopped atomic.Bool
	last := map[string]int{}
	var count, missed atomic.Int64
	stop, err := e.Listen(t.Context(), "*", driver.Listener{
		Receive: func(subject string, body []byte) {
			if !inside.CompareAndSwap(false, true) || stopped.Load() {
				t.Error("called while another call is under way, or after stop")
			}
			var n int
			fmt.Sscan(string(body), &n)
			if n <= last[subject] {
				t.Errorf("%s: %d behind %d", subject, n, last[subject])
			}
			last[subject] = n
			count.Add(1)
			inside.Store(false)
		},
		Missed: func() { missed.Add(1) },
	})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for p := range 4 {
		all.Go(func() {
			for i := range 2000 {
				if n, err := e.Broadcast(context.Background(), fmt.Sprint("p", p), fmt.Append(nil, i+1)); err != nil || n != 1 {
					t.Errorf("%d listeners, %v", n, err)
				}
			}
		})
	}
	all.Wait()
	stop()
	stopped.Store(true)
	if n := count.Load(); n != 8000 && missed.Load() == 0 || n < 2000 {
		t.Errorf("heard %d of 8000, missed %d times", n, missed.Load())
	}
	broadcast(t, e, "p1", "9999")
}

// What comes while a listener is being called waits, even if it is the listener
// who broadcasts; and he is told if that was too much.
func TestListenerBusy(t *testing.T) {
	e := open(t, "db", inMemory())
	heard, missed := 0, 0
	if _, err := e.Listen(t.Context(), "a", driver.Listener{
		Receive: func(_ string, body []byte) {
			if heard++; heard == 1 {
				for range listenerRoom + 5 {
					broadcast(t, e, "a", "more")
				}
			}
		},
		Missed: func() { missed++ },
	}); err != nil {
		t.Fatal(err)
	}
	broadcast(t, e, "a", "first")
	if heard != 1+listenerRoom || missed != 1 {
		t.Errorf("heard %d, missed %d times", heard, missed)
	}
}

func TestListenStopWaits(t *testing.T) {
	for name, end := range map[string]func(e *engine, stop func()){
		"stop":  func(_ *engine, stop func()) { stop() },
		"close": func(e *engine, _ func()) { _ = e.Close(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			e := mustOpen(t, "db", inMemory())
			began, finish := make(chan struct{}), make(chan struct{})
			var over atomic.Bool
			stop, err := e.Listen(t.Context(), "a", driver.Listener{Receive: func(string, []byte) {
				close(began)
				<-finish
				over.Store(true)
			}})
			if err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = e.Broadcast(context.Background(), "a", nil) }()
			<-began
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				end(e, stop)
				if !over.Load() {
					t.Error("it returned while the listener was being called")
				}
			}()
			time.Sleep(5 * time.Millisecond)
			close(finish)
			<-ended
			shut(t, e)
		})
	}
}

func TestLiveAfterClose(t *testing.T) {
	e := mustOpen(t, "db", inMemory())
	heard, _ := hears(t, e, "a")
	serve(t, e, "s", func(driver.Request) { t.Error("called after Close") })
	shut(t, e)
	calls := map[string]func() error{
		"broadcast": func() error { _, err := e.Broadcast(t.Context(), "a", nil); return err },
		"listen":    func() error { _, err := e.Listen(t.Context(), "a", driver.Listener{}); return err },
		"request":   func() error { _, err := e.Request(t.Context(), "s", driver.Message{}); return err },
		"serve":     func() error { _, err := e.Serve(t.Context(), "s", nil); return err },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, driver.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(heard()) > 0 {
		t.Errorf("heard %v", heard())
	}
	shut(t, e)
}

func TestLiveContextEnded(t *testing.T) {
	e := open(t, "db", inMemory())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	calls := map[string]func() error{
		"broadcast": func() error { _, err := e.Broadcast(ctx, "a", nil); return err },
		"listen":    func() error { _, err := e.Listen(ctx, "a", driver.Listener{}); return err },
		"request":   func() error { _, err := e.Request(ctx, "s", driver.Message{}); return err },
		"serve":     func() error { _, err := e.Serve(ctx, "s", nil); return err },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A request whose context has no deadline ends all the same.
func TestRequestWithoutDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &engine{desk: newDesk(), now: time.Now}
		serve(t, e, "s", func(q driver.Request) {
			if left := time.Until(q.Deadline); left != requestTime {
				t.Errorf("the deadline is in %v", left)
			}
		})
		began := time.Now()
		_, err := e.Request(t.Context(), "s", driver.Message{})
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != requestTime {
			t.Errorf("after %v: %v", took, err)
		}
	})
}
