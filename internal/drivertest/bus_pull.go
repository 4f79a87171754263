package drivertest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/beckmq/beck"
)

func busPullCases() []Case {
	return []Case{
		{Name: "join", Promise: "joining tells whether the subscription existed, and where a new one begins may be chosen", run: pullJoin},
		{Name: "fetch waits", Promise: "a fetch that waits returns with the first message, and without one when its time is over", run: pullWaits},
		{Name: "settle", Promise: "each settlement does what it says, and what was not held is named by a NotHeldError while the rest is settled", run: pullSettle},
		{Name: "many settlements", Promise: "a thousand settlements in one call name exactly those that were not held", run: pullMany},
		{Name: "bad settlements", Promise: "an empty settlement is ErrOption, too many are ErrTooLarge", run: pullBad},
	}
}

// mustFetch pulls until n messages have come.
func (t *T) mustFetch(bus *beck.Bus, s, consumer string, n int) (ids []string) {
	t.Helper()
	ctx, cancel := t.ctx()
	defer cancel()
	for len(ids) < n {
		f, err := bus.Fetch(ctx, orders, s, &beck.FetchOptions{Consumer: consumer, Max: min(n-len(ids), beck.MaxFetch), Wait: t.patience})
		if err != nil {
			t.Fatalf("Fetch by %s, after %d of %d messages: %v", consumer, len(ids), n, err)
		}
		if len(f.Messages) == 0 {
			t.Fatalf("Fetch by %s waited for %v and got nothing, after %d of %d messages", consumer, t.patience, len(ids), n)
		}
		for _, m := range f.Messages {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

func (t *T) mustJoin(bus *beck.Bus, s string, o *beck.JoinOptions) (existed bool) {
	t.Helper()
	ctx, cancel := t.ctx()
	defer cancel()
	existed, err := bus.Join(ctx, orders, s, o)
	if err != nil {
		t.Fatalf("Join of %s: %v", s, err)
	}
	return existed
}

func pullJoin(t *T) {
	bus := t.bus()
	ids := t.publish(bus, orders, "a", "b", "c")
	for s, c := range map[string]struct {
		from beck.Position
		want []string
	}{"all": {"", ids}, "start": {beck.FromStart, ids}, "id": {beck.FromID(ids[0]), ids[1:]}, "ago": {beck.FromAgo(time.Hour), ids}} {
		if t.mustJoin(bus, s, &beck.JoinOptions{From: c.from}) {
			t.Errorf("the first Join of %s says that it existed", s)
		}
		if !t.mustJoin(bus, s, nil) {
			t.Errorf("the second Join of %s says that it did not exist", s)
		}
		if got := t.mustFetch(bus, s, "c", len(c.want)); !slices.Equal(got, c.want) {
			t.Errorf("a subscription from %q: %v, want %v", c.from, got, c.want)
		}
	}
}

func pullWaits(t *T) {
	bus := t.bus()
	ctx, cancel := t.ctx()
	defer cancel()
	t.mustJoin(bus, billing, nil)
	began := time.Now()
	f, err := bus.Fetch(ctx, orders, billing, &beck.FetchOptions{Consumer: "c", Wait: 200 * time.Millisecond})
	if err != nil || len(f.Messages) != 0 {
		t.Fatalf("Fetch of an empty subscription: %+v, %v, want nothing", f, err)
	}
	t.notBefore("a fetch that waits returned without a message", began, 200*time.Millisecond)
	for i := range 10 {
		go func() {
			time.Sleep(time.Duration(i) * 3 * time.Millisecond)
			t.publish(bus, orders, fmt.Sprint(i))
		}()
		asked := time.Now()
		t.mustFetch(bus, billing, "c", 1)
		if waited := time.Since(asked); waited > t.promptly() {
			t.Errorf("a fetch that waits got its message only after %v", waited)
		}
	}
}

func pullSettle(t *T) {
	bus := t.bus()
	ctx, cancel := t.ctx()
	defer cancel()
	t.mustJoin(bus, billing, nil)
	ids := t.publish(bus, orders, "ack", "retry", "release", "bury", "renew", "not held")
	t.mustFetch(bus, billing, "c", 5)
	err := bus.Settle(ctx, orders, billing, "c", beck.Ack(ids[0]), beck.Retry(ids[1], -time.Second, "no luck"), beck.Release(ids[2]),
		beck.Bury(ids[3], "hopeless"), beck.Renew(ids[4]), beck.Renew(ids[5]))
	var notHeld *beck.NotHeldError
	if !errors.As(err, &notHeld) || !errors.Is(err, beck.ErrNotHeld) || notHeld.Consumer != "c" || !slices.Equal(notHeld.IDs, ids[5:]) {
		t.Errorf("Settle with one that is not held: %v, want a NotHeldError that names it", err)
	}
	if err := bus.Settle(ctx, orders, billing, "c", beck.Ack(ids[4])); err != nil {
		t.Errorf("Settle of one that is held: %v", err)
	}
	got := t.mustFetch(bus, billing, "d", 3)
	slices.Sort(got)
	if want := []string{ids[1], ids[2], ids[5]}; !slices.Equal(got, want) {
		t.Errorf("after that %v come, want %v: the retried, the released, and the new one", got, want)
	}
	if s := t.inspected(bus, billing); s.Dead != 1 || s.Pending != 3 {
		t.Errorf("%d dead letters and %d pending, want 1 and 3", s.Dead, s.Pending)
	}
	if err := bus.Leave(ctx, orders, billing, "c"); err != nil {
		t.Errorf("Leave: %v", err)
	}
}

func pullMany(t *T) {
	bus := t.bus()
	ctx, cancel := t.ctx()
	defer cancel()
	t.mustJoin(bus, billing, &beck.JoinOptions{Lease: time.Hour})
	ids := t.publish(bus, orders, numbers(0, 1000)...)
	t.mustFetch(bus, billing, "c", 900)
	list := make([]beck.Settlement, len(ids))
	for i, id := range ids {
		list[i] = beck.Ack(id)
	}
	err := bus.Settle(ctx, orders, billing, "c", list...)
	var notHeld *beck.NotHeldError
	if !errors.As(err, &notHeld) {
		t.Fatalf("Settle: %v, want a NotHeldError", err)
	}
	slices.Sort(notHeld.IDs)
	if !slices.Equal(notHeld.IDs, ids[900:]) {
		t.Errorf("%d are not held, %s, want the last 100", len(notHeld.IDs), few(notHeld.IDs))
	}
	if s := t.inspected(bus, billing); s.Pending != 0 {
		t.Errorf("%d are pending, want none", s.Pending)
	}
}

func pullBad(t *T) {
	bus := t.bus()
	ctx, cancel := t.ctx()
	defer cancel()
	t.mustJoin(bus, billing, nil)
	for what, list := range map[string][]beck.Settlement{"an empty settlement": {{}}, "a settlement without an id": {beck.Ack("")}} {
		if err := bus.Settle(ctx, orders, billing, "c", list...); !errors.Is(err, beck.ErrOption) {
			t.Errorf("Settle with %s: %v, want ErrOption", what, err)
		}
	}
	tooMany := slices.Repeat([]beck.Settlement{beck.Ack("x")}, beck.MaxFetch+1)
	if err := bus.Settle(ctx, orders, billing, "c", tooMany...); !errors.Is(err, beck.ErrTooLarge) {
		t.Errorf("Settle of %d: %v, want ErrTooLarge", len(tooMany), err)
	}
	for _, o := range []beck.FetchOptions{{Consumer: "c", Max: -1}, {Consumer: "c", Max: beck.MaxFetch + 1}, {Consumer: "c", Wait: -1}} {
		if _, err := bus.Fetch(ctx, orders, billing, &o); !errors.Is(err, beck.ErrOption) {
			t.Errorf("Fetch with %+v: %v, want ErrOption", o, err)
		}
	}
}
