package drivertest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

func watchCases() []Case {
	return []Case{
		{Name: "append", Promise: "an append after a read is hinted at, again and again, also on a topic that did not exist", run: watchAppend},
		{Name: "append after fetch", Promise: "an append after an empty fetch is hinted at", run: watchFetch},
		{Name: "retry and release", Promise: "a message given back by another consumer is hinted at", run: watchGivenBack},
		{Name: "delayed retry", Promise: "a retry with a delay is got in time by a consumer that waits for hints and for Next", run: watchDelayedRetry},
		{Name: "delete", Promise: "deleting a topic or a subscription is hinted at", run: watchDelete},
		{Name: "many", Promise: "many watches, of one topic and of several, are all hinted at; stopping some leaves the others", run: watchMany},
		{Name: "stop", Promise: "a watch may be stopped at any time, twice, and while hints come", run: watchStop},
		{Name: "no missed wake-up", Promise: "readers and consumers that read until a page is short and then wait for a hint get everything promptly while publishers run", run: watchStress},
	}
}

func (t *T) watch(topic string) <-chan struct{} {
	hints, stop := t.engine.Watch(topic)
	t.Cleanup(stop)
	return hints
}

func watchAppend(t *T) {
	hints := t.watch(orders)
	seen := 0
	for i := range 40 {
		drain(hints)
		if got := len(t.read(orders, start, 1000).Messages); got != seen {
			t.Fatalf("%d messages read, want %d", got, seen)
		}
		t.append(orders, fmt.Sprint(i))
		t.hinted(hints, fmt.Sprintf("append %d to a topic that had been read", i+1))
		seen++
	}
}

func watchFetch(t *T) {
	t.joinStart(orders, billing, long)
	hints := t.watch(orders)
	for i := range 20 {
		drain(hints)
		t.none(orders, billing, "c")
		t.append(orders, fmt.Sprint(i))
		t.hinted(hints, fmt.Sprintf("append %d to a topic that had been fetched from", i+1))
		t.take(orders, billing, "c", 1)
	}
}

func watchGivenBack(t *T) {
	t.joinStart(orders, billing, long)
	id := t.append(orders, "a")[0]
	hints := t.watch(orders)
	holder, other := "a", "b"
	for i, do := range []driver.Action{driver.Retry, driver.Release, driver.Retry, driver.Release, driver.Release, driver.Retry} {
		t.take(orders, billing, holder, 1)
		drain(hints)
		t.none(orders, billing, other)
		t.settle(orders, billing, holder, do, id)
		t.hinted(hints, fmt.Sprintf("%s %d by another consumer", name(do), i+1))
		holder, other = other, holder
	}
}

// watchDelayedRetry waits like a consumer: the retry is due long before the
// lease that Next told of, so that the consumer must hear of the retry.
func watchDelayedRetry(t *T) {
	t.joinStart(orders, billing, long)
	id := t.append(orders, "a")[0]
	hints := t.watch(orders)
	t.take(orders, billing, "a", 1)
	drain(hints)
	f := t.none(orders, billing, "b")
	t.trySettle(orders, billing, "a", driver.Settlement{ID: id, Do: driver.Retry, After: 200 * time.Millisecond})
	deadline := time.After(t.patience)
	for len(f.Messages) == 0 {
		var due <-chan time.Time
		if f.Next > 0 {
			due = time.After(f.Next)
		}
		select {
		case <-hints:
		case <-due:
		case <-deadline:
			t.Fatalf("the retry was due after 200ms; waiting for hints and for Next brought nothing in %v (Next was %v)", t.patience, f.Next)
		}
		f = t.fetch(orders, billing, driver.FetchRequest{Consumer: "b", Max: 10})
	}
}

func watchDelete(t *T) {
	t.joinStart(orders, billing, long)
	hints := t.watch(orders)
	t.none(orders, billing, "c")
	drain(hints)
	t.none(orders, billing, "c")
	ctx, cancel := t.ctx()
	defer cancel()
	if err := t.engine.DeleteSubscription(ctx, orders, billing); err != nil {
		t.Fatalf("DeleteSubscription: %v", err)
	}
	t.hinted(hints, "the subscription was deleted")
	t.append(orders, "a")
	drain(hints)
	t.read(orders, start, 10)
	if err := t.engine.DeleteTopic(ctx, orders); err != nil {
		t.Fatalf("DeleteTopic: %v", err)
	}
	t.hinted(hints, "the topic was deleted")
}

func watchMany(t *T) {
	const topics, watchers = 20, 10
	var all [topics][watchers]<-chan struct{}
	var stops [topics][watchers]func()
	for i := range topics {
		for j := range watchers {
			all[i][j], stops[i][j] = t.engine.Watch(fmt.Sprint("topic", i))
		}
	}
	for round := range 2 {
		for i := range topics {
			for j := range watchers {
				drain(all[i][j])
			}
			t.read(fmt.Sprint("topic", i), start, 10)
		}
		for i := range topics {
			t.append(fmt.Sprint("topic", i), "a")
		}
		for i := range topics {
			for j := round; j < watchers; j++ {
				t.hinted(all[i][j], fmt.Sprintf("an append, for watch %d of %d of one of %d topics", j+1, watchers, topics))
			}
			stops[i][round]() // the next round goes on without the first
		}
	}
	for i := range topics {
		for j := 2; j < watchers; j++ {
			stops[i][j]()
		}
	}
}

func watchStop(t *T) {
	stay := t.watch(orders)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				hints, stop := t.engine.Watch(orders)
				drain(hints)
				stop()
				stop()
			}
		})
	}
	for i := range 50 {
		t.append(orders, fmt.Sprint(i))
	}
	wg.Wait()
	drain(stay)
	t.read(orders, start, 1000)
	t.append(orders, "last")
	t.hinted(stay, "an append, when other watches had been stopped")
}

// watchStress has readers and consumers that do nothing but what the contract
// says is enough. Publishers go on only when everybody has caught up and fallen
// asleep, or is just about to, so that no later hint covers for one that was lost.
func watchStress(t *T) {
	const readers, consumers, publishers, rounds = 4, 4, 3, 60
	t.joinStart(orders, billing, long)
	done := make(chan struct{})
	var wg sync.WaitGroup
	var seen [readers]atomic.Int64
	var fetched atomic.Int64
	for i := range readers {
		wg.Go(func() { t.followUntil(done, &seen[i]) })
	}
	for i := range consumers {
		wg.Go(func() { t.consumeUntil(done, fmt.Sprint("c", i), &fetched) })
	}
	total := int64(0)
	for round := range rounds {
		var publishing sync.WaitGroup
		for p := range publishers {
			if n := 1 + (round+p)%3; (round+p)%2 == 0 {
				publishing.Go(func() { t.tryAppend(orders, numbers(0, n)...) })
				total += int64(n)
			}
		}
		publishing.Wait()
		if !t.caughtUp(round, total, seen[:], &fetched) {
			break
		}
		time.Sleep(time.Duration(round%4) * time.Millisecond)
	}
	close(done)
	wg.Wait()
}

// caughtUp waits until all readers have seen as many messages as there are, and
// the consumers together have got each.
func (t *T) caughtUp(round int, total int64, seen []atomic.Int64, fetched *atomic.Int64) bool {
	deadline := time.Now().Add(t.promptly())
	for {
		behind := fetched.Load() < total
		for i := range seen {
			behind = behind || seen[i].Load() < total
		}
		if !behind || t.Failed() {
			return !behind
		}
		if time.Now().After(deadline) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	for i := range seen {
		if n := seen[i].Load(); n < total {
			t.Errorf("round %d: a reader has seen %d of %d messages and was not woken within %v", round, n, total, t.promptly())
		}
	}
	if n := fetched.Load(); n < total {
		t.Errorf("round %d: the consumers have got %d of %d messages and were not woken within %v", round, n, total, t.promptly())
	}
	return false
}

// followUntil reads and counts until done.
func (t *T) followUntil(done <-chan struct{}, seen *atomic.Int64) {
	hints, stop := t.engine.Watch(orders)
	defer stop()
	from := start
	for {
		ctx, cancel := t.ctx()
		page, err := t.engine.Read(ctx, orders, from, 50)
		cancel()
		if err != nil {
			t.Errorf("Read: %v", err)
			return
		}
		for _, m := range page.Messages {
			if from.Kind != driver.AtID || m.ID != from.ID {
				seen.Add(1)
			}
		}
		if n := len(page.Messages); n > 0 {
			from = at(page.Messages[n-1].ID)
		}
		if page.More {
			continue
		}
		select {
		case <-hints:
		case <-done:
			return
		}
	}
}

// consumeUntil fetches and counts until done. It doesn't settle: hints that an
// engine gives for that could cover for one that was lost.
func (t *T) consumeUntil(done <-chan struct{}, consumer string, got *atomic.Int64) {
	hints, stop := t.engine.Watch(orders)
	defer stop()
	for {
		ctx, cancel := t.ctx()
		f, err := t.engine.Fetch(ctx, orders, billing, driver.FetchRequest{Consumer: consumer, Max: 10})
		cancel()
		if err != nil {
			t.Errorf("%s: %v", consumer, err)
			return
		}
		got.Add(int64(len(f.Messages)))
		if f.More {
			continue
		}
		var due <-chan time.Time
		if f.Next > 0 {
			due = time.After(f.Next)
		}
		select {
		case <-hints:
		case <-due:
		case <-done:
			return
		}
	}
}

// tryAppend is append for goroutines that must not end the test.
func (t *T) tryAppend(topic string, bodies ...string) []string {
	messages := make([]driver.Message, len(bodies))
	for i, b := range bodies {
		messages[i].Body = []byte(b)
	}
	ctx, cancel := t.ctx()
	defer cancel()
	ids, err := t.engine.Append(ctx, topic, messages)
	if err != nil || len(ids) != len(bodies) {
		t.Errorf("Append of %d messages: %d ids, %v", len(bodies), len(ids), err)
		return nil
	}
	return ids
}

// drain takes a hint that is there already.
func drain(hints <-chan struct{}) {
	select {
	case <-hints:
	default:
	}
}
