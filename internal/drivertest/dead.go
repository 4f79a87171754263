package drivertest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

func deadCases() []Case {
	return []Case{
		{Name: "listed", Promise: "dead letters are listed as they died, whole, with their attempts, who held them last, why and when", run: deadListed},
		{Name: "requeue", Promise: "a requeued dead letter is delivered at once, whole, with its attempts counted anew, and to its subscription alone", run: deadRequeue},
		{Name: "wakes", Promise: "requeueing wakes a consumer that waits", run: deadWakes},
		{Name: "many", Promise: "hundreds of dead letters are requeued in one call, and come once each", run: deadMany},
		{Name: "drop", Promise: "a dropped dead letter is gone; the others stay", run: deadDrop},
		{Name: "missing", Promise: "exactly those ids are named that are no dead letters of the subscription; all others are done", run: deadMissing},
		{Name: "twice dead", Promise: "a message that dies again is one dead letter, with the newer reason and the attempts since", run: deadTwice},
		{Name: "after a seek", Promise: "a message that is delivered again after a seek, and dies again, takes the place of its older dead letter", run: deadAfterSeek},
		{Name: "trimmed", Promise: "a dead letter stays whole when its message is trimmed away, and can be requeued", run: deadTrimmed},
		{Name: "deleted subscription", Promise: "dead letters go with their subscription", run: deadDeleted},
		{Name: "missing subscription", Promise: "what does not exist is ErrSubscriptionNotFound or ErrTopicNotFound", run: steerMissing},
		{Name: "restart", needs: needReopen, Promise: "dead letters survive a restart, with why and when, and so do requeued ones", run: deadRestart},
	}
}

// dead checks how many dead letters a subscription has.
func (t *T) dead(topic, subscription string, want int64) {
	t.Helper()
	if n := t.subscription(topic, subscription).Dead; n != want {
		t.Errorf("%s has %d dead letters, want %d", subscription, n, want)
	}
	if got := t.peek(topic, subscription, driver.Buried); int64(len(got)) != want {
		t.Errorf("%d dead letters of %s can be seen, want %d", len(got), subscription, want)
	}
}

func deadListed(t *T) {
	began := time.Now()
	m := driver.Message{Key: "k", Headers: map[string]string{"h": "v"}, Body: []byte("a\x00")}
	t.joinStart(orders, billing, long)
	ids := t.appendMessages(orders, m)
	ids = append(ids, t.append(orders, numbers(1, 20)...)...)
	t.take(orders, billing, "x", 20)
	t.settle(orders, billing, "x", driver.Retry, ids[0])
	t.take(orders, billing, "y", 1)
	reason := "can't be parsed: \"x\"\n北京"
	t.trySettle(orders, billing, "x", driver.Settlement{ID: ids[7], Do: driver.DeadLetter, Reason: "first"})
	t.trySettle(orders, billing, "y", driver.Settlement{ID: ids[0], Do: driver.DeadLetter, Reason: reason})
	t.settle(orders, billing, "x", driver.DeadLetter, ids[8:]...)
	entries := t.peek(orders, billing, driver.Buried)
	t.wantIDs("the list", messagesOf(entries), append([]string{ids[7], ids[0]}, ids[8:]...)...)
	e := entries[1]
	t.wantContent("a dead letter", e.Message, m)
	if e.Message.Attempt != 2 || e.Consumer != "y" || e.Reason != reason || !e.Due.IsZero() {
		t.Errorf("it died with attempt %d, held by %q, because of %q, due at %v, want 2, y, %q and never", e.Message.Attempt, e.Consumer, e.Reason, e.Due, reason)
	}
	if !e.Since.IsZero() && (e.Since.Before(began.Add(-time.Minute)) || e.Since.After(time.Now().Add(time.Minute))) {
		t.Errorf("it died at %v, want about now", e.Since)
	}
	if r := entries[0].Reason; r != "first" {
		t.Errorf("another died because of %q, want first", r)
	}
}

func deadRequeue(t *T) {
	m := driver.Message{Key: "k", Headers: map[string]string{"h": "v"}, Body: []byte("a\x00")}
	t.joinStart(orders, billing, long)
	t.joinStart(orders, "audit", long)
	id := t.appendMessages(orders, m)[0]
	t.take(orders, billing, "x", 1)
	t.settle(orders, billing, "x", driver.Retry, id)
	t.bury(orders, billing, 1, "no luck")
	t.bury(orders, "audit", 1, "no luck")
	t.append(orders, "b")
	t.done(orders, "audit", 1)
	if missing := t.requeue(orders, billing, id); len(missing) > 0 {
		t.Fatalf("Requeue: %v are missing", missing)
	}
	i := 0
	got := t.take(orders, billing, "y", 2)
	if got[1].ID == id {
		i = 1
	}
	t.wantContent("the requeued message", got[i], m)
	if got[i].ID != id || got[i].Attempt != 1 {
		t.Errorf("%s came with attempt %d, want %s with 1", got[i].ID, got[i].Attempt, id)
	}
	t.none(orders, "audit", "y")
	t.dead(orders, billing, 0)
	t.dead(orders, "audit", 1)
	t.left(orders, 2)
	t.settle(orders, billing, "y", driver.Retry, id)
	if again := t.take(orders, billing, "y", 1)[0]; again.ID != id || again.Attempt != 2 {
		t.Errorf("retried after it was requeued, %s came with attempt %d, want %s with 2", again.ID, again.Attempt, id)
	}
	t.settle(orders, billing, "y", driver.Acknowledge, idsOf(got)...)
	t.none(orders, billing, "y")
}

func deadWakes(t *T) {
	t.joinStart(orders, billing, long)
	t.append(orders, "a")
	hints := t.watch(orders)
	for i := range 5 {
		ids := t.bury(orders, billing, 1, "")
		drain(hints)
		t.none(orders, billing, "c")
		t.requeue(orders, billing, ids...)
		t.hinted(hints, fmt.Sprintf("requeueing for time %d", i+1))
	}
}

func deadMany(t *T) {
	const n = 400
	t.joinStart(orders, billing, long)
	t.appendN(orders, n)
	ids := t.bury(orders, billing, n, "")
	t.dead(orders, billing, n)
	if missing := t.requeue(orders, billing, ids...); len(missing) > 0 {
		t.Fatalf("Requeue: %s are missing", few(missing))
	}
	got := idsOf(t.take(orders, billing, "c", n))
	slices.Sort(got)
	if !slices.Equal(got, ids) {
		t.Errorf("%s came, want each of %s once", few(got), few(ids))
	}
	t.settle(orders, billing, "c", driver.Acknowledge, got...)
	t.none(orders, billing, "c")
	t.dead(orders, billing, 0)
}

func deadDrop(t *T) {
	t.joinStart(orders, billing, long)
	t.append(orders, "a", "b", "c")
	ids := t.bury(orders, billing, 3, "")
	if missing := t.drop(orders, billing, ids[0], ids[2]); len(missing) > 0 {
		t.Fatalf("Drop: %v are missing", missing)
	}
	t.wantIDs("what is left", messagesOf(t.peek(orders, billing, driver.Buried)), ids[1])
	t.none(orders, billing, "c")
	if open := t.outstanding(orders, billing, ids...); len(open) != 1 || open[ids[1]] != driver.Buried {
		t.Errorf("outstanding are %v, want the one that was not dropped", open)
	}
	t.left(orders, 3)
}

func deadMissing(t *T) {
	t.joinStart(orders, billing, long)
	t.joinStart(orders, "audit", long)
	ids := t.append(orders, "a", "b", "c", "d")
	t.bury(orders, billing, 2, "")
	t.bury(orders, "audit", 3, "")
	want := []string{ids[2], "unknown", ids[3]}
	for what, call := range map[string]func(topic, subscription string, ids ...string) []string{"Requeue": t.requeue, "Drop": t.drop} {
		do := ids[0]
		if what == "Drop" {
			do = ids[1]
		}
		missing := call(orders, billing, ids[2], do, "unknown", ids[3])
		slices.Sort(missing)
		slices.Sort(want)
		if !slices.Equal(missing, want) {
			t.Errorf("%s: %v are missing, want %v", what, missing, want)
		}
		if missing = call(orders, billing, do); !slices.Equal(missing, []string{do}) {
			t.Errorf("%s once more: %v are missing, want %s", what, missing, do)
		}
	}
	t.dead(orders, billing, 0)
	t.dead(orders, "audit", 3)
}

func deadTwice(t *T) {
	t.joinStart(orders, billing, long)
	t.append(orders, "a")
	ids := t.bury(orders, billing, 1, "first")
	t.requeue(orders, billing, ids...)
	t.take(orders, billing, "c", 1)
	t.settle(orders, billing, "c", driver.Retry, ids...)
	t.bury(orders, billing, 1, "second")
	entries := t.peek(orders, billing, driver.Buried)
	t.wantIDs("dead letters", messagesOf(entries), ids...)
	if e := entries[0]; e.Reason != "second" || e.Message.Attempt != 2 {
		t.Errorf("it died with attempt %d because of %q, want 2 and second", e.Message.Attempt, e.Reason)
	}
	t.dead(orders, billing, 1)
}

func deadAfterSeek(t *T) {
	t.joinStart(orders, billing, long)
	t.append(orders, "a", "b")
	ids := t.bury(orders, billing, 2, "first")
	t.seek(orders, billing, start)
	t.dead(orders, billing, 2)
	t.bury(orders, billing, 1, "second")
	entries := t.peek(orders, billing, driver.Buried)
	t.wantIDs("dead letters, as they died", messagesOf(entries), ids[1], ids[0])
	if entries[0].Reason != "first" || entries[1].Reason != "second" {
		t.Errorf("they died because of %q and %q, want first and second", entries[0].Reason, entries[1].Reason)
	}
	t.dead(orders, billing, 2)
}

func deadTrimmed(t *T) {
	m := driver.Message{Key: "k", Headers: map[string]string{"h": "v"}, Body: []byte("a")}
	t.joinStart(orders, billing, long)
	id := t.appendMessages(orders, m)[0]
	t.bury(orders, billing, 1, "no luck")
	t.trim(orders, end)
	t.left(orders, 0)
	t.wantContent("the dead letter", t.peek(orders, billing, driver.Buried)[0].Message, m)
	t.requeue(orders, billing, id)
	got := t.take(orders, billing, "c", 1)[0]
	t.wantContent("the requeued message", got, m)
	if got.ID != id || got.Attempt != 1 {
		t.Errorf("%s came with attempt %d, want %s with 1", got.ID, got.Attempt, id)
	}
	t.settle(orders, billing, "c", driver.Acknowledge, id)
	t.none(orders, billing, "c")
}

func deadDeleted(t *T) {
	t.joinStart(orders, billing, long)
	t.append(orders, "a")
	ids := t.bury(orders, billing, 1, "")
	t.deleteSubscription(orders, billing)
	t.join(orders, billing, driver.JoinConfig{From: end, Lease: long})
	t.dead(orders, billing, 0)
	if missing := t.requeue(orders, billing, ids...); len(missing) != 1 {
		t.Errorf("a dead letter of the deleted subscription could be requeued for the new one")
	}
	t.none(orders, billing, "c")
}

// steerMissing asks for what is not there.
func steerMissing(t *T) {
	stored := t.append(orders, "a")
	e, ids := t.engine, []string{"unknown"}
	for _, topic := range []string{orders, "missing"} {
		for what, call := range map[string]func(context.Context) error{
			"Requeue": func(ctx context.Context) error { _, err := e.Requeue(ctx, topic, billing, ids); return err },
			"Drop":    func(ctx context.Context) error { _, err := e.Drop(ctx, topic, billing, ids); return err },
			"Seek":    func(ctx context.Context) error { return e.Seek(ctx, topic, billing, start) },
			"Pause":   func(ctx context.Context) error { return e.Pause(ctx, topic, billing, true) },
			"Peek": func(ctx context.Context) error {
				_, err := e.Peek(ctx, topic, billing, driver.PeekRequest{State: driver.Held, Max: 1})
				return err
			},
			"Outstanding": func(ctx context.Context) error {
				_, err := e.Outstanding(ctx, topic, billing, stored)
				return err
			},
		} {
			want := []error{driver.ErrSubscriptionNotFound}
			if topic == "missing" {
				want = append(want, driver.ErrTopicNotFound)
			}
			t.wantErr(what+" of "+billing+" of "+topic, call, want...)
		}
	}
	for what, call := range map[string]func(context.Context) error{
		"Purge":  func(ctx context.Context) error { _, err := e.Purge(ctx, "missing"); return err },
		"Cancel": func(ctx context.Context) error { _, err := e.Cancel(ctx, "missing", ids); return err },
		"Peek": func(ctx context.Context) error {
			_, err := e.Peek(ctx, "missing", "", driver.PeekRequest{State: driver.Delayed, Max: 1})
			return err
		},
	} {
		t.wantErr(what+" of a topic that does not exist", call, driver.ErrTopicNotFound)
	}
	ctx, cancel := t.ctx()
	defer cancel()
	if list, err := e.Topics(ctx); err != nil || len(list) != 1 {
		t.Errorf("after that there are %d topics, %v, want %s alone", len(list), err, orders)
	}
}

func deadRestart(t *T) {
	t.joinStart(orders, billing, long)
	t.append(orders, "a", "b", "c")
	ids := t.bury(orders, billing, 3, "no luck")
	t.requeue(orders, billing, ids[1])
	before := t.peek(orders, billing, driver.Buried)
	t.reopen()
	after := t.peek(orders, billing, driver.Buried)
	t.wantIDs("dead letters", messagesOf(after), ids[0], ids[2])
	for i, e := range after {
		if e.Reason != "no luck" || e.Message.Attempt != 1 || !e.Since.Equal(before[i].Since) {
			t.Errorf("after a restart it died at %v with attempt %d because of %q, want %v, 1 and no luck", e.Since, e.Message.Attempt, e.Reason, before[i].Since)
		}
	}
	got := t.take(orders, billing, "c", 1)[0]
	if got.ID != ids[1] || got.Attempt != 1 {
		t.Errorf("%s came with attempt %d, want %s, which was requeued, with 1", got.ID, got.Attempt, ids[1])
	}
	t.none(orders, billing, "c")
}
