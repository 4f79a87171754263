package drivertest

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

func outstandingCases() []Case {
	return []Case{
		{Name: "outstanding", Promise: "of given messages those are told that the subscription is not done with, and whether they are ready, held, waiting or dead", run: outstandingStates},
		{Name: "outstanding, done", Promise: "it is done with what was acknowledged, dropped, trimmed, skipped by a seek, or before its beginning", run: outstandingDone},
		{Name: "outstanding, bad ids", Promise: "an id that the topic has not given out is ErrPosition", run: outstandingBad},
		{Name: "outstanding, many", Promise: "a thousand messages are asked for at once", run: outstandingMany},
		{Name: "peek ready", Promise: "what was never delivered is listed in the order of the topic, whole, page by page, and stays undelivered", run: peekReady},
		{Name: "peek held", Promise: "what is held is listed in the order of the topic: by whom, until when, with its attempts", run: peekHeld},
		{Name: "peek waiting", Promise: "what waits for its retry is listed by when it is due, and why", run: peekWaiting},
	}
}

func (t *T) wantOpen(what string, got, want map[string]driver.State) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Errorf("%s: outstanding are %v, want %v", what, got, want)
	}
}

func outstandingStates(t *T) {
	t.joinStart(orders, billing, long)
	t.joinStart(orders, "audit", long)
	ids := t.append(orders, "acknowledged", "held", "waits", "dead", "ready", "not asked for")
	t.take(orders, billing, "c", 4)
	t.trySettle(orders, billing, "c", driver.Settlement{ID: ids[0], Do: driver.Acknowledge},
		driver.Settlement{ID: ids[2], Do: driver.Retry, After: long}, driver.Settlement{ID: ids[3], Do: driver.DeadLetter})
	t.wantOpen("a subscription half way", t.outstanding(orders, billing, ids[:5]...), map[string]driver.State{
		ids[1]: driver.Held, ids[2]: driver.Waiting, ids[3]: driver.Buried, ids[4]: driver.Ready,
	})
	t.wantOpen("one that has not begun", t.outstanding(orders, "audit", ids[0], ids[3]), map[string]driver.State{
		ids[0]: driver.Ready, ids[3]: driver.Ready,
	})
	t.requeue(orders, billing, ids[3])
	if state := t.outstanding(orders, billing, ids[3])[ids[3]]; state != driver.Waiting && state != driver.Ready {
		t.Errorf("a requeued message is %q, want that it waits, or is ready", state)
	}
	t.wantOpen("no message", t.outstanding(orders, billing), nil)
}

func outstandingDone(t *T) {
	first := t.append(orders, "before its beginning")[0]
	t.join(orders, billing, driver.JoinConfig{From: end, Lease: long})
	t.wantOpen("before its beginning", t.outstanding(orders, billing, first), nil)
	ids := t.append(orders, "dropped", "acknowledged", "held", "ready")
	t.bury(orders, billing, 1, "")
	t.done(orders, billing, 1)
	t.take(orders, billing, "c", 1)
	t.drop(orders, billing, ids[0])
	t.wantOpen("dropped and acknowledged", t.outstanding(orders, billing, ids...), map[string]driver.State{ids[2]: driver.Held, ids[3]: driver.Ready})
	t.seek(orders, billing, end)
	t.wantOpen("skipped", t.outstanding(orders, billing, ids...), nil)
	t.seek(orders, billing, at(ids[1]))
	t.wantOpen("back again", t.outstanding(orders, billing, ids...), map[string]driver.State{ids[2]: driver.Ready, ids[3]: driver.Ready})
	t.done(orders, billing, 2)
	t.trim(orders, end)
	t.wantOpen("trimmed", t.outstanding(orders, billing, ids...), nil)
}

func outstandingBad(t *T) {
	t.joinStart(orders, billing, long)
	ids := t.append(orders, "a")
	time.Sleep(5 * time.Millisecond)
	bad := []string{"x", "nonsense id", "99999999999999999999999999-1"}
	if future := t.append("other", "x")[0]; future > ids[0] {
		bad = append(bad, future)
	}
	for _, id := range bad {
		t.wantErr(fmt.Sprintf("Outstanding of %q", id), func(ctx context.Context) error {
			_, err := t.engine.Outstanding(ctx, orders, billing, []string{ids[0], id})
			return err
		}, driver.ErrPosition)
	}
}

func outstandingMany(t *T) {
	t.joinStart(orders, billing, long)
	ids := t.appendN(orders, 1000)
	t.done(orders, billing, 500)
	open := t.outstanding(orders, billing, ids...)
	for i, id := range ids {
		if (open[id] == driver.Ready) != (i >= 500) {
			t.Fatalf("message %d of 1000 is %q when the first 500 are acknowledged", i+1, open[id])
		}
	}
}

func peekReady(t *T) {
	m := driver.Message{Key: "k", Headers: map[string]string{"h": "v"}, Body: []byte("a\x00")}
	ids := append(t.append(orders, "before"), t.appendMessages(orders, m)...)
	t.join(orders, billing, driver.JoinConfig{From: at(ids[0]), Lease: long})
	ids = append(ids, t.append(orders, numbers(2, 20)...)...)
	entries := t.peek(orders, billing, driver.Ready)
	t.wantIDs("what is ready", messagesOf(entries), ids[1:]...)
	t.wantContent("the first one", entries[0].Message, m)
	if e := entries[0]; e.Message.Attempt != 0 || e.Consumer != "" || !e.Due.IsZero() {
		t.Errorf("the first one has attempt %d, consumer %q, due %v, want none", e.Message.Attempt, e.Consumer, e.Due)
	}
	got := t.take(orders, billing, "c", 5)
	t.wantIDs("what comes then", got, ids[1:6]...)
	if got[0].Attempt != 1 {
		t.Errorf("after a peek the first attempt is %d, want 1", got[0].Attempt)
	}
	behind := t.peekSome(orders, billing, driver.PeekRequest{State: driver.Ready, After: ids[2], Max: 2})
	t.wantIDs("behind one that was delivered meanwhile", messagesOf(behind.Entries), ids[6:8]...)
	t.take(orders, billing, "c", 14)
	if left := t.peek(orders, billing, driver.Ready); len(left) != 0 {
		t.Errorf("%d are ready when all were delivered", len(left))
	}
}

func peekHeld(t *T) {
	t.joinStart(orders, billing, long)
	ids := t.appendN(orders, 20)
	t.take(orders, billing, "c", 12)
	t.take(orders, billing, "d", 8)
	t.settle(orders, billing, "c", driver.Retry, ids[3])
	began := time.Now()
	t.take(orders, billing, "d", 1)
	entries := t.peek(orders, billing, driver.Held)
	t.wantIDs("what is held", messagesOf(entries), ids...)
	for i, e := range entries {
		consumer, attempt := "c", 1
		if i == 3 || i >= 12 {
			consumer = "d"
		}
		if i == 3 {
			attempt = 2
		}
		if e.Consumer != consumer || e.Message.Attempt != attempt || string(e.Message.Body) != fmt.Sprint(i) {
			t.Errorf("message %d (%q) is held by %s with attempt %d, want %s with %d", i, e.Message.Body, e.Consumer, e.Message.Attempt, consumer, attempt)
		}
	}
	if e := entries[3]; e.Due.Before(began.Add(long-time.Minute)) || e.Due.After(time.Now().Add(long+time.Minute)) ||
		!e.Since.IsZero() && e.Since.After(time.Now().Add(time.Minute)) {
		t.Errorf("its lease runs from %v to %v, want for %v from now", e.Since, e.Due, long)
	}
	t.settle(orders, billing, "c", driver.Acknowledge, ids[5])
	got := t.peekSome(orders, billing, driver.PeekRequest{State: driver.Held, After: ids[5], Max: 2})
	t.wantIDs("behind one that has gone", messagesOf(got.Entries), ids[6:8]...)
}

func peekWaiting(t *T) {
	t.joinStart(orders, billing, long)
	ids := t.appendN(orders, 20)
	t.take(orders, billing, "c", 20)
	var want []string
	for i, id := range ids { // the last one is due first
		t.trySettle(orders, billing, "c", driver.Settlement{ID: id, Do: driver.Retry, After: long - time.Duration(i)*time.Minute, Reason: "no luck " + fmt.Sprint(i)})
		want = append([]string{id}, want...)
	}
	began := time.Now()
	entries := t.peek(orders, billing, driver.Waiting)
	t.wantIDs("what waits", messagesOf(entries), want...)
	for i, e := range entries {
		n := 19 - i
		due := began.Add(long - time.Duration(n)*time.Minute)
		if e.Reason != fmt.Sprint("no luck ", n) || e.Message.Attempt != 1 || string(e.Message.Body) != fmt.Sprint(n) || e.Due.Sub(due).Abs() > time.Minute/2 {
			t.Errorf("message %d (%q) waits until %v with attempt %d because of %q, want %v, 1 and no luck %d", n, e.Message.Body, e.Due, e.Message.Attempt, e.Reason, due, n)
		}
	}
	t.none(orders, billing, "c")
}
