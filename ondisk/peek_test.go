package ondisk

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// pages peeks page by page, and calls between before each further page.
func pages(t *testing.T, e *engine, state driver.State, limit int, between func(last string)) string {
	t.Helper()
	all, after := "", ""
	for range 100 {
		p := peek(t, e, state, after, limit)
		if len(p.Entries) > 0 {
			after = p.Entries[len(p.Entries)-1].Message.ID
		}
		if !p.More {
			return all + shown(p)
		}
		all += shown(p) + " "
		if between != nil {
			between(after)
		}
	}
	t.Fatal("there is no end to the pages")
	return ""
}

func TestPeek(t *testing.T) {
	clock := newClock()
	set := settings{fs: vfs.NewMem(), reserve: 1, now: clock.now}
	e := mustOpen(t, "db", set)
	began := clock.at
	ids := publish(t, e, "a", bodies(0, 12)...)
	join(t, e, "a", "s", driver.JoinConfig{Lease: time.Minute})
	later := func() time.Time { clock.at = clock.at.Add(time.Second); return clock.at }
	fetched := later()
	fetch(t, e, "a", "s", "c", 4)
	fetch(t, e, "a", "s", "d", 6)
	waits := later()
	for i, after := range map[int]time.Duration{4: time.Hour, 6: time.Minute, 1: 30 * time.Minute} {
		consumer := "d"
		if i < 4 {
			consumer = "c"
		}
		settle(t, e, "a", "s", consumer, driver.Settlement{ID: ids[i], Do: driver.Retry, After: after, Reason: fmt.Sprint("no ", i)})
	}
	later()
	settle(t, e, "a", "s", "c", each(driver.Renew, ids[2])...)
	died := later()
	die(t, e, "d", ids[8], ids[5], ids[7])
	for range 2 {
		for state, want := range map[driver.State]string{
			driver.Ready: "10 11", driver.Held: "0/1 2/1 3/1 9/1", driver.Waiting: "6/1 1/1 4/1", driver.Buried: "8/1 5/1 7/1",
		} {
			for limit := 1; limit < 6; limit++ {
				got := pages(t, e, state, limit, nil)
				for plus := 0; plus < 6; plus++ {
					got = removePlus(got)
				}
				if got != want {
					t.Errorf("%s by %d: %q, want %q", state, limit, got, want)
				}
			}
		}
		ready, held := peek(t, e, driver.Ready, "", 9).Entries[0], peek(t, e, driver.Held, "", 9).Entries
		waiting, dead := peek(t, e, driver.Waiting, "", 9).Entries[0], peek(t, e, driver.Buried, "", 9).Entries[0]
		if ready.State != driver.Ready || !ready.Since.Equal(began) || !ready.Due.IsZero() || ready.Consumer != "" {
			t.Errorf("ready: %+v", ready)
		}
		if h := held[1]; h.State != driver.Held || h.Consumer != "c" || !h.Since.Equal(fetched) || !h.Due.Equal(fetched.Add(2*time.Second+time.Minute)) {
			t.Errorf("held, renewed: %+v", h)
		}
		if h := held[3]; h.Consumer != "d" || !h.Since.Equal(fetched) || !h.Due.Equal(fetched.Add(time.Minute)) || h.Message.ID != ids[9] {
			t.Errorf("held: %+v", h)
		}
		if w := waiting; w.State != driver.Waiting || !w.Since.Equal(waits) || !w.Due.Equal(waits.Add(time.Minute)) || w.Reason != "no 6" {
			t.Errorf("waiting: %+v", w)
		}
		if d := dead; d.State != driver.Buried || d.Consumer != "d" || !d.Since.Equal(died) || !d.Due.IsZero() || d.Reason != "bad "+ids[8] {
			t.Errorf("dead: %+v", d)
		}
		shut(t, e)
		e = mustOpen(t, "db", set)
	}
	// The reason of the last retry stays with the next delivery.
	clock.at = clock.at.Add(2 * time.Minute)
	fetch(t, e, "a", "s", "d", 9)
	if h := peek(t, e, driver.Held, ids[4], 1).Entries[0]; h.Message.ID != ids[6] || h.Reason != "no 6" || !h.Since.Equal(clock.at) {
		t.Errorf("held again: %+v", h)
	}
	shut(t, e)
}

func removePlus(s string) string {
	for i := 0; i+1 < len(s); i++ {
		if s[i:i+2] == " +" {
			return s[:i] + s[i+2:]
		}
	}
	return s
}

// Entries that have gone since they were shown leave out none behind them.
func TestPeekBehindGone(t *testing.T) {
	clock := newClock()
	e := open(t, "db", settings{fs: vfs.NewMem(), reserve: 1, now: clock.now})
	ids := publish(t, e, "a", bodies(0, 30)...)
	join(t, e, "a", "s", driver.JoinConfig{Lease: time.Hour})
	fetch(t, e, "a", "s", "c", 30)
	die(t, e, "c", ids[9], ids[3], ids[6], ids[0], ids[1])
	got := pages(t, e, driver.Buried, 2, func(last string) { exhume(t, dropping(t, e), last) })
	if got != "9/1 3/1 + 6/1 0/1 + 1/1" {
		t.Errorf("dead: %q", got)
	}
	for i, after := range []int{14, 12, 10, 13, 11} {
		settle(t, e, "a", "s", "c", driver.Settlement{ID: ids[after], Do: driver.Retry, After: time.Duration(i+1) * time.Second})
	}
	fetched := ""
	got = pages(t, e, driver.Waiting, 2, func(string) {
		// The first one is taken. Then those behind the second follow.
		clock.at = clock.at.Add(2 * time.Second)
		fetched += text(fetch(t, e, "a", "s", "d", 9).Messages)
	})
	if got != "14/1 12/1 + 10/1 13/1 + 11/1" || fetched != "14/2 12/2 10/2 13/2 " {
		t.Errorf("waiting: %q, of which were fetched %q", got, fetched)
	}
	// Once it is not known any more where they stood, some are shown again.
	if got := shown(peek(t, e, driver.Waiting, ids[20], 9)); got != "11/1" {
		t.Errorf("behind one that never waited: %q", got)
	}
	got = pages(t, e, driver.Held, 4, func(last string) { settle(t, e, "a", "s", "c", each(driver.Acknowledge, last)...) })
	if got != "2/1 4/1 5/1 7/1 + 8/1 10/2 12/2 13/2 + 14/2 15/1 16/1 17/1 + 18/1 19/1 20/1 21/1 + 22/1 23/1 24/1 25/1 + 26/1 27/1 28/1 29/1" {
		t.Errorf("held: %q", got)
	}
	s := e.state.topics["a"].subs["s"]
	for i := range uint64(3 * maxSeen) {
		s.seen.add(driver.Waiting, rank{at: someID, id: streamid.ID{Seq: i}})
	}
	if n := len(s.seen.places); n > maxSeen {
		t.Errorf("%d places are remembered", n)
	}
}

func TestPeekRefused(t *testing.T) {
	e := open(t, "db", inMemory())
	join(t, e, "a", "s", driver.JoinConfig{})
	for _, state := range []driver.State{driver.Ready, driver.Held, driver.Waiting, driver.Buried} {
		if _, err := e.Peek(t.Context(), "a", "s", driver.PeekRequest{State: state, After: "x", Max: 1}); !errors.Is(err, driver.ErrPosition) {
			t.Errorf("%s after a bad id: %v", state, err)
		}
		if p := peek(t, e, state, "", 1); len(p.Entries) > 0 || p.More {
			t.Errorf("%s of nothing: %+v", state, p)
		}
	}
	if _, err := e.Peek(t.Context(), "a", "s", driver.PeekRequest{State: "odd", Max: 1}); err == nil {
		t.Error("an unknown state is no error")
	}
}

func TestOutstanding(t *testing.T) {
	set := inMemory()
	e := mustOpen(t, "db", set)
	ids := publish(t, e, "a", bodies(0, 8)...)
	join(t, e, "a", "s", driver.JoinConfig{From: driver.Position{Kind: driver.AtID, ID: ids[0]}})
	fetch(t, e, "a", "s", "c", 5)
	settle(t, e, "a", "s", "c", each(driver.Acknowledge, ids[1])...)
	settle(t, e, "a", "s", "c", driver.Settlement{ID: ids[2], Do: driver.Retry, After: time.Hour})
	settle(t, e, "a", "s", "c", each(driver.Renew, ids[3])...)
	die(t, e, "c", ids[4])
	check := func(when string, want map[int]driver.State) {
		t.Helper()
		open, err := e.Outstanding(t.Context(), "a", "s", ids)
		expected := map[string]driver.State{}
		for i, state := range want {
			expected[ids[i]] = state
		}
		if err != nil || !maps.Equal(open, expected) {
			t.Errorf("%s: %v, want %v, %v", when, open, expected, err)
		}
	}
	all := map[int]driver.State{
		2: driver.Waiting, 3: driver.Held, 4: driver.Buried, 5: driver.Held, 6: driver.Ready, 7: driver.Ready,
	}
	for range 2 {
		check("at first", all)
		shut(t, e)
		e = mustOpen(t, "db", set)
	}
	exhume(t, requeuing(t, e), ids[4])
	all[4] = driver.Waiting
	check("requeued", all)
	if _, err := e.Outstanding(t.Context(), "a", "s", []string{"x"}); !errors.Is(err, driver.ErrPosition) {
		t.Errorf("a bad id: %v", err)
	}
	ahead := fmt.Sprintf("%013d-0000", time.Now().Add(time.Hour).UnixMilli())
	if _, err := e.Outstanding(t.Context(), "a", "s", []string{ahead}); !errors.Is(err, driver.ErrPosition) {
		t.Errorf("an id ahead of the topic: %v", err)
	}
	seek(t, e, driver.Position{Kind: driver.End})
	check("skipped", nil)
	seek(t, e, driver.Position{Kind: driver.AtID, ID: ids[5]})
	check("back", map[int]driver.State{6: driver.Ready, 7: driver.Ready})
	if _, err := e.Purge(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	check("purged", nil)
	shut(t, e)
}
