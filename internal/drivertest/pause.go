package drivertest

import (
	"fmt"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

func pauseCases() []Case {
	return []Case{
		{Name: "delivers nothing", Promise: "a paused subscription delivers nothing new, nothing that waited and nothing whose lease has ended, and says so; other subscriptions go on", run: pauseNothing},
		{Name: "settle", Promise: "what consumers of a paused subscription hold they may renew and settle", run: pauseSettle},
		{Name: "resume", Promise: "resumed, it goes on where it was, and consumers that wait are woken", run: pauseResume},
		{Name: "queue", Promise: "a queue may be paused: it takes tasks, and gives them out when it is resumed", run: pauseQueue},
		{Name: "restart", needs: needReopen, Promise: "a paused subscription is paused after a restart", run: pauseRestart},
	}
}

// quiet checks that a paused subscription delivers nothing.
func (t *T) quiet(what, topic, subscription string) {
	t.Helper()
	for _, again := range []bool{false, true} {
		f := t.fetch(topic, subscription, driver.FetchRequest{Consumer: "quiet", Max: 10, Recover: again})
		if len(f.Messages) > 0 || f.More || f.Next != 0 || f.Lease == 0 {
			t.Errorf("%s: a paused subscription delivers %d messages, More %v, Next %v, Lease %v, want none, not, 0 and its lease",
				what, len(f.Messages), f.More, f.Next, f.Lease)
		}
	}
}

func pauseNothing(t *T) {
	t.joinStart(orders, billing, short)
	t.joinStart(orders, "audit", long)
	ids := t.append(orders, "held", "retry", "release")
	began := time.Now()
	t.abandon(orders, billing, "quiet", 3)
	t.settle(orders, billing, "quiet", driver.Retry, ids[1])
	t.settle(orders, billing, "quiet", driver.Release, ids[2])
	t.pause(orders, billing, true)
	if s := t.subscription(orders, billing); !s.Paused || t.subscription(orders, "audit").Paused {
		t.Errorf("the subscription is paused: %v, the other one too: %v", s.Paused, t.subscription(orders, "audit").Paused)
	}
	t.append(orders, "new")
	for time.Since(began) < 2*short {
		t.quiet("what there is", orders, billing)
		time.Sleep(short / 4)
	}
	t.wantBodies("the other subscription", t.take(orders, "audit", "c", 4), "held", "retry", "release", "new")
	t.pause(orders, billing, true) // is no error
	t.pause(orders, billing, false)
	if t.subscription(orders, billing).Paused {
		t.Errorf("the subscription is still paused when it was resumed")
	}
	t.abandon(orders, billing, "c", 4)
}

func pauseSettle(t *T) {
	t.joinStart(orders, billing, long)
	ids := t.append(orders, "ack", "retry", "release", "bury", "renew")
	t.take(orders, billing, "c", 5)
	t.pause(orders, billing, true)
	if notHeld := t.trySettle(orders, billing, "c",
		driver.Settlement{ID: ids[0], Do: driver.Acknowledge}, driver.Settlement{ID: ids[1], Do: driver.Retry},
		driver.Settlement{ID: ids[2], Do: driver.Release}, driver.Settlement{ID: ids[3], Do: driver.DeadLetter},
		driver.Settlement{ID: ids[4], Do: driver.Renew}); len(notHeld) > 0 {
		t.Errorf("not held are %v, want none", notHeld)
	}
	t.quiet("what was given back", orders, billing)
	if s := t.subscription(orders, billing); s.Pending != 1 || s.Waiting != 2 || s.Dead != 1 {
		t.Errorf("%d are held, %d waiting, %d dead, want 1, 2 and 1", s.Pending, s.Waiting, s.Dead)
	}
	t.requeue(orders, billing, ids[3])
	t.quiet("what was requeued", orders, billing)
	t.pause(orders, billing, false)
	t.take(orders, billing, "d", 3)
	t.none(orders, billing, "d")
}

func pauseResume(t *T) {
	t.joinStart(orders, billing, long)
	hints := t.watch(orders)
	for i := range 5 {
		t.pause(orders, billing, true)
		t.append(orders, fmt.Sprint(i))
		t.quiet("a new message", orders, billing)
		drain(hints)
		t.quiet("a new message", orders, billing)
		t.pause(orders, billing, false)
		t.hinted(hints, "the subscription was resumed")
		t.wantBodies("what was published meanwhile", t.take(orders, billing, "c", 1), fmt.Sprint(i))
	}
}

func pauseQueue(t *T) {
	t.joinQueue(emails, long)
	t.append(emails, "a")
	t.pause(emails, workers, true)
	t.append(emails, "b")
	t.quiet("the queue", emails, workers)
	t.left(emails, 2)
	t.pause(emails, workers, false)
	t.done(emails, workers, 2)
	t.left(emails, 0)
}

func pauseRestart(t *T) {
	t.joinStart(orders, billing, long)
	t.append(orders, "a")
	t.pause(orders, billing, true)
	t.reopen()
	if !t.subscription(orders, billing).Paused {
		t.Errorf("after a restart the subscription is not paused")
	}
	t.quiet("after a restart", orders, billing)
	t.pause(orders, billing, false)
	t.wantBodies("resumed", t.take(orders, billing, "c", 1), "a")
}
