package ondisk

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beckmq/beck/internal/driver"
)

// history is what callers were told before a crash.
type history struct {
	mu       sync.Mutex
	appended map[string]string // id → body
	tried    map[string]bool   // to acknowledge
	// acked and attempts say when they were learnt, on a clock that counts
	// calls: a call may have been decided before another that returned first.
	clock    int
	acked    map[string]int
	attempts map[string]attempt
}

type attempt struct{ number, at int }

func newHistory() *history {
	return &history{appended: map[string]string{}, acked: map[string]int{}, tried: map[string]bool{}, attempts: map[string]attempt{}}
}

// tick returns the time of something that happens now.
func (h *history) tick() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock++
	return h.clock
}

// TestCrash cuts the engine off at a random moment while publishers and
// consumers run, again and again on what each crash leaves.
func TestCrash(t *testing.T) {
	h := newHistory()
	e := mustOpen(t, "db", settings{fs: vfs.NewCrashableMem(), reserve: 1, memory: 256 << 10})
	join(t, e, "a", "s", driver.JoinConfig{Lease: time.Millisecond})
	for round := range 25 {
		h.runUntilCrash(t, &e, round)
		h.check(t, e)
	}
	h.drain(t, e)
	shut(t, e)
	if len(h.acked) < 100 {
		t.Errorf("only %d messages were acknowledged in all rounds", len(h.acked))
	}
}

func (h *history) runUntilCrash(t *testing.T, e **engine, round int) {
	running := *e
	var all sync.WaitGroup
	for p := range 4 {
		all.Go(func() { h.publish(running, fmt.Sprintf("%d.%d", round, p)) })
	}
	for c := range 2 {
		all.Go(func() { h.consume(t, running, fmt.Sprint("c", c)) })
	}
	time.Sleep(time.Duration(1+rand.IntN(30)) * time.Millisecond)
	*e = crash(t, running)
	all.Wait()
}

func (h *history) publish(e *engine, name string) {
	for i := 0; ; i++ {
		messages := bodies(0, 1+rand.IntN(5))
		for j := range messages {
			messages[j].Body = fmt.Appendf(nil, "%s.%d.%d", name, i, j)
		}
		ids, err := e.Append(context.Background(), "a", messages)
		if err != nil {
			return
		}
		h.mu.Lock()
		for j, id := range ids {
			h.appended[id] = string(messages[j].Body)
		}
		h.mu.Unlock()
	}
}

func (h *history) consume(t *testing.T, e *engine, name string) {
	for {
		began := h.tick()
		f, err := e.Fetch(context.Background(), "a", "s", driver.FetchRequest{Consumer: name, Max: 20})
		if err != nil {
			return
		}
		h.delivered(t, f.Messages, began)
		var list []driver.Settlement
		h.mu.Lock()
		for i, m := range f.Messages {
			do := []driver.Action{driver.Acknowledge, driver.Acknowledge, driver.Retry}[i%3]
			list = append(list, driver.Settlement{ID: m.ID, Do: do})
			if do == driver.Acknowledge {
				h.tried[m.ID] = true
			}
		}
		h.mu.Unlock()
		notHeld, err := e.Settle(context.Background(), "a", "s", name, list)
		if err != nil {
			return
		}
		h.settled(list, notHeld)
	}
}

// delivered checks that what was acknowledged does not come back and that
// attempts only grow, in a call that began at a time.
func (h *history) delivered(t *testing.T, messages []driver.Message, began int) {
	now := h.tick()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range messages {
		if at, acked := h.acked[m.ID]; acked && at < began {
			t.Errorf("%s was acknowledged and came back", m.ID)
		}
		before := h.attempts[m.ID]
		if m.Attempt <= before.number && before.at < began {
			t.Errorf("%s had attempt %d before, now %d", m.ID, before.number, m.Attempt)
		}
		if m.Attempt > before.number {
			h.attempts[m.ID] = attempt{m.Attempt, now}
		}
	}
}

func (h *history) settled(list []driver.Settlement, notHeld []string) {
	now := h.tick()
	h.mu.Lock()
	defer h.mu.Unlock()
	not := map[string]bool{}
	for _, id := range notHeld {
		not[id] = true
	}
	for _, s := range list {
		if s.Do == driver.Acknowledge && !not[s.ID] {
			h.acked[s.ID] = now
		}
	}
}

// check looks for every message whose Append returned.
func (h *history) check(t *testing.T, e *engine) {
	t.Helper()
	found := map[string]string{}
	last := ""
	for _, m := range readAll(t, e, "a") {
		if m.ID <= last {
			t.Fatalf("%s comes behind %s", m.ID, last)
		}
		last = m.ID
		found[m.ID] = string(m.Body)
	}
	for id, body := range h.appended {
		if found[id] != body {
			t.Fatalf("%s holds %q, want %q", id, found[id], body)
		}
	}
}

// drain takes all that is left: every message must be settled by then, or be
// one whose acknowledgement was under way in a crash.
func (h *history) drain(t *testing.T, e *engine) {
	t.Helper()
	for {
		began := h.tick()
		f := fetch(t, e, "a", "s", "last", 1000)
		h.delivered(t, f.Messages, began)
		var list []driver.Settlement
		for _, m := range f.Messages {
			list = append(list, driver.Settlement{ID: m.ID, Do: driver.Acknowledge})
		}
		h.settled(list, settle(t, e, "a", "s", "last", list...))
		if len(f.Messages) == 0 && f.Next == 0 && !f.More {
			break
		}
		time.Sleep(f.Next)
	}
	for id := range h.appended {
		if h.acked[id] == 0 && !h.tried[id] {
			t.Errorf("%s was never delivered", id)
		}
	}
}

var errCrashed = errors.New("crashed")

// crash opens what a crash of the whole machine would leave of an engine on a
// crashable file system: what was synced, and by chance some of the rest.
func crash(t testing.TB, e *engine) *engine {
	t.Helper()
	// From now on nothing is answered as done; all that was has been synced.
	e.fail(errCrashed)
	left := e.stamps.fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: rand.IntN(101),
		RNG:                 rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0)),
	})
	t.Cleanup(func() { abandon(t, e) })
	return mustOpen(t, "db", settings{fs: left, reserve: 1, now: e.now})
}

// abandon closes an engine that has failed.
func abandon(t testing.TB, e *engine) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := e.Close(ctx); err == nil {
		t.Error("closing an engine that failed returned no error")
	}
}
