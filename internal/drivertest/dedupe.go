package drivertest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

func dedupeCases() []Case {
	return []Case{
		{Name: "stored once", Promise: "a message with the DedupeID of one published before is not stored, and the first id comes back, whatever else it has", run: dedupeOnce},
		{Name: "one batch", Promise: "duplicates within one call are stored once, and each id stands where its message stood", run: dedupeBatch},
		{Name: "each topic", Promise: "the same DedupeID may be used in several topics; messages without one are never duplicates", run: dedupeTopics},
		{Name: "concurrent", Promise: "of publishers with the same DedupeID at once one stores, and all get its id", run: dedupeConcurrent},
		{Name: "window", Promise: "when its window is over a DedupeID is forgotten, and not before", run: dedupeWindow},
		{Name: "handled", Promise: "a DedupeID is known also when its message was acknowledged, trimmed or purged, or is a task that is done", run: dedupeHandled},
		{Name: "refused", Promise: "a message that was refused is not taken for published", run: dedupeRefused},
		{Name: "deleted topic", Promise: "deleting the topic forgets its DedupeIDs", run: dedupeDelete},
		{Name: "restart", needs: needReopen, Promise: "DedupeIDs survive a restart", run: dedupeRestart},
	}
}

// once appends a message with a DedupeID.
func (t *T) once(topic, body, dedupe string) (id string) {
	t.Helper()
	return t.appendMessages(topic, driver.Message{Body: []byte(body), DedupeID: dedupe})[0]
}

func dedupeOnce(t *T) {
	first := t.once(orders, "a", "x")
	t.append(orders, "between")
	again := t.appendMessages(orders, driver.Message{Key: "k", Body: []byte("b"), DedupeID: "x"})[0]
	if again != first {
		t.Errorf("the second one has the id %s, want %s", again, first)
	}
	if other := t.once(orders, "c", "X"); other == first {
		t.Errorf("another DedupeID is taken for the same")
	}
	got := t.readAll(orders, start)
	t.wantBodies("the topic", got, "a", "between", "c")
	if got[0].DedupeID != "" {
		t.Errorf("what is read has the DedupeID %q, want none", got[0].DedupeID)
	}
}

func dedupeBatch(t *T) {
	known := t.once(orders, "known", "k")
	var batch []driver.Message
	for _, d := range []string{"a", "", "b", "a", "k", "", "b", "c"} {
		batch = append(batch, driver.Message{Body: []byte(d), DedupeID: d})
	}
	ids := t.appendMessages(orders, batch...)
	if ids[3] != ids[0] || ids[6] != ids[2] || ids[4] != known {
		t.Errorf("the ids are %v, want the fourth to be the first, the seventh the third, and the fifth %s", ids, known)
	}
	t.wantIDs("the topic", t.readAll(orders, start), known, ids[0], ids[1], ids[2], ids[5], ids[7])
}

func dedupeTopics(t *T) {
	t.once(orders, "a", "x")
	t.once("other", "b", "x")
	t.once("other", "c", "x")
	t.append(orders, "d", "d")
	t.wantBodies("the topic", t.readAll(orders, start), "a", "d", "d")
	t.wantBodies("the other topic", t.readAll("other", start), "b")
}

func dedupeConcurrent(t *T) {
	const publishers, rounds = 6, 25
	ids := make([][]string, publishers)
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := range rounds {
				ctx, cancel := t.ctx()
				got, err := t.engine.Append(ctx, orders, []driver.Message{{Body: fmt.Append(nil, i), DedupeID: fmt.Sprint("d", i)}})
				cancel()
				if err != nil {
					t.Errorf("Append: %v", err)
					return
				}
				ids[p] = append(ids[p], got...)
			}
		})
	}
	wg.Wait()
	for p := range publishers {
		if fmt.Sprint(ids[p]) != fmt.Sprint(ids[0]) {
			t.Fatalf("one publisher got %s, another %s", few(ids[0]), few(ids[p]))
		}
	}
	t.wantIDs("the topic", t.readAll(orders, start), ids[0]...)
}

func dedupeWindow(t *T) {
	const window = time.Second
	t.configure(orders, func(c *driver.TopicConfig) { c.DedupeWindow = window })
	began := time.Now()
	first := t.once(orders, "a", "x")
	second := first
	t.eventually("the DedupeID is forgotten", func() bool {
		second = t.once(orders, "a", "x")
		return second != first
	})
	t.notBefore("a DedupeID was forgotten", began, window)
	// Published anew, it is known again.
	if third := t.once(orders, "a", "x"); third != second {
		t.Errorf("published once more, it has the id %s, want %s", third, second)
	}
	t.left(orders, 2)
}

func dedupeHandled(t *T) {
	t.joinStart(orders, billing, long)
	t.joinQueue(emails, long)
	first, task := t.once(orders, "a", "x"), t.once(emails, "a", "x")
	t.done(orders, billing, 1)
	t.done(emails, workers, 1)
	if again := t.once(orders, "a", "x"); again != first {
		t.Errorf("when it was acknowledged: the id %s, want %s", again, first)
	}
	if again := t.once(emails, "a", "x"); again != task {
		t.Errorf("when the task was done: the id %s, want %s", again, task)
	}
	t.trim(orders, end)
	if again := t.once(orders, "a", "x"); again != first {
		t.Errorf("when it was trimmed: the id %s, want %s", again, first)
	}
	t.purge(orders)
	if again := t.once(orders, "a", "x"); again != first {
		t.Errorf("when it was purged: the id %s, want %s", again, first)
	}
	t.left(orders, 0)
	t.left(emails, 0)
}

func dedupeRefused(t *T) {
	t.joinStart(orders, billing, long)
	t.bounded(orders, 1, false)
	first := t.once(orders, "a", "x")
	if again := t.once(orders, "a", "x"); again != first {
		t.Errorf("a duplicate in a full topic has the id %s, want %s", again, first)
	}
	t.wantErr("Append to a topic that is full", func(ctx context.Context) error {
		_, err := t.engine.Append(ctx, orders, []driver.Message{{Body: []byte("b"), DedupeID: "y"}})
		return err
	}, driver.ErrTopicFull)
	t.done(orders, billing, 1)
	t.once(orders, "b", "y")
	t.wantBodies("the topic", t.take(orders, billing, "c", 1), "b")
}

func dedupeDelete(t *T) {
	t.once(orders, "a", "x")
	t.deleteTopic(orders)
	t.once(orders, "b", "x")
	t.wantBodies("the new topic", t.readAll(orders, start), "b")
}

func dedupeRestart(t *T) {
	first := t.once(orders, "a", "x")
	t.reopen()
	if again := t.once(orders, "a", "x"); again != first {
		t.Errorf("after a restart the message has the id %s, want %s", again, first)
	}
	t.left(orders, 1)
}
