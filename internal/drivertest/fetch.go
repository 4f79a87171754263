package drivertest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

func fetchCases() []Case {
	return []Case{
		{Name: "in order", Promise: "messages never delivered come in topic order, each once, at most Max in a call, with attempt 1", run: fetchInOrder},
		{Name: "shared", Promise: "consumers of one subscription share its messages: each goes to one of them", run: fetchShared},
		{Name: "concurrent", Promise: "consumers that fetch at the same time never get the same message", run: fetchConcurrent},
		{Name: "independent subscriptions", Promise: "every subscription gets every message, whatever the others do", run: fetchIndependent},
		{Name: "more", Promise: "without More, everything that could be fetched was; with it, another fetch brings something or says that there is no more", run: fetchMore},
		{Name: "missing", Promise: "a subscription that does not exist is ErrSubscriptionNotFound, also if its topic does not exist", run: fetchMissing},
		{Name: "never waits", Promise: "an empty fetch returns at once, and does not ask to be asked again if there is nothing to wait for but a hint", run: fetchNeverWaits},
		{Name: "recover", Promise: "Recover returns what the consumer holds, the oldest first, with a new lease and a higher attempt, and nothing of others", run: fetchRecover},
		{Name: "released first", Promise: "messages that a consumer gave back come again before any that was never delivered, in order, in one fetch as in several", run: fetchReleasedFirst},
	}
}

func fetchInOrder(t *T) {
	t.joinStart(orders, billing, long)
	ids := t.appendN(orders, 30)
	var got []driver.Message
	for _, max := range []int{1, 2, 5, 100} {
		want := min(max, 30-len(got))
		part := t.take(orders, billing, "c", want)
		got = append(got, part...)
	}
	t.wantIDs("fetched", got, ids...)
	t.wantBodies("fetched", got, numbers(0, 30)...)
	for _, m := range got {
		if m.Attempt != 1 {
			t.Errorf("message %s has attempt %d at its first delivery, want 1", m.ID, m.Attempt)
		}
		if m.Time.IsZero() {
			t.Errorf("message %s has no time", m.ID)
		}
	}
	t.none(orders, billing, "c")
	t.none(orders, billing, "d")
}

func fetchShared(t *T) {
	t.joinStart(orders, billing, long)
	ids := t.appendN(orders, 12)
	a := t.take(orders, billing, "a", 4)
	b := t.take(orders, billing, "b", 4)
	a = append(a, t.take(orders, billing, "a", 4)...)
	all := idsOf(slices.Concat(a, b))
	slices.Sort(all)
	if !slices.Equal(all, ids) {
		t.Fatalf("two consumers got %s, want each of %s once", few(all), few(ids))
	}
	t.settle(orders, billing, "a", driver.Acknowledge, idsOf(a)...)
	t.settle(orders, billing, "b", driver.Acknowledge, idsOf(b)...)
	t.none(orders, billing, "a")
	if s := t.subscription(orders, billing); s.Pending != 0 {
		t.Errorf("%d are pending after all were acknowledged", s.Pending)
	}
}

func fetchConcurrent(t *T) {
	const total = 600
	t.joinStart(orders, billing, long)
	t.appendN(orders, total/2)
	var mu sync.Mutex
	got := map[string]string{} // id → consumer
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range total / 2 {
			t.tryAppend(orders, fmt.Sprint("later ", i))
		}
	})
	deadline := time.Now().Add(t.patience)
	for i := range 8 {
		consumer := fmt.Sprint("c", i)
		wg.Go(func() {
			for time.Now().Before(deadline) {
				ctx, cancel := t.ctx()
				f, err := t.engine.Fetch(ctx, orders, billing, driver.FetchRequest{Consumer: consumer, Max: 1 + i*3})
				cancel()
				if err != nil {
					t.Errorf("Fetch: %v", err)
					return
				}
				mu.Lock()
				for _, m := range f.Messages {
					if first, twice := got[m.ID]; twice {
						t.Errorf("message %s went to %s and to %s", m.ID, first, consumer)
					}
					got[m.ID] = consumer
				}
				all := len(got) >= total
				mu.Unlock()
				if all || t.Failed() {
					return
				}
			}
		})
	}
	wg.Wait()
	if len(got) != total {
		t.Errorf("%d messages were fetched, want %d", len(got), total)
	}
}

func fetchIndependent(t *T) {
	const subscriptions = 20
	for i := range subscriptions {
		t.joinStart(orders, fmt.Sprint("s", i), long)
	}
	ids := t.appendN(orders, 10)
	for i := range subscriptions {
		s := fmt.Sprint("s", i)
		t.wantIDs(s, t.take(orders, s, "c", 10), ids...)
		switch i % 3 {
		case 0:
			t.settle(orders, s, "c", driver.Acknowledge, ids...)
		case 1:
			t.settle(orders, s, "c", driver.DeadLetter, ids...)
		}
	}
	for i := range subscriptions {
		if i%3 == 2 {
			t.settle(orders, fmt.Sprint("s", i), "c", driver.Acknowledge, ids...)
		}
	}
}

func fetchMore(t *T) {
	t.joinStart(orders, billing, long)
	t.appendN(orders, 50)
	seen := 0
	for range 100 {
		f := t.fetch(orders, billing, driver.FetchRequest{Consumer: "c", Max: 20})
		seen += len(f.Messages)
		if f.More {
			continue
		}
		if seen < 50 {
			t.Fatalf("Fetch does not say More, and %d of 50 messages were not fetched", 50-seen)
		}
		return
	}
	t.Fatalf("Fetch says More for ever, though all %d of 50 messages were fetched", seen)
}

func fetchMissing(t *T) {
	t.append(orders, "a")
	for _, topic := range []string{orders, "missing"} {
		ctx, cancel := t.ctx()
		_, err := t.engine.Fetch(ctx, topic, "missing", driver.FetchRequest{Consumer: "c", Max: 1})
		cancel()
		if !errors.Is(err, driver.ErrSubscriptionNotFound) {
			t.Errorf("Fetch of a missing subscription of %s: %v, want ErrSubscriptionNotFound", topic, err)
		}
	}
}

// fetchNeverWaits allows an engine to look again by itself now and then, but not
// to be asked over and over.
func fetchNeverWaits(t *T) {
	t.joinStart(orders, billing, long)
	for asked := 0; ; asked++ {
		f := t.none(orders, billing, "c")
		if !f.More && (f.Next == 0 || f.Next >= time.Second) {
			return
		}
		if asked == 10 {
			t.Fatalf("Fetch of an empty subscription goes on saying Next %v, More %v, though there is no lease and no retry to wait for", f.Next, f.More)
		}
	}
}

func fetchRecover(t *T) {
	t.joinStart(orders, billing, long)
	ids := t.appendN(orders, 6)
	t.take(orders, billing, "a", 3)
	t.take(orders, billing, "b", 1)
	t.settle(orders, billing, "a", driver.Acknowledge, ids[1])

	f := t.fetch(orders, billing, driver.FetchRequest{Consumer: "a", Max: 2, Recover: true})
	t.wantIDs("Recover of a, which holds the first and the third", f.Messages, ids[0], ids[2])
	for _, m := range f.Messages {
		if m.Attempt != 2 {
			t.Errorf("message %s has attempt %d when it is recovered, want 2", m.ID, m.Attempt)
		}
	}
	f = t.fetch(orders, billing, driver.FetchRequest{Consumer: "a", Max: 1, Recover: true})
	t.wantIDs("Recover of a, at most one", f.Messages, ids[0])
	if f.Messages[0].Attempt != 3 {
		t.Errorf("attempt %d when recovered twice, want 3", f.Messages[0].Attempt)
	}
	// One that holds nothing gets what anyone would get.
	f = t.fetch(orders, billing, driver.FetchRequest{Consumer: "c", Max: 1, Recover: true})
	if len(f.Messages) == 0 { // an engine may ask for the one first, then for the other
		f.Messages = t.take(orders, billing, "c", 1)
	}
	t.wantIDs("Recover of c, which holds nothing", f.Messages, ids[4])
	t.settle(orders, billing, "a", driver.Acknowledge, ids[0], ids[2])
	t.settle(orders, billing, "b", driver.Acknowledge, ids[3])
}

// fetchReleasedFirst stops a consumer that has fetched ahead, and starts another.
func fetchReleasedFirst(t *T) {
	t.joinStart(orders, billing, long)
	ids := t.appendN(orders, 60)
	t.wantIDs("fetched", t.take(orders, billing, "old", 30), ids[:30]...)
	t.settle(orders, billing, "old", driver.Acknowledge, ids[:5]...)
	for _, part := range [][]string{ids[5:12], ids[12:20], ids[20:30]} {
		t.settle(orders, billing, "old", driver.Release, part...)
	}
	f := t.fetch(orders, billing, driver.FetchRequest{Consumer: "new", Max: 10})
	got := append(f.Messages, t.take(orders, billing, "new", 25-len(f.Messages))...)
	t.wantIDs("the first 25 after the restart", got, ids[5:30]...)

	t.settle(orders, billing, "new", driver.Release, ids[5:30]...)
	t.wantIDs("all after another restart", t.take(orders, billing, "newer", 55), ids[5:]...)
	for _, m := range got {
		if m.Attempt != 1 {
			t.Errorf("message %s has attempt %d, though it was given back unhandled", m.ID, m.Attempt)
		}
	}
}
