package drivertest

import (
	"context"
	"fmt"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

func seekCases() []Case {
	return []Case{
		{Name: "positions", Promise: "a subscription goes on from the start, the end, behind an id, or from a time, backwards and forwards", run: seekPositions},
		{Name: "forgets", Promise: "what it held or had waiting is forgotten: it is not held any more, nor delivered but by its place, and its attempts count anew", run: seekForgets},
		{Name: "others", Promise: "other subscriptions, and its own dead letters, stay as they are", run: seekOthers},
		{Name: "wakes", Promise: "a seek wakes a consumer that waits", run: seekWakes},
		{Name: "bad positions", Promise: "a position that is malformed or lies ahead of the topic is ErrPosition, and changes nothing", run: seekBad},
		{Name: "trimmed", Promise: "behind an id that was trimmed away it goes on with the first message after it", run: seekTrimmed},
		{Name: "restart", needs: needReopen, Promise: "a seek survives a restart", run: seekRestart},
	}
}

func seekPositions(t *T) {
	t.joinStart(orders, billing, long)
	ids := t.append(orders, "a", "b")
	time.Sleep(5 * time.Millisecond)
	ids = append(ids, t.append(orders, "c", "d")...)
	third := t.readAll(orders, at(ids[2]))[0].Time
	t.done(orders, billing, 4)
	for i, c := range []struct {
		to   driver.Position
		want []string
	}{
		{start, ids}, {at(ids[1]), ids[2:]}, {end, nil}, {at(ids[0]), ids[1:]}, {driver.Position{Kind: driver.AtTime, Time: third}, ids[2:]},
		{at(ids[3]), nil}, {start, ids}, {driver.Position{Kind: driver.AtTime, Time: third.Add(long)}, nil},
	} {
		t.seek(orders, billing, c.to)
		if len(c.want) > 0 {
			t.wantIDs(fmt.Sprintf("seek %d, to %s", i+1, show(c.to)), t.take(orders, billing, "c", len(c.want)), c.want...)
		}
		t.none(orders, billing, "c")
		if i%2 == 0 && len(c.want) > 0 { // or leave them held to the next seek
			t.settle(orders, billing, "c", driver.Acknowledge, c.want...)
		}
	}
	t.append(orders, "e")
	t.wantBodies("a new message", t.take(orders, billing, "c", 1), "e")
}

func seekForgets(t *T) {
	t.joinStart(orders, billing, long)
	ids := t.append(orders, "held", "waits", "waits long", "acknowledged", "ready")
	t.take(orders, billing, "c", 4)
	t.trySettle(orders, billing, "c", driver.Settlement{ID: ids[1], Do: driver.Retry},
		driver.Settlement{ID: ids[2], Do: driver.Retry, After: long}, driver.Settlement{ID: ids[3], Do: driver.Acknowledge})
	t.seek(orders, billing, end)
	t.none(orders, billing, "c")
	if f := t.fetch(orders, billing, driver.FetchRequest{Consumer: "c", Max: 10, Recover: true}); len(f.Messages) != 0 {
		t.Errorf("the consumer recovers %d messages, want none", len(f.Messages))
	}
	if s := t.subscription(orders, billing); s.Pending != 0 || s.Waiting != 0 || s.Lag > 0 {
		t.Errorf("%d are pending, %d waiting, the lag is %d, want none", s.Pending, s.Waiting, s.Lag)
	}
	for _, do := range []driver.Action{driver.Retry, driver.Renew, driver.DeadLetter, driver.Acknowledge} {
		if notHeld := t.trySettle(orders, billing, "c", each(do, ids[0])...); len(notHeld) != 1 {
			t.Errorf("%s of what was held before is done, want it not held", name(do))
		}
	}
	t.seek(orders, billing, start)
	got := t.take(orders, billing, "d", 5)
	t.wantIDs("from the start", got, ids...)
	for _, m := range got {
		if m.Attempt != 1 {
			t.Errorf("%q came with attempt %d, want 1", m.Body, m.Attempt)
		}
	}
	t.dead(orders, billing, 0)
}

func seekOthers(t *T) {
	t.joinStart(orders, billing, long)
	t.joinStart(orders, "audit", long)
	ids := t.append(orders, "a", "b", "c")
	t.take(orders, "audit", "x", 2)
	t.bury(orders, billing, 1, "")
	t.seek(orders, billing, end)
	t.dead(orders, billing, 1)
	t.settle(orders, "audit", "x", driver.Renew, ids[:2]...)
	t.wantBodies("the other subscription", t.take(orders, "audit", "x", 1), "c")
	t.requeue(orders, billing, ids[0])
	t.wantBodies("the dead letter, requeued", t.take(orders, billing, "x", 1), "a")
	t.none(orders, billing, "x")
}

func seekWakes(t *T) {
	t.joinStart(orders, billing, long)
	t.append(orders, "a")
	hints := t.watch(orders)
	for i := range 5 {
		t.take(orders, billing, "c", 1)
		drain(hints)
		t.none(orders, billing, "d")
		t.seek(orders, billing, start)
		t.hinted(hints, fmt.Sprintf("seek %d", i+1))
	}
}

func seekBad(t *T) {
	t.joinStart(orders, billing, long)
	ids := t.append(orders, "a", "b")
	t.take(orders, billing, "c", 1)
	time.Sleep(5 * time.Millisecond)
	bad := []string{"x", "-", "nonsense id", "ü", "99999999999999999999999999-1"}
	if future := t.append("other", "x")[0]; future > ids[1] {
		bad = append(bad, future)
	}
	for _, id := range bad {
		t.wantErr(fmt.Sprintf("Seek behind the id %q", id), func(ctx context.Context) error {
			return t.engine.Seek(ctx, orders, billing, at(id))
		}, driver.ErrPosition)
	}
	t.settle(orders, billing, "c", driver.Acknowledge, ids[0])
	t.wantBodies("what is next", t.take(orders, billing, "c", 1), "b")
}

func seekTrimmed(t *T) {
	t.joinStart(orders, billing, long)
	ids := t.append(orders, "a", "b", "c", "d")
	t.done(orders, billing, 4)
	t.trim(orders, at(ids[2]))
	t.seek(orders, billing, at(ids[0]))
	t.wantBodies("behind a message that was trimmed away", t.take(orders, billing, "c", 2), "c", "d")
	t.seek(orders, billing, start)
	t.wantBodies("from the start", t.take(orders, billing, "c", 2), "c", "d")
}

func seekRestart(t *T) {
	t.joinStart(orders, billing, long)
	ids := t.append(orders, "a", "b", "c")
	t.done(orders, billing, 2)
	t.take(orders, billing, "c", 1)
	t.seek(orders, billing, at(ids[0]))
	t.reopen()
	got := t.take(orders, billing, "d", 2)
	t.wantIDs("after a restart", got, ids[1:]...)
	t.none(orders, billing, "d")
}
