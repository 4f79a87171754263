package drivertest

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

func settleCases() []Case {
	return []Case{
		{Name: "acknowledge", Promise: "an acknowledged message is not delivered again", run: settleAck},
		{Name: "release", Promise: "a released message may be had at once, and its attempt does not count", run: settleRelease},
		{Name: "dead letter", Promise: "a dead letter is kept and counted, and not delivered again", run: settleDead},
		{Name: "mixed", Promise: "one call may do different things to different messages", run: settleMixed},
		{Name: "fencing", Promise: "retry, release, dead-letter and renew are refused to a consumer whose message another has taken over, and do nothing", run: settleFencing},
		{Name: "late acknowledge", Promise: "an acknowledgement by a consumer that lost the lease is accepted while another holds it", run: settleLateAck},
		{Name: "ended lease", Promise: "a consumer whose lease has ended may acknowledge while nobody else has taken the message", run: settleEndedLease},
		{Name: "not held", Promise: "exactly those ids are returned that were not held; all others of the call are settled", run: settleNotHeld},
		{Name: "twice", Promise: "what is settled already is not held any more", run: settleTwice},
		{Name: "nonsense", Promise: "ids that are no ids, or unknown, are not held", run: settleNonsense},
		{Name: "large", Promise: "five thousand acknowledgements go in one call", run: settleLarge},
		{Name: "missing subscription", Promise: "settling for a subscription that does not exist holds nothing, or is ErrSubscriptionNotFound", run: settleMissing},
		{Name: "one subscription only", Promise: "settling for one subscription leaves the others", run: settleOther},
	}
}

func settleAck(t *T) {
	t.joinStart(orders, billing, short)
	ids := t.append(orders, "a", "b", "c")
	t.abandon(orders, billing, "a", 2)
	t.join(orders, billing, driver.JoinConfig{Lease: long})
	t.settle(orders, billing, "a", driver.Acknowledge, ids[1])
	// Only the first comes again when the leases end.
	got := idsOf(t.take(orders, billing, "b", 2))
	slices.Sort(got)
	if !slices.Equal(got, []string{ids[0], ids[2]}) {
		t.Fatalf("the other consumer got %v, want the one not acknowledged, and the one never delivered", got)
	}
	t.settle(orders, billing, "b", driver.Acknowledge, got...)
	t.none(orders, billing, "b")
	if s := t.subscription(orders, billing); s.Pending != 0 || s.Waiting != 0 || s.Dead != 0 || s.Lag > 0 {
		t.Errorf("after everything was acknowledged: %+v", s)
	}
}

func settleRelease(t *T) {
	t.joinStart(orders, billing, long)
	id := t.append(orders, "a")[0]
	for _, consumer := range []string{"a", "b", "b", "a"} {
		m := t.take(orders, billing, consumer, 1)[0]
		if m.Attempt != 1 {
			t.Fatalf("attempt %d of a message that was only released, want 1", m.Attempt)
		}
		t.settle(orders, billing, consumer, driver.Release, id)
	}
	t.take(orders, billing, "a", 1)
	t.settle(orders, billing, "a", driver.Retry, id)
	if m := t.take(orders, billing, "b", 1)[0]; m.Attempt != 2 {
		t.Fatalf("attempt %d after one retry and four releases, want 2", m.Attempt)
	}
	t.settle(orders, billing, "b", driver.Release, id)
	if m := t.take(orders, billing, "a", 1)[0]; m.Attempt != 2 {
		t.Fatalf("attempt %d after one retry and five releases, want 2", m.Attempt)
	}
}

func settleDead(t *T) {
	t.joinStart(orders, billing, long)
	ids := t.append(orders, "a", "b", "c")
	t.take(orders, billing, "a", 2)
	notHeld := t.trySettle(orders, billing, "a",
		driver.Settlement{ID: ids[0], Do: driver.DeadLetter, Reason: "can't be parsed: \"x\"\n北京"},
		driver.Settlement{ID: ids[1], Do: driver.DeadLetter})
	if len(notHeld) > 0 {
		t.Fatalf("not held: %v, want none", notHeld)
	}
	if s := t.subscription(orders, billing); s.Dead != 2 || s.Pending != 0 {
		t.Errorf("%d dead letters and %d pending, want 2 and 0", s.Dead, s.Pending)
	}
	t.wantBodies("what is left", t.take(orders, billing, "b", 1), "c")
	t.settle(orders, billing, "b", driver.Acknowledge, ids[2])
	t.none(orders, billing, "b")
}

func settleMixed(t *T) {
	t.joinStart(orders, billing, long)
	ids := t.append(orders, "ack", "retry", "release", "dead", "renew")
	t.take(orders, billing, "c", 5)
	notHeld := t.trySettle(orders, billing, "c",
		driver.Settlement{ID: ids[4], Do: driver.Renew}, driver.Settlement{ID: ids[1], Do: driver.Retry},
		driver.Settlement{ID: ids[3], Do: driver.DeadLetter}, driver.Settlement{ID: ids[0], Do: driver.Acknowledge},
		driver.Settlement{ID: ids[2], Do: driver.Release})
	if len(notHeld) > 0 {
		t.Fatalf("not held: %v, want none", notHeld)
	}
	for _, m := range t.take(orders, billing, "d", 2) {
		switch string(m.Body) {
		case "retry":
			if m.Attempt != 2 {
				t.Errorf("the retried message has attempt %d, want 2", m.Attempt)
			}
		case "release":
			if m.Attempt != 1 {
				t.Errorf("the released message has attempt %d, want 1", m.Attempt)
			}
		default:
			t.Errorf("%q came again", m.Body)
		}
	}
	t.none(orders, billing, "d")
	if s := t.subscription(orders, billing); s.Dead != 1 || s.Pending != 3 || s.Waiting != 0 {
		t.Errorf("%d dead, %d pending, %d waiting, want 1, 3 and 0", s.Dead, s.Pending, s.Waiting)
	}
}

// takenOver has one consumer lose its messages to another, which then holds them
// for long.
func (t *T) takenOver(n int) (ids []string) {
	t.Helper()
	t.joinStart(orders, billing, short)
	ids = t.appendN(orders, n)
	t.abandon(orders, billing, "stale", n)
	t.join(orders, billing, driver.JoinConfig{Lease: long})
	t.take(orders, billing, "owner", n)
	return ids
}

func settleFencing(t *T) {
	actions := []driver.Action{driver.Retry, driver.Release, driver.DeadLetter, driver.Renew}
	ids := t.takenOver(len(actions))
	for i, do := range actions {
		notHeld := t.trySettle(orders, billing, "stale", driver.Settlement{ID: ids[i], Do: do})
		if !slices.Equal(notHeld, ids[i:i+1]) {
			t.Errorf("%s by a consumer whose message another has taken over: not held %v, want %v", name(do), notHeld, ids[i:i+1])
		}
	}
	t.none(orders, billing, "third")
	if s := t.subscription(orders, billing); s.Dead != 0 || s.Waiting != 0 || s.Pending != int64(len(ids)) {
		t.Errorf("a consumer that lost its messages has changed something: %d dead, %d waiting, %d pending, want 0, 0, %d", s.Dead, s.Waiting, s.Pending, len(ids))
	}
	t.settle(orders, billing, "owner", driver.Renew, ids...)
	t.settle(orders, billing, "owner", driver.Acknowledge, ids...)
}

func settleLateAck(t *T) {
	ids := t.takenOver(2)
	if notHeld := t.trySettle(orders, billing, "stale", each(driver.Acknowledge, ids[0])...); len(notHeld) > 0 {
		t.Errorf("a late acknowledgement is said to be not held (%v), want it accepted: the work is done", notHeld)
	}
	if s := t.subscription(orders, billing); s.Pending != 1 {
		t.Errorf("%d are pending after one of two was acknowledged, want 1", s.Pending)
	}
	if notHeld := t.trySettle(orders, billing, "owner", each(driver.Retry, ids...)...); !slices.Equal(notHeld, ids[:1]) {
		t.Errorf("retry of both by the owner: not held %v, want the one that is acknowledged, %v", notHeld, ids[:1])
	}
}

func settleEndedLease(t *T) {
	t.joinStart(orders, billing, short)
	ids := t.append(orders, "a", "b")
	t.abandon(orders, billing, "a", 2)
	// The lease is over once another consumer was given the first message.
	t.take(orders, billing, "b", 1)
	if s := t.subscription(orders, billing); s.Pending != 2 {
		t.Errorf("%d are pending, want 2: ended leases are included", s.Pending)
	}
	t.settle(orders, billing, "a", driver.Acknowledge, ids[1])
}

func settleNotHeld(t *T) {
	t.joinStart(orders, billing, long)
	ids := t.appendN(orders, 40)
	t.take(orders, billing, "a", 20)
	t.take(orders, billing, "b", 10)
	// a holds 0 to 19, b 20 to 29, nobody 30 to 39.
	want := slices.Concat(ids[20:40])
	for _, do := range []driver.Action{driver.Renew, driver.Retry} {
		notHeld := t.trySettle(orders, billing, "a", each(do, ids...)...)
		slices.Sort(notHeld)
		if !slices.Equal(notHeld, want) {
			t.Fatalf("%s of 40 of which 20 are held: not held %s, want %s", name(do), few(notHeld), few(want))
		}
	}
	t.take(orders, billing, "b", 20)
	notHeld := t.trySettle(orders, billing, "a", each(driver.Acknowledge, ids...)...)
	slices.Sort(notHeld)
	pending := t.subscription(orders, billing).Pending
	if len(notHeld) != 10 || pending != 0 {
		t.Errorf("acknowledge of 40 of which 30 are held by another: %d not held (%s), %d still pending, want 10 and 0", len(notHeld), few(notHeld), pending)
	}
}

func settleTwice(t *T) {
	for _, first := range []driver.Action{driver.Acknowledge, driver.DeadLetter} {
		for _, second := range []driver.Action{driver.Acknowledge, driver.DeadLetter, driver.Retry, driver.Release, driver.Renew} {
			t.joinStart(orders, billing, long)
			id := t.append(orders, "a")[0]
			t.take(orders, billing, "c", 1)
			t.settle(orders, billing, "c", first, id)
			if notHeld := t.trySettle(orders, billing, "c", driver.Settlement{ID: id, Do: second}); !slices.Equal(notHeld, []string{id}) {
				t.Errorf("%s after %s: not held %v, want %v", name(second), name(first), notHeld, []string{id})
			}
			t.none(orders, billing, "c")
		}
	}
	id := t.append(orders, "a")[0]
	t.take(orders, billing, "c", 1)
	t.settle(orders, billing, "c", driver.Retry, id)
	if notHeld := t.trySettle(orders, billing, "c", each(driver.Renew, id)...); len(notHeld) != 1 {
		t.Errorf("renew after retry: not held %v, want it", notHeld)
	}
	if m := t.take(orders, billing, "c", 1)[0]; m.Attempt != 2 {
		t.Errorf("attempt %d, want 2", m.Attempt)
	}
}

func settleNonsense(t *T) {
	t.joinStart(orders, billing, long)
	ids := t.append(orders, "a", "b", "never delivered")
	time.Sleep(5 * time.Millisecond) // so that the other topic's id is none of this one's
	other := t.append("other", "c")[0]
	t.take(orders, billing, "c", 2)
	nonsense := []string{"nonsense", "-", "1-2-3", "0-0", "ü", "*", "with space", strings.Repeat("9", 200), other, ids[2]}
	for _, do := range []driver.Action{driver.Renew, driver.Retry, driver.Release, driver.DeadLetter, driver.Acknowledge} {
		notHeld := t.trySettle(orders, billing, "c", slices.Concat(each(do, nonsense...), each(driver.Renew, ids[0]))...)
		got, want := slices.Sorted(slices.Values(notHeld)), slices.Sorted(slices.Values(nonsense))
		if !slices.Equal(got, want) {
			t.Errorf("%s of %q and of one that is held: not held %q", name(do), nonsense, notHeld)
		}
	}
	s := t.subscription(orders, billing)
	if s.Pending != 2 || s.Waiting != 0 || s.Dead != 0 {
		t.Errorf("nonsense has changed something: %d pending, %d waiting, %d dead, want 2, 0 and 0", s.Pending, s.Waiting, s.Dead)
	}
	t.wantBodies("what was never delivered", t.take(orders, billing, "c", 1), "never delivered")
}

func settleLarge(t *T) {
	t.joinStart(orders, billing, long)
	ids := t.appendN(orders, 5000)
	t.wantIDs("fetched", t.take(orders, billing, "c", 5000), ids...)
	t.settle(orders, billing, "c", driver.Acknowledge, ids[:4999]...)
	s := t.subscription(orders, billing)
	if s.Pending != 1 {
		t.Errorf("%d are pending after 4999 of 5000 were acknowledged, want 1", s.Pending)
	}
}

func settleMissing(t *T) {
	id := t.append(orders, "a")[0]
	for _, topic := range []string{orders, "missing"} {
		ctx, cancel := t.ctx()
		notHeld, err := t.engine.Settle(ctx, topic, "missing", "c", each(driver.Acknowledge, id))
		cancel()
		refused := errors.Is(err, driver.ErrSubscriptionNotFound) || errors.Is(err, driver.ErrTopicNotFound)
		if !refused && (err != nil || !slices.Equal(notHeld, []string{id})) {
			t.Errorf("Settle for a missing subscription of %s: not held %v, error %v, want the id, or ErrSubscriptionNotFound", topic, notHeld, err)
		}
	}
}

func settleOther(t *T) {
	t.joinStart(orders, billing, long)
	t.joinStart(orders, "audit", long)
	id := t.append(orders, "a")[0]
	t.take(orders, billing, "c", 1)
	t.take(orders, "audit", "c", 1)
	t.settle(orders, billing, "c", driver.DeadLetter, id)
	a, b := t.subscription(orders, "audit"), t.subscription(orders, billing)
	if a.Pending != 1 || a.Dead != 0 || b.Pending != 0 || b.Dead != 1 {
		t.Errorf("after a dead letter of billing: audit has %d pending and %d dead, billing %d and %d, want 1, 0, 0, 1", a.Pending, a.Dead, b.Pending, b.Dead)
	}
	t.settle(orders, "audit", "c", driver.Acknowledge, id)
}
