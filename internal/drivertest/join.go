package drivertest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

func joinCases() []Case {
	return []Case{
		{Name: "existed", Promise: "joining tells whether the subscription existed; it makes the topic if need be", run: joinExisted},
		{Name: "positions", Promise: "a new subscription begins at the start, at the end, behind an id, or at a time", run: joinPositions},
		{Name: "trimmed position", Promise: "a subscription behind an id that was trimmed away begins with the first message stored", run: joinTrimmed},
		{Name: "changes nothing", Promise: "joining a subscription that exists leaves its position and what it holds", run: joinAgain},
		{Name: "lease", Promise: "a lease of 0 is the default for a new subscription, and keeps that of an existing one; another one replaces it", run: joinLease},
		{Name: "future id", Promise: "a new subscription behind an id not given out yet is refused as a position, and not made", run: joinFuture},
		{Name: "malformed id", Promise: "a malformed id is refused as a position, and no subscription is made", run: joinMalformed},
		{Name: "concurrent", Promise: "of many who join at once exactly one makes the subscription", run: joinConcurrent},
	}
}

func joinExisted(t *T) {
	for _, s := range []string{billing, "audit"} {
		if t.join(orders, s, driver.JoinConfig{}) {
			t.Errorf("the first Join of %s says that it existed", s)
		}
		if !t.join(orders, s, driver.JoinConfig{}) {
			t.Errorf("the second Join of %s says that it did not exist", s)
		}
	}
	if t.join("other", billing, driver.JoinConfig{}) {
		t.Errorf("Join of %s to another topic says that it existed", billing)
	}
	if info := t.topic(orders); info.Length != 0 || info.LastID != "" || len(info.Subscriptions) != 2 {
		t.Errorf("the topic made by Join is %+v, want it empty, with two subscriptions", info)
	}
}

func joinPositions(t *T) {
	ids := t.append(orders, "a", "b")
	time.Sleep(5 * time.Millisecond)
	ids = append(ids, t.append(orders, "c")...)
	timeOfC := t.read(orders, at(ids[2]), 1).Messages[0].Time
	cases := []struct {
		from driver.Position
		want []string
	}{
		{start, []string{"a", "b", "c", "new"}},
		{end, []string{"new"}},
		{at(ids[0]), []string{"b", "c", "new"}},
		{at(ids[2]), []string{"new"}},
		{driver.Position{Kind: driver.AtTime, Time: timeOfC}, []string{"c", "new"}},
		{driver.Position{Kind: driver.AtTime, Time: time.Unix(1, 0)}, []string{"a", "b", "c", "new"}},
	}
	for i, c := range cases {
		t.join(orders, fmt.Sprint("s", i), driver.JoinConfig{From: c.from, Lease: long})
	}
	t.append(orders, "new")
	for i, c := range cases {
		s := fmt.Sprint("s", i)
		t.wantBodies("a subscription from "+show(c.from), t.take(orders, s, "c", len(c.want)), c.want...)
		t.none(orders, s, "c")
	}
	// A subscription at the end of a topic without messages gets the first.
	t.join("empty", billing, driver.JoinConfig{From: end, Lease: long})
	t.append("empty", "first")
	t.wantBodies("a subscription at the end of an empty topic", t.take("empty", billing, "c", 1), "first")
}

func joinTrimmed(t *T) {
	ids := t.appendN(orders, 6)
	t.trim(orders, at(ids[4]))
	t.join(orders, billing, driver.JoinConfig{From: at(ids[1]), Lease: long})
	t.wantBodies("the subscription", t.take(orders, billing, "c", 2), "4", "5")
}

func joinAgain(t *T) {
	t.joinStart(orders, billing, long)
	ids := t.append(orders, "a", "b", "c")
	t.wantBodies("the first fetch", t.take(orders, billing, "c", 2), "a", "b")
	t.settle(orders, billing, "c", driver.Acknowledge, ids[0])
	for _, from := range []driver.Position{start, end, at(ids[0])} {
		t.join(orders, billing, driver.JoinConfig{From: from, Lease: long})
	}
	s := t.subscription(orders, billing)
	if s.Pending != 1 || s.LastDelivered != ids[1] {
		t.Errorf("after joining again %d are pending and %s was delivered last, want 1 and %s", s.Pending, s.LastDelivered, ids[1])
	}
	t.wantBodies("what was not delivered", t.take(orders, billing, "d", 1), "c")
	t.none(orders, billing, "d")
	t.settle(orders, billing, "c", driver.Acknowledge, ids[1])
}

func joinLease(t *T) {
	check := func(what string, want time.Duration) {
		t.Helper()
		if got := t.subscription(orders, billing).Lease; got != want {
			t.Errorf("%s: the information says a lease of %v, want %v", what, got, want)
		}
		t.append(orders, "a")
		f := t.fetch(orders, billing, driver.FetchRequest{Consumer: "c", Max: 1})
		if f.Lease != want {
			t.Errorf("%s: Fetch says a lease of %v, want %v", what, f.Lease, want)
		}
	}
	t.join(orders, billing, driver.JoinConfig{})
	check("made without a lease", driver.DefaultLease)
	t.join(orders, billing, driver.JoinConfig{Lease: 42 * time.Minute})
	check("joined with another lease", 42*time.Minute)
	t.join(orders, billing, driver.JoinConfig{})
	check("joined without a lease", 42*time.Minute)
	t.join(orders, billing, driver.JoinConfig{Lease: 1500 * time.Millisecond})
	check("joined with a third lease", 1500*time.Millisecond)
}

func joinFuture(t *T) {
	last := t.append(orders, "a")[0]
	time.Sleep(5 * time.Millisecond)
	future := t.append("other", "b")[0]
	if future <= last {
		t.Skipf("this engine's ids don't tell which topic is newer (%s, %s)", last, future)
	}
	t.refuseJoin(orders, future)
}

func joinMalformed(t *T) {
	t.append(orders, "a")
	for _, id := range []string{"x", "-", "nonsense id", "1-2-3", "ü", "$", "99999999999999999999999999-1"} {
		t.refuseJoin(orders, id)
	}
}

func (t *T) refuseJoin(topic, id string) {
	t.Helper()
	ctx, cancel := t.ctx()
	defer cancel()
	_, err := t.engine.Join(ctx, topic, billing, driver.JoinConfig{From: at(id)})
	if !errors.Is(err, driver.ErrPosition) {
		t.Errorf("Join behind the id %q: %v, want ErrPosition", id, err)
	}
	if n := len(t.topic(topic).Subscriptions); n != 0 {
		t.Errorf("Join behind the id %q made a subscription all the same", id)
	}
}

func joinConcurrent(t *T) {
	for i := range 5 {
		topic := fmt.Sprint("topic", i)
		var made atomic.Int64
		var wg sync.WaitGroup
		for range 12 {
			wg.Go(func() {
				ctx, cancel := t.ctx()
				defer cancel()
				existed, err := t.engine.Join(ctx, topic, billing, driver.JoinConfig{})
				if err != nil {
					t.Errorf("Join: %v", err)
				} else if !existed {
					made.Add(1)
				}
			})
		}
		wg.Wait()
		if made.Load() != 1 {
			t.Fatalf("%d of 12 who joined at once were told that they made the subscription, want 1", made.Load())
		}
	}
}
