package drivertest

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

func restartCases() []Case {
	return []Case{
		{Name: "reopen", needs: needReopen, Promise: "after a close and a new start everything is there: messages, positions, leases, attempts, waiting retries, dead letters", run: func(t *T) { restart(t, t.reopen) }},
		{Name: "crash", needs: needCrash, Promise: "after a crash everything that a call had returned is there: messages, positions, leases, attempts, waiting retries, dead letters", run: func(t *T) { restart(t, t.crash) }},
		{Name: "ids go on", needs: needReopen, Promise: "ids go on growing after a restart, also when the topic was trimmed empty", run: restartIDs},
		{Name: "deleted stays deleted", needs: needReopen, Promise: "what was deleted, trimmed or acknowledged before a restart does not come back", run: restartDeleted},
		{Name: "crash while publishing", needs: needCrash, Promise: "a crash while publishers run loses no message whose id was returned, and keeps their order", run: crashPublishing},
	}
}

func (t *T) reopen() { t.engine = t.h.Reopen(t.TB, t.engine) }
func (t *T) crash()  { t.engine = t.h.Crash(t.TB, t.engine) }

func restart(t *T, again func()) {
	m := driver.Message{Key: "k", Headers: map[string]string{"h": "v"}, Body: []byte("0")}
	ids := t.appendMessages(orders, m)
	ids = append(ids, t.append(orders, numbers(1, 10)...)...)
	t.joinStart(orders, billing, short)
	t.join(orders, "audit", driver.JoinConfig{From: at(ids[4]), Lease: long})
	t.abandon(orders, billing, "c", 8)
	t.join(orders, billing, driver.JoinConfig{Lease: long})
	// All leases end, so that the second attempt goes to d, which keeps 0 to 3,
	// has 4 wait, retries 5 at once, gives up 6, and acknowledges 7.
	if got := t.take(orders, billing, "d", 10); len(got) != 10 {
		t.Fatalf("fetched %d", len(got))
	}
	t.trySettle(orders, billing, "d",
		driver.Settlement{ID: ids[4], Do: driver.Retry, After: time.Hour}, driver.Settlement{ID: ids[5], Do: driver.Retry},
		driver.Settlement{ID: ids[6], Do: driver.DeadLetter}, driver.Settlement{ID: ids[7], Do: driver.Acknowledge},
		driver.Settlement{ID: ids[8], Do: driver.Acknowledge}, driver.Settlement{ID: ids[9], Do: driver.Release})
	before := t.topic(orders)

	again()

	all := t.readAll(orders, start)
	t.wantIDs("the topic", all, ids...)
	t.wantContent("the first message", all[0], m)
	after := t.topic(orders)
	for _, s := range append(before.Subscriptions, after.Subscriptions...) {
		clear(s.Consumers) // they may be forgotten, or have been idle for longer
	}
	if got, want := summary(after), summary(before); got != want {
		t.Errorf("the information after the restart differs:\n got %s\nwant %s", got, want)
	}
	got := map[string]int{}
	for _, m := range t.take(orders, billing, "e", 2) {
		got[m.ID] = m.Attempt
	}
	if len(got) != 2 || got[ids[5]] != 3 && got[ids[5]] != 2 || got[ids[9]] != 1 {
		t.Errorf("after the restart came (id: attempt) %v, want %s with its next attempt, and %s, which was released, with 1", got, ids[5], ids[9])
	}
	t.none(orders, billing, "e")
	if notHeld := t.trySettle(orders, billing, "d", each(driver.Renew, ids[:8]...)...); fmt.Sprint(notHeld) != fmt.Sprint(ids[4:8]) {
		t.Errorf("after the restart d does not hold %v, want exactly %v", notHeld, ids[4:8])
	}
	t.settle(orders, billing, "d", driver.Acknowledge, ids[:4]...)
	t.wantIDs("the other subscription", t.take(orders, "audit", "c", 5), ids[5:]...)
	t.none(orders, "audit", "c")
}

// summary is what must be the same before and after a restart.
func summary(info driver.TopicInfo) string {
	s := fmt.Sprintf("%s %d %s %s", info.Name, info.Length, info.FirstID, info.LastID)
	for _, i := range info.Subscriptions {
		s += fmt.Sprintf("; %s last %s lag %d pending %d waiting %d dead %d lease %v", i.Name, i.LastDelivered, i.Lag, i.Pending, i.Waiting, i.Dead, i.Lease)
	}
	return s
}

func restartIDs(t *T) {
	last := t.append(orders, "a", "b")[1]
	t.trim(orders, end)
	for i := range 3 {
		t.reopen()
		if page := t.read(orders, at(last), 10); i == 0 && (len(page.Messages) != 0 || page.Last != last) {
			t.Errorf("the topic that was trimmed empty has %d messages and the newest id %q, want none and %s", len(page.Messages), page.Last, last)
		}
		id := t.append(orders, fmt.Sprint(i))[0]
		if id <= last {
			t.Fatalf("after a restart the id %s was given, which does not sort behind %s", id, last)
		}
		last = id
	}
	t.wantBodies("the topic", t.readAll(orders, start), "0", "1", "2")
}

func restartDeleted(t *T) {
	t.append("deleted", "a")
	t.deleteTopic("deleted")
	ids := t.append(orders, "a", "b", "c")
	t.joinStart(orders, "deleted", long)
	t.deleteSubscription(orders, "deleted")
	t.joinStart(orders, billing, long)
	t.take(orders, billing, "c", 2)
	t.settle(orders, billing, "c", driver.Acknowledge, ids[:2]...)
	t.trim(orders, at(ids[1]))
	t.reopen()
	t.wantBodies("the topic", t.readAll(orders, start), "b", "c")
	t.wantBodies("the deleted topic", t.readAll("deleted", start))
	info := t.topic(orders)
	if len(info.Subscriptions) != 1 || info.Subscriptions[0].Pending != 0 {
		t.Errorf("subscriptions %+v, want billing only, with nothing pending", info.Subscriptions)
	}
	t.wantBodies("the subscription", t.take(orders, billing, "c", 1), "c")
	t.none(orders, billing, "c")
}

func crashPublishing(t *T) {
	engine := t.engine
	const publishers = 4
	type result struct {
		ids    []string
		bodies []string
	}
	var stop atomic.Bool
	results := make(chan result, publishers)
	for p := range publishers {
		go func() {
			var r result
			for i := 0; !stop.Load(); i++ {
				body := fmt.Sprintf("%d %d", p, i)
				ctx, cancel := t.ctx()
				ids, err := engine.Append(ctx, orders, []driver.Message{{Body: []byte(body)}})
				cancel()
				if err != nil {
					break
				}
				r.ids, r.bodies = append(r.ids, ids...), append(r.bodies, body)
			}
			results <- r
		}()
	}
	t.eventually("publishing is under way", func() bool { return len(t.read(orders, start, 1000).Messages) > 100 })
	t.crash()
	stop.Store(true)
	var all []result
	for range publishers {
		all = append(all, <-results)
	}
	stored := map[string]string{}
	for _, m := range t.readAll(orders, start) {
		stored[m.ID] = string(m.Body)
	}
	for _, r := range all {
		last := ""
		for i, id := range r.ids {
			if stored[id] != r.bodies[i] {
				t.Fatalf("the message %q, whose id %s was returned, is lost after a crash; the topic has %d messages", r.bodies[i], id, len(stored))
			}
			if id <= last {
				t.Fatalf("the id %s of a publisher's message does not sort behind %s, that of the one before", id, last)
			}
			last = id
		}
	}
}
