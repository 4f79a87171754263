package ondisk

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beckmq/beck/internal/driver"
)

// tasks is what callers were told of a queue before a crash.
type tasks struct {
	mu     sync.Mutex
	pushed map[string]string // deduplication id, which is the body → id returned
	done   map[string]bool   // bodies that a worker tried to acknowledge
	acked  map[string]bool   // and was told so
	gone   map[string]bool   // of them, those from before the last crash
}

// TestCrashTasks cuts off a queue whose tasks have deduplication ids and delays,
// again and again. Each crash leaves records that agree, the ids known, and every
// task that was pushed and is not done; what was acknowledged stays away.
func TestCrashTasks(t *testing.T) {
	h := &tasks{pushed: map[string]string{}, done: map[string]bool{}, acked: map[string]bool{}}
	e := mustOpen(t, "db", settings{fs: vfs.NewCrashableMem(), reserve: 1, memory: 256 << 10, sweep: 3 * time.Millisecond})
	if err := e.Configure(t.Context(), "q", driver.TopicConfig{MaxMessages: 500, DedupeWindow: time.Hour}); err != nil {
		t.Fatal(err)
	}
	join(t, e, "q", workers, driver.JoinConfig{Queue: true, Lease: time.Millisecond})
	for round := range 12 {
		running := e
		var all sync.WaitGroup
		for p := range 3 {
			all.Go(func() { h.push(running, fmt.Sprintf("%d.%d", round, p)) })
		}
		for w := range 2 {
			all.Go(func() { h.work(t, running, fmt.Sprint("w", w)) })
		}
		time.Sleep(time.Duration(1+rand.IntN(40)) * time.Millisecond)
		e = crash(t, running)
		all.Wait()
		h.gone = maps.Clone(h.acked)
		audit(t, e)
		h.check(t, e)
	}
	h.drain(t, e)
	audit(t, e)
	shut(t, e)
	if len(h.acked) < 50 {
		t.Errorf("only %d tasks were done in all rounds", len(h.acked))
	}
}

func (h *tasks) push(e *engine, name string) {
	for i := 0; ; i++ {
		messages := make([]driver.Message, 1+rand.IntN(4))
		for j := range messages {
			body := fmt.Sprintf("%s.%d.%d", name, i, j)
			messages[j] = once(body, body)
			if rand.IntN(3) == 0 {
				messages[j].Delay = time.Duration(rand.IntN(20)) * time.Millisecond
			}
		}
		ids, err := e.Append(context.Background(), "q", messages)
		h.mu.Lock()
		for j, id := range ids {
			h.pushed[messages[j].DedupeID] = id
		}
		h.mu.Unlock()
		if err != nil && e.failed() != nil {
			return
		}
	}
}

func (h *tasks) work(t *testing.T, e *engine, name string) {
	for {
		f, err := e.Fetch(context.Background(), "q", workers, driver.FetchRequest{Consumer: name, Max: 10})
		if err != nil {
			return
		}
		h.mu.Lock()
		for _, m := range f.Messages {
			if h.gone[string(m.Body)] {
				t.Errorf("%s was done before the crash, and came back", m.Body)
			}
			h.done[string(m.Body)] = true
		}
		h.mu.Unlock()
		not, err := e.Settle(context.Background(), "q", workers, name, each(driver.Acknowledge, idsOf(f.Messages)...))
		if err != nil {
			return
		}
		if len(not) == 0 {
			h.mu.Lock()
			for _, m := range f.Messages {
				h.acked[string(m.Body)] = true
			}
			h.mu.Unlock()
		}
	}
}

// check pushes again what was pushed: nothing of it may be stored twice.
func (h *tasks) check(t *testing.T, e *engine) {
	t.Helper()
	appended := func() uint64 {
		rec := e.find("q").durable.Load()
		return rec.appended + rec.delayed // a delayed one that enters changes neither's sum
	}
	before, tried := appended(), 0
	for id, want := range h.pushed {
		if tried++; tried > 200 {
			break
		}
		if got, err := e.Append(t.Context(), "q", []driver.Message{once(id, id)}); err != nil || got[0] != want {
			t.Fatalf("%s was pushed as %s, and now as %v, %v", id, want, got, err)
		}
	}
	if after := appended(); after != before {
		t.Errorf("%d messages are stored, %d before", after, before)
	}
}

// drain does all that is left.
func (h *tasks) drain(t *testing.T, e *engine) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		f := fetch(t, e, "q", workers, "last", 100)
		for _, m := range f.Messages {
			h.done[string(m.Body)] = true
		}
		settle(t, e, "q", workers, "last", each(driver.Acknowledge, idsOf(f.Messages)...)...)
		info := topicInfo(t, e, "q")
		if info.Length == 0 && info.Delayed == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("there is something left: %+v", info)
		}
	}
	for body := range h.pushed {
		if !h.done[body] {
			t.Errorf("%s was never delivered", body)
		}
	}
}
