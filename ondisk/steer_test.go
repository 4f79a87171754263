package ondisk

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beckmq/beck/internal/driver"
)

func seek(t testing.TB, e *engine, to driver.Position) {
	t.Helper()
	if err := e.Seek(t.Context(), "a", "s", to); err != nil {
		t.Fatalf("seek: %v", err)
	}
}

func pause(t testing.TB, e *engine, paused bool) {
	t.Helper()
	if err := e.Pause(t.Context(), "a", "s", paused); err != nil {
		t.Fatalf("pause: %v", err)
	}
}

// hinted reports whether there is a hint.
func hinted(hints <-chan struct{}) bool {
	select {
	case <-hints:
		return true
	default:
		return false
	}
}

func TestSeek(t *testing.T) {
	clock := newClock()
	set := settings{fs: vfs.NewMem(), reserve: 1, now: clock.now}
	e := mustOpen(t, "db", set)
	var ids []string
	for i := range 6 {
		ids = append(ids, publish(t, e, "a", bodies(i, 1)...)...)
		clock.at = clock.at.Add(time.Second)
	}
	join(t, e, "a", "s", driver.JoinConfig{Lease: time.Minute})
	hints, stop := e.Watch("a")
	defer stop()
	cases := []struct {
		name string
		to   driver.Position
		want string
	}{
		{"start", driver.Position{}, "0/1 1/1 2/1 3/1 4/1 5/1 "},
		{"end", driver.Position{Kind: driver.End}, ""},
		{"id", driver.Position{Kind: driver.AtID, ID: ids[2]}, "3/1 4/1 5/1 "},
		{"time", driver.Position{Kind: driver.AtTime, Time: clock.at.Add(-2500 * time.Millisecond)}, "4/1 5/1 "},
		{"back", driver.Position{Kind: driver.AtID, ID: ids[0]}, "1/1 2/1 3/1 4/1 5/1 "},
	}
	for _, c := range cases {
		fetch(t, e, "a", "s", "c", 2)
		held := idsOf(fetch(t, e, "a", "s", "c", 2).Messages)
		if len(held) > 1 {
			settle(t, e, "a", "s", "c", driver.Settlement{ID: held[0], Do: driver.Retry})
		}
		hinted(hints)
		seek(t, e, c.to)
		if !hinted(hints) {
			t.Errorf("%s: no hint", c.name)
		}
		shut(t, e)
		e = mustOpen(t, "db", set)
		hints, stop = e.Watch("a")
		defer stop()
		if notHeld := settle(t, e, "a", "s", "c", each(driver.Acknowledge, held...)...); !slices.Equal(notHeld, held) {
			t.Errorf("%s: not held are %v of %v", c.name, notHeld, held)
		}
		if s := topicInfo(t, e, "a").Subscriptions[0]; s.Pending+s.Waiting != 0 {
			t.Errorf("%s: %+v", c.name, s)
		}
		if got := text(fetch(t, e, "a", "s", "d", 9).Messages); got != c.want {
			t.Errorf("%s: fetched %q", c.name, got)
		}
	}
	if g, p := records(t, e, tagGroup), records(t, e, tagPending); g != 1 || p != 0 {
		t.Errorf("%d groups and %d entries are left", g, p)
	}
	shut(t, e)
}

// A Fetch that has read ahead before a Seek delivers what comes behind the new
// place.
func TestSeekDuringFetch(t *testing.T) {
	e := open(t, "db", inMemory())
	ids := publish(t, e, "a", bodies(0, 6)...)
	join(t, e, "a", "s", driver.JoinConfig{})
	fetch(t, e, "a", "s", "c", 2)
	for name, c := range map[string]struct {
		to   driver.Position
		want string
	}{
		"forward": {driver.Position{Kind: driver.AtID, ID: ids[3]}, "4/1 5/1 "},
		"back":    {driver.Position{}, ""},
		"end":     {driver.Position{Kind: driver.End}, ""},
	} {
		seek(t, e, driver.Position{Kind: driver.AtID, ID: ids[1]})
		f := &fetching{
			engine: e, topic: e.find("a"), sub: e.find("a").subs["s"], req: driver.FetchRequest{Consumer: "d", Max: 9},
		}
		if err := f.readAhead(); err != nil {
			t.Fatal(err)
		}
		seek(t, e, c.to)
		if err := e.submit(t.Context(), &request{decide: f.decide}); err != nil {
			t.Fatal(err)
		}
		if got := text(f.fetched.Messages); got != c.want || f.fetched.More != (name == "back") {
			t.Errorf("%s: fetched %q, more %v", name, got, f.fetched.More)
		}
	}
}

func TestSeekInQueue(t *testing.T) {
	set := inMemory()
	e := mustOpen(t, "db", set)
	makeQueue(t, e, "q")
	ids := publish(t, e, "q", bodies(0, 8)...)
	fetch(t, e, "q", workers, "c", 5)
	settle(t, e, "q", workers, "c", each(driver.Acknowledge, ids[1], ids[3])...)
	for _, c := range []struct {
		to   driver.Position
		want string
	}{
		{driver.Position{}, "0/1 2/1 4/1 5/1 6/1 7/1 "},
		{driver.Position{Kind: driver.AtID, ID: ids[4]}, "5/1 6/1 7/1 "},
		{driver.Position{Kind: driver.End}, ""},
		{driver.Position{}, ""},
	} {
		if err := e.Seek(t.Context(), "q", workers, c.to); err != nil {
			t.Fatal(err)
		}
		shut(t, e)
		e = mustOpen(t, "db", set)
		got := ""
		for f := (driver.Fetched{More: true}); f.More; got += text(f.Messages) {
			f = fetch(t, e, "q", workers, "d", 9)
		}
		if got != c.want {
			t.Errorf("from %+v: %q", c.to, got)
		}
		info := topicInfo(t, e, "q")
		if info.Length != info.Subscriptions[0].Pending || int(info.Length) != stored(t, e, tagMessage, "q") {
			t.Errorf("from %+v: %+v", c.to, info)
		}
	}
	shut(t, e)
}

func TestPause(t *testing.T) {
	clock := newClock()
	set := settings{fs: vfs.NewMem(), reserve: 1, now: clock.now}
	e := mustOpen(t, "db", set)
	ids := publish(t, e, "a", bodies(0, 4)...)
	join(t, e, "a", "s", driver.JoinConfig{Lease: time.Minute})
	fetch(t, e, "a", "s", "c", 3)
	pause(t, e, true)
	pause(t, e, true)
	settle(t, e, "a", "s", "c", each(driver.Acknowledge, ids[0])...)
	settle(t, e, "a", "s", "c", each(driver.Renew, ids[1])...)
	settle(t, e, "a", "s", "c", each(driver.Retry, ids[2])...)
	clock.at = clock.at.Add(time.Hour)
	for range 2 {
		for _, again := range []bool{false, true} {
			f, err := e.Fetch(t.Context(), "a", "s", driver.FetchRequest{Consumer: "c", Max: 9, Recover: again})
			if err != nil || len(f.Messages) > 0 || f.More || f.Next != 0 || f.Lease != time.Minute {
				t.Errorf("while paused: %+v, %v", f, err)
			}
		}
		if s := topicInfo(t, e, "a").Subscriptions[0]; !s.Paused || s.Pending != 1 || s.Waiting != 1 || s.Lag != 1 {
			t.Errorf("%+v", s)
		}
		shut(t, e)
		e = mustOpen(t, "db", set)
	}
	hints, stop := e.Watch("a")
	defer stop()
	pause(t, e, false)
	if !hinted(hints) {
		t.Error("no hint when it goes on")
	}
	pause(t, e, false)
	if hinted(hints) {
		t.Error("a hint although nothing changed")
	}
	f := fetch(t, e, "a", "s", "d", 9)
	got := text(f.Messages)
	if got != "2/2 1/2 3/1 " || topicInfo(t, e, "a").Subscriptions[0].Paused {
		t.Errorf("afterwards: %q", got)
	}
	shut(t, e)
}

func TestPurge(t *testing.T) {
	set := inMemory()
	e := mustOpen(t, "db", set)
	ids := publish(t, e, "a", bodies(0, 8)...)
	join(t, e, "a", "s", driver.JoinConfig{})
	join(t, e, "a", "unread", driver.JoinConfig{})
	fetch(t, e, "a", "s", "c", 5)
	die(t, e, "c", ids[0], ids[4])
	settle(t, e, "a", "s", "c", each(driver.Retry, ids[1])...)
	exhume(t, requeuing(t, e), ids[4])
	hints, stop := e.Watch("a")
	n, err := e.Purge(t.Context(), "a")
	if n != 8 || err != nil || !hinted(hints) {
		t.Errorf("purged %d, %v", n, err)
	}
	stop()
	if n, err := e.Purge(t.Context(), "a"); n != 0 || err != nil {
		t.Errorf("purged %d again, %v", n, err)
	}
	for range 2 {
		info := topicInfo(t, e, "a")
		if info.Length != 0 || info.FirstID != "" || info.LastID != ids[7] || info.Dropped != 0 {
			t.Errorf("%+v", info)
		}
		for _, s := range info.Subscriptions {
			if s.Lag+s.Pending+s.Waiting+s.Lost != 0 || s.LastDelivered != ids[7] || s.Dead != map[string]int64{"s": 1}[s.Name] {
				t.Errorf("%+v", s)
			}
		}
		if p := read(t, e, "a", driver.Position{Kind: driver.AtID, ID: ids[2]}, 9); len(p.Messages) > 0 || p.Last != ids[7] {
			t.Errorf("a follower reads %+v", p)
		}
		if notHeld := settle(t, e, "a", "s", "c", each(driver.Acknowledge, ids[1], ids[2])...); len(notHeld) != 2 {
			t.Errorf("not held: %v", notHeld)
		}
		for _, tag := range []byte{tagMessage, tagGroup, tagPending, tagCopy} {
			if n := stored(t, e, tag, "a"); n > 0 {
				t.Errorf("%d records are left in table %c", n, tag)
			}
		}
		shut(t, e)
		e = mustOpen(t, "db", set)
	}
	publish(t, e, "a", bodies(8, 2)...)
	exhume(t, requeuing(t, e), ids[0])
	if got := text(fetch(t, e, "a", "s", "c", 9).Messages); got != "0/1 8/1 9/1 " {
		t.Errorf("fetched %q", got)
	}
	if got := text(fetch(t, e, "a", "unread", "c", 9).Messages); got != "8/1 9/1 " {
		t.Errorf("fetched %q", got)
	}
	shut(t, e)
}

func TestPurgeQueue(t *testing.T) {
	set := inMemory()
	e := mustOpen(t, "db", set)
	makeQueue(t, e, "q")
	ids := publish(t, e, "q", bodies(0, 5)...)
	fetch(t, e, "q", workers, "c", 3)
	settle(t, e, "q", workers, "c", each(driver.Acknowledge, ids[1])...)
	if n, err := e.Purge(t.Context(), "q"); n != 4 || err != nil {
		t.Errorf("purged %d, %v", n, err)
	}
	publish(t, e, "q", bodies(5, 2)...)
	shut(t, e)
	e = mustOpen(t, "db", set)
	if got := text(fetch(t, e, "q", workers, "c", 9).Messages); got != "5/1 6/1 " || topicInfo(t, e, "q").Length != 2 {
		t.Errorf("fetched %q", got)
	}
	shut(t, e)
}

// What is delivered again and taken from the consumer before it was read is left
// out; what is missing though it is needed is told.
func TestGoneBeforeRead(t *testing.T) {
	e := open(t, "db", inMemory())
	ids := publish(t, e, "a", bodies(0, 3)...)
	join(t, e, "a", "s", driver.JoinConfig{})
	fetch(t, e, "a", "s", "c", 3)
	die(t, e, "c", ids[2])
	settle(t, e, "a", "s", "c", each(driver.Release, ids[0], ids[1])...)
	again := func() *fetching {
		f := &fetching{
			engine: e, topic: e.find("a"), sub: e.find("a").subs["s"], req: driver.FetchRequest{Consumer: "d", Max: 9},
		}
		if err := errors.Join(f.readAhead(), e.submit(t.Context(), &request{decide: f.decide})); err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := again()
	settle(t, e, "a", "s", "d", each(driver.Acknowledge, ids[0])...)
	if _, err := e.Trim(t.Context(), "a", driver.Position{Kind: driver.AtID, ID: ids[1]}); err != nil {
		t.Fatal(err)
	}
	if err := f.readAgain(t.Context()); err != nil || text(f.fetched.Messages) != "1/1 " {
		t.Errorf("got %q, %v", text(f.fetched.Messages), err)
	}

	settle(t, e, "a", "s", "d", each(driver.Release, ids[1])...)
	f = again()
	id := f.again[0].id
	if err := e.submit(t.Context(), &request{decide: func(tx *transaction) error {
		tx.delete(idKey(id, tagMessage, "a"))
		return nil
	}}); err != nil {
		t.Fatal(err)
	}
	if err := f.readAgain(t.Context()); !errors.Is(err, driver.ErrCorrupt) {
		t.Errorf("a missing message: %v", err)
	}
	if _, err := e.Peek(t.Context(), "a", "s", driver.PeekRequest{State: driver.Held, Max: 9}); !errors.Is(err, driver.ErrCorrupt) {
		t.Errorf("a missing message, looked at: %v", err)
	}
	if _, err := e.Settle(t.Context(), "a", "s", "d", each(driver.DeadLetter, ids[1])); !errors.Is(err, driver.ErrCorrupt) {
		t.Errorf("a missing message, to be a dead letter: %v", err)
	}
}

func TestSteerUnknown(t *testing.T) {
	e := open(t, "db", inMemory())
	join(t, e, "a", "s", driver.JoinConfig{})
	ctx := t.Context()
	calls := map[string]func(topic, sub string) error{
		"seek":  func(topic, sub string) error { return e.Seek(ctx, topic, sub, driver.Position{}) },
		"pause": func(topic, sub string) error { return e.Pause(ctx, topic, sub, true) },
		"peek": func(topic, sub string) error {
			_, err := e.Peek(ctx, topic, sub, driver.PeekRequest{State: driver.Held, Max: 1})
			return err
		},
	}
	for name, call := range calls {
		if err := call("none", "s"); !errors.Is(err, driver.ErrTopicNotFound) {
			t.Errorf("%s, no topic: %v", name, err)
		}
		if err := call("a", "none"); !errors.Is(err, driver.ErrSubscriptionNotFound) {
			t.Errorf("%s, no subscription: %v", name, err)
		}
	}
	if _, err := e.Purge(ctx, "none"); !errors.Is(err, driver.ErrTopicNotFound) {
		t.Errorf("purge, no topic: %v", err)
	}
	if _, err := e.Outstanding(ctx, "a", "none", nil); !errors.Is(err, driver.ErrSubscriptionNotFound) {
		t.Errorf("outstanding, no subscription: %v", err)
	}
	for _, to := range []driver.Position{{Kind: driver.AtID, ID: "x"}, {Kind: driver.AtID, ID: "99-1"}, {Kind: 99}} {
		if err := e.Seek(ctx, "a", "s", to); !errors.Is(err, driver.ErrPosition) {
			t.Errorf("seek to %+v: %v", to, err)
		}
	}
}
