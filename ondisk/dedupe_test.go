package ondisk

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beckmq/beck/internal/driver"
)

func once(body, id string) driver.Message { return driver.Message{Body: []byte(body), DedupeID: id} }

func TestDedupeWindow(t *testing.T) {
	clock := newMovingClock()
	set := settings{fs: vfs.NewMem(), reserve: 1, now: clock.now}
	e := mustOpen(t, "db", set)
	defer func() { shut(t, e) }()
	if err := e.Configure(t.Context(), "a", driver.TopicConfig{DedupeWindow: time.Minute}); err != nil {
		t.Fatal(err)
	}
	first := publish(t, e, "a", once("0", "x"), once("1", "y"), once("2", "x"))
	if first[2] != first[0] {
		t.Errorf("ids %v", first)
	}
	for _, after := range []time.Duration{0, 59 * time.Second} {
		clock.forward(after)
		shut(t, e)
		e = mustOpen(t, "db", set)
		if again := publish(t, e, "a", once("3", "x")); again[0] != first[0] {
			t.Errorf("after %v: %s, want %s", after, again[0], first[0])
		}
	}
	clock.forward(time.Second)
	second := publish(t, e, "a", once("4", "x"))
	if second[0] == first[0] {
		t.Errorf("it was remembered for too long")
	}
	audit(t, e)
	// x was used again, y not.
	e.sweep(t.Context())
	audit(t, e)
	if n := e.find("a").durable.Load().remembered; n != 1 {
		t.Errorf("%d ids are remembered", n)
	}
	if again := publish(t, e, "a", once("5", "x"), once("6", "y")); again[0] != second[0] || again[1] == first[1] {
		t.Errorf("ids %v, %v, %v", first, second, again)
	}
	clock.forward(time.Hour)
	e.sweep(t.Context())
	audit(t, e)
	if n := stored(t, e, tagDedupe, "a") + stored(t, e, tagForget, "a"); n != 0 {
		t.Errorf("%d records are left", n)
	}
}

// Cancelling forgets the id, but not one that was used again since.
func TestDedupeCancelled(t *testing.T) {
	clock := newMovingClock()
	e := open(t, "db", settings{fs: vfs.NewMem(), reserve: 1, now: clock.now})
	late := func(id string) driver.Message {
		return driver.Message{Body: []byte("x"), DedupeID: id, Delay: time.Hour}
	}
	ids := publish(t, e, "a", late("x"), late("y"))
	if _, err := e.Cancel(t.Context(), "a", ids[:1]); err != nil {
		t.Fatal(err)
	}
	if again := publish(t, e, "a", late("x"), late("y")); again[0] == ids[0] || again[1] != ids[1] {
		t.Errorf("%v, and again %v", ids, again)
	}
	clock.forward(20 * time.Minute)
	used := publish(t, e, "a", once("z", "y"))
	if _, err := e.Cancel(t.Context(), "a", ids[1:]); err != nil {
		t.Fatal(err)
	}
	if again := publish(t, e, "a", once("z", "y")); again[0] != used[0] {
		t.Errorf("the id of a later message was forgotten")
	}
	audit(t, e)
}

// However many publish the same ids at once, and however many others come
// between, each is stored once.
func TestDedupeAtOnce(t *testing.T) {
	e := open(t, "db", inMemory())
	const publishers, calls, each = 8, 60, 50
	var mu sync.Mutex
	ids := map[string]string{}
	var all sync.WaitGroup
	for p := range publishers {
		all.Go(func() {
			for c := range calls {
				var messages []driver.Message
				for i := range each {
					messages = append(messages, once("x", fmt.Sprint("both", c*each+i)), once("x", fmt.Sprint(p, "alone", c*each+i)))
				}
				got := publish(t, e, "a", messages...)
				mu.Lock()
				for i, m := range messages {
					if former, ok := ids[m.DedupeID]; ok && former != got[i] {
						t.Errorf("%s: %s and %s", m.DedupeID, former, got[i])
					}
					ids[m.DedupeID] = got[i]
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if n := topicInfo(t, e, "a").Length; int(n) != len(ids) {
		t.Errorf("%d messages, %d ids", n, len(ids))
	}
	if n := len(e.state.recent.now) + len(e.state.recent.before); n > 4*recentSize {
		t.Errorf("%d ids are in memory", n)
	}
	audit(t, e)
}

func BenchmarkDedupe(b *testing.B) {
	for _, with := range []bool{false, true} {
		b.Run(fmt.Sprintf("ids=%v", with), func(b *testing.B) {
			e := open(b, b.TempDir(), settings{})
			var mu sync.Mutex
			n := 0
			inParallel(b, 16, benchBatch, func() {
				messages := benchMessages(benchBatch)
				mu.Lock()
				first := n
				n += benchBatch
				mu.Unlock()
				for i := range messages {
					if with {
						messages[i].DedupeID = fmt.Sprintf("%016x", uint64(first+i)*0x9e3779b97f4a7c15)
					}
				}
				publish(b, e, "topic", messages...)
			})
		})
	}
}
