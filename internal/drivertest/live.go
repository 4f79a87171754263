package drivertest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

func liveCases() []Case {
	return []Case{
		{Name: "patterns", Promise: "a listener hears the subjects that its pattern names, a name, a prefix or all, and no others, each message once", run: livePatterns},
		{Name: "from now on", Promise: "everything that is broadcast after Listen has returned is heard, and nothing of before; nothing is stored", run: liveNow},
		{Name: "bodies", Promise: "bodies come as they were given: empty, large, of all byte values", run: liveBodies},
		{Name: "count", Promise: "the number of listeners comes back, where the engine can tell", run: liveCount},
		{Name: "order", Promise: "a listener hears each sender's messages in order", run: liveOrder},
		{Name: "stop", Promise: "when stop has returned nothing is heard any more, while others go on", run: liveStop},
	}
}

// ear collects what a listener hears.
type ear struct {
	mu    sync.Mutex
	heard []string
	stop  func()
}

func (e *ear) all() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.heard)
}

// listen hears subjects and bodies until stop, or the end of the case.
func (t *T) listen(pattern string) *ear {
	t.Helper()
	e := &ear{}
	t.do("Listen to "+pattern, func(ctx context.Context) (err error) {
		e.stop, err = t.engine.Listen(ctx, pattern, driver.Listener{
			Receive: func(subject string, body []byte) {
				e.mu.Lock()
				defer e.mu.Unlock()
				e.heard = append(e.heard, subject+" "+string(body))
			},
			Missed: func() {},
		})
		return err
	})
	e.stop = sync.OnceFunc(e.stop)
	t.Cleanup(e.stop)
	return e
}

func (t *T) broadcast(subject, body string) (listeners int) {
	t.Helper()
	t.do("Broadcast to "+subject, func(ctx context.Context) (err error) {
		listeners, err = t.engine.Broadcast(ctx, subject, []byte(body))
		return err
	})
	return listeners
}

// hears waits until a listener has heard the last one, and checks them all.
func (t *T) hears(what string, e *ear, want ...string) {
	t.Helper()
	t.eventually(what+" hears the last one", func() bool { return len(e.all()) >= len(want) })
	if got := e.all(); !slices.Equal(got, want) {
		t.Errorf("%s heard %s, want %s", what, few(got), few(want))
	}
}

// hearsAll is hears for several subjects, which may be heard in any order among each
// other.
func (t *T) hearsAll(what string, e *ear, want ...string) {
	t.Helper()
	t.eventually(what+" hears the last one", func() bool { return len(e.all()) >= len(want) })
	got, want := slices.Sorted(slices.Values(e.all())), slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("%s heard %s, want %s", what, few(got), few(want))
	}
}

func livePatterns(t *T) {
	ears := map[string]*ear{}
	for _, pattern := range []string{"a", "a.b", "a.*", "a.b.*", "*", "other"} {
		ears[pattern] = t.listen(pattern)
	}
	again := t.listen("a.*")
	for _, subject := range []string{"a", "a.b", "a.b.c", "ab", "A.b", "a.b.c.d", "b"} {
		t.broadcast(subject, "x")
	}
	// The last ones, so that nothing can come later.
	for _, subject := range []string{"a", "a.b", "a.b.z", "other"} {
		t.broadcast(subject, "end")
	}
	for pattern, want := range map[string][]string{
		"a":     {"a x", "a end"},
		"a.b":   {"a.b x", "a.b end"},
		"a.*":   {"a.b x", "a.b.c x", "a.b.c.d x", "a.b end", "a.b.z end"},
		"a.b.*": {"a.b.c x", "a.b.c.d x", "a.b.z end"},
		"*":     {"a x", "a.b x", "a.b.c x", "ab x", "A.b x", "a.b.c.d x", "b x", "a end", "a.b end", "a.b.z end", "other end"},
		"other": {"other end"},
	} {
		t.hearsAll("a listener to "+pattern, ears[pattern], want...)
	}
	t.hearsAll("a second listener to a.*", again, ears["a.*"].all()...)
}

func liveNow(t *T) {
	t.broadcast("a", "before")
	for i := range 10 {
		e := t.listen("a")
		t.broadcast("a", fmt.Sprint(i))
		t.hears("a new listener", e, fmt.Sprint("a ", i))
		e.stop()
	}
	ctx, cancel := t.ctx()
	defer cancel()
	if list, err := t.engine.Topics(ctx); err != nil || len(list) != 0 {
		t.Errorf("there are topics after broadcasts: %v, %v, want none", list, err)
	}
	t.append("a", "stored")
	e := t.listen("a")
	t.append("a", "stored")
	t.broadcast("a", "end")
	t.hears("a listener beside a topic of that name", e, "a end")
}

func liveBodies(t *T) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	e := t.listen("a")
	var want []string
	for _, body := range []string{"", "\x00", string(every), "\r\n\n", "data: x\n\n", "Zürich 北京", string(bytes.Repeat(every, 1<<10))} {
		t.broadcast("a", body)
		want = append(want, "a "+body)
	}
	t.eventually("all are heard", func() bool { return len(e.all()) >= len(want) })
	for i, got := range e.all() {
		if i >= len(want) || got != want[i] {
			t.Errorf("body %d came as %.60q (%d bytes)", i, got, len(got))
		}
	}
}

func liveCount(t *T) {
	if n := t.broadcast("a", "x"); n > 0 {
		t.Errorf("%d listen, want none", n)
	}
	other := t.listen("b")
	if n := t.broadcast("a", "x"); n > 0 {
		t.Errorf("%d listen to a, want none: only b is listened to", n)
	}
	first, second := t.listen("a"), t.listen("a")
	if n := t.broadcast("a", "x"); n == 0 || n > 2 {
		t.Errorf("%d listen, want 2, or 1 if they are of one process, or -1", n)
	}
	first.stop()
	second.stop()
	t.eventually("nobody listens any more", func() bool { return t.broadcast("a", "x") <= 0 })
	t.broadcast("b", "x")
	t.hears("the other one", other, "b x")
}

func liveOrder(t *T) {
	const senders, messages = 4, 100
	ears := []*ear{t.listen("a.*"), t.listen("*"), t.listen("a.b")}
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range messages {
				ctx, cancel := t.ctx()
				_, err := t.engine.Broadcast(ctx, "a.b", fmt.Appendf(nil, "%d %d", s, i))
				cancel()
				if err != nil {
					t.Errorf("Broadcast: %v", err)
				}
			}
		})
	}
	wg.Wait()
	for n, e := range ears {
		t.eventually("all are heard", func() bool { return len(e.all()) >= senders*messages })
		next := make([]int, senders)
		for _, heard := range e.all() {
			var s, i int
			if _, err := fmt.Sscanf(heard, "a.b %d %d", &s, &i); err != nil || i != next[s] {
				t.Fatalf("listener %d heard %q where message %d of that sender should come", n, heard, next[s])
			}
			next[s]++
		}
	}
}

func liveStop(t *T) {
	stay := t.listen("a")
	done := make(chan struct{})
	var wg sync.WaitGroup
	var sent atomic.Int64
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			ctx, cancel := t.ctx()
			if _, err := t.engine.Broadcast(ctx, "a", fmt.Append(nil, i)); err != nil {
				t.Errorf("Broadcast: %v", err)
			}
			cancel()
			sent.Add(1)
			time.Sleep(100 * time.Microsecond)
		}
	})
	for range 20 {
		e := t.listen("a")
		t.eventually("something is heard", func() bool { return len(e.all()) > 0 })
		e.stop()
		before := len(e.all())
		time.Sleep(2 * time.Millisecond)
		if after := len(e.all()); after != before {
			t.Errorf("%d messages were heard after stop had returned", after-before)
		}
	}
	close(done)
	wg.Wait()
	t.eventually("the one that stays hears all", func() bool { return len(stay.all()) == int(sent.Load()) })
}
