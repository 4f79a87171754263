package drivertest

import (
	"fmt"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

func purgeCases() []Case {
	return []Case{
		{Name: "removes all", Promise: "all messages go, stored and delayed, ready, held and waiting, and are counted; it is no loss", run: purgeAll},
		{Name: "goes on", Promise: "the topic goes on behind what was purged: ids grow, subscriptions get what is new, dead letters stay", run: purgeGoesOn},
		{Name: "gap", Promise: "a reader that had not come to the end finds nothing, and a newest id that is not its own", run: purgeGap},
		{Name: "wakes", Promise: "a purge wakes those who watch", run: purgeWakes},
		{Name: "queue", Promise: "a queue is purged like a topic, and stays a queue", run: purgeQueue},
		{Name: "restart", needs: needReopen, Promise: "what was purged does not come back with a restart", run: purgeRestart},
	}
}

// purgeable makes a topic with messages in all states; 8 are stored or delayed.
func (t *T) purgeable() (ids []string) {
	t.Helper()
	t.joinStart(orders, billing, long)
	ids = t.append(orders, "dead", "held", "waits", "waits long", "ready", "ready")
	t.bury(orders, billing, 1, "no luck")
	t.take(orders, billing, "c", 3)
	t.trySettle(orders, billing, "c", driver.Settlement{ID: ids[2], Do: driver.Retry},
		driver.Settlement{ID: ids[3], Do: driver.Retry, After: soon})
	t.delay(orders, "delayed", soon)
	t.delay(orders, "delayed", long)
	return ids
}

func purgeAll(t *T) {
	ids := t.purgeable()
	stored := t.topic(orders).Length
	if removed := t.purge(orders); removed != stored+2 && removed != stored+1 { // the first may have entered
		t.Errorf("%d were removed, want %d stored and 2 delayed", removed, stored)
	}
	t.left(orders, 0)
	t.delayed(orders, 0)
	began := time.Now()
	for time.Since(began) < soon+soon/4 {
		t.none(orders, billing, "c")
		if f := t.fetch(orders, billing, driver.FetchRequest{Consumer: "c", Max: 10, Recover: true}); len(f.Messages) > 0 || f.Lost != 0 {
			t.Fatalf("the consumer recovers %d messages and is told of %d lost, want none", len(f.Messages), f.Lost)
		}
		time.Sleep(soon / 10)
	}
	t.trySettle(orders, billing, "c", each(driver.Acknowledge, ids[1])...) // whatever it says
	info := t.topic(orders)
	s := t.subscription(orders, billing)
	if s.Pending != 0 || s.Waiting != 0 || s.Lag > 0 || s.Lost != 0 || info.Dropped != 0 {
		t.Errorf("%d pending, %d waiting, a lag of %d, %d lost, %d dropped, want none", s.Pending, s.Waiting, s.Lag, s.Lost, info.Dropped)
	}
	if open := t.outstanding(orders, billing, ids[1:]...); len(open) != 0 {
		t.Errorf("outstanding are %v, want none", open)
	}
	if removed := t.purge(orders); removed != 0 {
		t.Errorf("%d were removed from an empty topic", removed)
	}
}

func purgeGoesOn(t *T) {
	ids := t.purgeable()
	t.purge(orders)
	id := t.append(orders, "new")[0]
	if id <= ids[5] {
		t.Errorf("after the purge the id %s was given, which does not sort behind %s", id, ids[5])
	}
	t.dead(orders, billing, 1)
	t.wantIDs("what is new", t.take(orders, billing, "c", 1), id)
	t.requeue(orders, billing, ids[0])
	t.wantBodies("the dead letter, requeued", t.take(orders, billing, "c", 1), "dead")
	t.none(orders, billing, "c")
}

func purgeGap(t *T) {
	ids := t.append(orders, "a", "b", "c")
	t.purge(orders)
	for _, id := range ids {
		page := t.read(orders, at(id), 10)
		if len(page.Messages) != 0 || page.Last != ids[2] {
			t.Errorf("from %s there are %d messages and the newest id is %q, want none and %s", id, len(page.Messages), page.Last, ids[2])
		}
	}
	later := t.append(orders, "d")
	t.wantIDs("from a message that was purged", t.readAll(orders, at(ids[2])), later...)
}

func purgeWakes(t *T) {
	hints := t.watch(orders)
	for i := range 5 {
		t.append(orders, "a")
		drain(hints)
		t.read(orders, start, 10)
		drain(hints)
		t.read(orders, start, 10)
		t.purge(orders)
		t.hinted(hints, fmt.Sprintf("purge %d", i+1))
	}
}

func purgeQueue(t *T) {
	t.joinQueue(emails, long)
	t.append(emails, "a", "b", "c")
	t.take(emails, workers, "w", 1)
	if removed := t.purge(emails); removed != 3 {
		t.Errorf("%d were removed, want 3", removed)
	}
	t.left(emails, 0)
	t.append(emails, "d")
	t.wantBodies("what is new", t.take(emails, workers, "w", 1), "d")
	if !t.topic(emails).Queue {
		t.Errorf("the purged queue is none any more")
	}
}

func purgeRestart(t *T) {
	t.purgeable()
	t.purge(orders)
	t.reopen()
	t.left(orders, 0)
	t.delayed(orders, 0)
	t.none(orders, billing, "c")
	t.append(orders, "new")
	t.wantBodies("what is new", t.take(orders, billing, "c", 1), "new")
	t.dead(orders, billing, 1)
}
