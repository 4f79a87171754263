package ondisk

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beckmq/beck/internal/driver"
)

// steered is what callers know of a subscription whose messages die, are requeued
// and trimmed.
type steered struct {
	mu    sync.Mutex
	ids   []string
	body  map[string]string
	acked map[string]bool // known to be acknowledged
	tried map[string]bool // perhaps
}

// TestCrashWhileSteering cuts the engine off at random moments. Each message must
// be in one place afterwards, whole, and the counts must agree with that.
func TestCrashWhileSteering(t *testing.T) {
	s := &steered{body: map[string]string{}, acked: map[string]bool{}, tried: map[string]bool{}}
	e := mustOpen(t, "db", settings{fs: vfs.NewCrashableMem(), reserve: 1, memory: 256 << 10})
	join(t, e, "a", "s", driver.JoinConfig{Lease: time.Millisecond})
	const enough = 50 // messages; a busy machine needs more rounds for them
	for round := 0; round < 25 || len(s.acked) < enough && round < 500; round++ {
		s.publish(t, e, round)
		running := e
		var all sync.WaitGroup
		all.Go(func() { s.consume(running, uint64(round)) })
		all.Go(func() { s.exhume(running, uint64(round)) })
		time.Sleep(time.Duration(1+rand.IntN(20)) * time.Millisecond)
		e = crash(t, running)
		all.Wait()
		s.check(t, e)
	}
	shut(t, e)
	if len(s.acked) < enough {
		t.Errorf("only %d messages were acknowledged in all rounds", len(s.acked))
	}
}

func (s *steered) publish(t *testing.T, e *engine, round int) {
	messages := bodies(100*round, 20)
	for i, id := range publish(t, e, "a", messages...) {
		s.ids = append(s.ids, id)
		s.body[id] = string(messages[i].Body)
	}
}

func (s *steered) consume(e *engine, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 3))
	for {
		f, err := e.Fetch(context.Background(), "a", "s", driver.FetchRequest{Consumer: "c", Max: 10})
		if err != nil {
			return
		}
		var list []driver.Settlement
		s.mu.Lock()
		for _, m := range f.Messages {
			do := driver.Action(1 + random.IntN(5))
			if do == driver.Acknowledge {
				s.tried[m.ID] = true
			}
			list = append(list, driver.Settlement{ID: m.ID, Do: do})
		}
		s.mu.Unlock()
		notHeld, err := e.Settle(context.Background(), "a", "s", "c", list)
		if err != nil {
			return
		}
		s.mu.Lock()
		for _, c := range list {
			if c.Do == driver.Acknowledge && !slices.Contains(notHeld, c.ID) {
				s.acked[c.ID] = true
			}
		}
		s.mu.Unlock()
	}
}

// exhume requeues dead letters, and trims the topic.
func (s *steered) exhume(e *engine, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 4))
	for {
		p, err := e.Peek(context.Background(), "a", "s", driver.PeekRequest{State: driver.Buried, Max: 1 + random.IntN(10)})
		if err != nil {
			return
		}
		var ids []string
		for _, entry := range p.Entries {
			ids = append(ids, entry.Message.ID)
		}
		if missing, err := e.Requeue(context.Background(), "a", "s", ids); err != nil || len(missing) > 0 {
			return
		}
		if _, err := e.Trim(context.Background(), "a", driver.Position{Kind: driver.End}); err != nil {
			return
		}
	}
}

func (s *steered) check(t *testing.T, e *engine) {
	t.Helper()
	open, err := e.Outstanding(t.Context(), "a", "s", s.ids)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]driver.State{}
	for _, state := range []driver.State{driver.Ready, driver.Held, driver.Waiting, driver.Buried} {
		p := peek(t, e, state, "", len(s.ids)+1)
		for _, entry := range p.Entries {
			id := entry.Message.ID
			if found[id] != "" || string(entry.Message.Body) != s.body[id] {
				t.Fatalf("%s is %s with body %q, and %s before", id, state, entry.Message.Body, found[id])
			}
			found[id] = state
		}
	}
	if !maps.Equal(open, found) {
		t.Fatalf("outstanding %v, but found %v", open, found)
	}
	count := map[driver.State]int64{}
	for _, id := range s.ids {
		count[found[id]]++
		if s.acked[id] && found[id] != "" {
			t.Fatalf("%s was acknowledged and is %s", id, found[id])
		}
		if !s.tried[id] && found[id] == "" {
			t.Fatalf("%s was lost", id)
		}
	}
	i := topicInfo(t, e, "a").Subscriptions[0]
	if i.Lag != count[driver.Ready] || i.Pending != count[driver.Held] || i.Waiting != count[driver.Waiting] || i.Dead != count[driver.Buried] {
		t.Fatalf("%+v, want %v", i, count)
	}
	copied := 0
	for _, p := range e.state.topics["a"].subs["s"].pending {
		if p.copied {
			copied++
		}
	}
	if k, d, b := records(t, e, tagCopy), records(t, e, tagDead), records(t, e, tagBurial); k != copied || d != b || int64(d) != i.Dead {
		t.Fatalf("%d copies for %d entries, %d dead letters and %d places of them", k, copied, d, b)
	}
}
