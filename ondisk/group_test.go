package ondisk

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// records counts the records of a table that are about subscription s of topic a.
func records(t *testing.T, e *engine, tag byte) int {
	t.Helper()
	n := 0
	if err := e.scan(tableKey(tag, "a", "s"), func(_, _ []byte) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// The messages of one Fetch share a record for as long as nothing else comes of
// them than their end.
func TestGroupRecords(t *testing.T) {
	clock := newClock()
	e := open(t, "db", settings{fs: vfs.NewMem(), reserve: 1, now: clock.now})
	ids := publish(t, e, "a", bodies(0, 20)...)
	join(t, e, "a", "s", driver.JoinConfig{Lease: time.Minute})
	check := func(when string, groups, single int) {
		t.Helper()
		if g, p := records(t, e, tagGroup), records(t, e, tagPending); g != groups || p != single {
			t.Errorf("%s: %d groups and %d single entries, want %d and %d", when, g, p, groups, single)
		}
	}
	each := func(ids []string, do driver.Action) (list []driver.Settlement) {
		for _, id := range ids {
			list = append(list, driver.Settlement{ID: id, Do: do})
		}
		return list
	}
	fetch(t, e, "a", "s", "c", 8)
	fetch(t, e, "a", "s", "c", 12)
	check("delivered", 2, 0)
	settle(t, e, "a", "s", "c", each(ids[:4], driver.Acknowledge)...)
	check("half of the first acknowledged", 2, 0)
	settle(t, e, "a", "s", "c", each(ids[4:8], driver.DeadLetter)...)
	check("the rest dead", 1, 0)
	settle(t, e, "a", "s", "c", each(ids[8:10], driver.Renew)...)
	check("two renewed", 1, 2)
	settle(t, e, "a", "s", "c", each(ids[10:12], driver.Retry)...)
	check("two to be retried", 1, 4)
	if notHeld := settle(t, e, "a", "s", "c", each(ids[:12], driver.Acknowledge)...); !slices.Equal(notHeld, slices.Concat(ids[:8], ids[10:12])) {
		t.Errorf("not held: %v", notHeld)
	}
	check("the renewed acknowledged", 1, 2)
	clock.at = clock.at.Add(time.Hour)
	if got := text(fetch(t, e, "a", "s", "d", 6).Messages); got != "10/2 11/2 12/2 13/2 14/2 15/2 " {
		t.Errorf("delivered again: %q", got)
	}
	check("some delivered again", 1, 6)
	if n := len(fetch(t, e, "a", "s", "d", 6).Messages); n != 4 {
		t.Errorf("%d of the rest", n)
	}
	check("all delivered again", 0, 10)
}

// What is damaged about a group is found when its topic is first used.
func TestDamagedGroups(t *testing.T) {
	key := func(id string, tag byte, names ...string) []byte {
		parsed, _ := streamid.Parse(id)
		return idKey(parsed, tag, names...)
	}
	group := func(first uint64, count int) []byte {
		return (&groupRecord{first: first, owner: "c", gone: make([]bool, count)}).encode()
	}
	cases := map[string]func(b *pebble.Batch, ids []string) error{
		"a message missing": func(b *pebble.Batch, ids []string) error {
			return b.Delete(key(ids[3], tagMessage, "a"), nil)
		},
		"in two groups": func(b *pebble.Batch, ids []string) error {
			return b.Set(key(ids[3], tagGroup, "a", "s"), group(4, 2), nil)
		},
		"in a group and single": func(b *pebble.Batch, ids []string) error {
			return b.Set(key(ids[3], tagPending, "a", "s"), (&pendingRecord{attempt: 1}).encode(), nil)
		},
		"ahead of the subscription": func(b *pebble.Batch, ids []string) error {
			return b.Set(key(ids[0], tagGroup, "a", "s"), group(1, 7), nil)
		},
		"other numbers": func(b *pebble.Batch, ids []string) error {
			return b.Set(key(ids[0], tagGroup, "a", "s"), group(2, 3), nil)
		},
		"all gone": func(b *pebble.Batch, ids []string) error {
			return b.Set(key(ids[0], tagGroup, "a", "s"), (&groupRecord{first: 1, gone: []bool{true}}).encode(), nil)
		},
		"behind the cursor": func(b *pebble.Batch, ids []string) error {
			return b.Set(key(ids[7], tagGroup, "a", "s"), group(6, 1), nil)
		},
	}
	for name, damage := range cases {
		t.Run(name, func(t *testing.T) {
			set := settings{fs: vfs.NewMem(), reserve: 1}
			e := mustOpen(t, "db", set)
			ids := publish(t, e, "a", bodies(0, 10)...)
			join(t, e, "a", "s", driver.JoinConfig{})
			fetch(t, e, "a", "s", "c", 6)
			b := e.db.NewBatch()
			if err := errors.Join(damage(b, ids), b.Commit(pebble.Sync)); err != nil {
				t.Fatal(err)
			}
			shut(t, e)
			e = open(t, "db", set)
			_, err := e.Fetch(t.Context(), "a", "s", driver.FetchRequest{Consumer: "c", Max: 1})
			if !errors.Is(err, driver.ErrCorrupt) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// What is needed is found without a look at all that was settled.
func TestFrontOfGroups(t *testing.T) {
	e := open(t, "db", inMemory())
	ids := publish(t, e, "a", bodies(0, 1000)...)
	join(t, e, "a", "s", driver.JoinConfig{})
	for range ids {
		fetch(t, e, "a", "s", "c", 1)
	}
	settle(t, e, "a", "s", "c", each(driver.Acknowledge, ids[:400]...)...)
	settle(t, e, "a", "s", "c", each(driver.Acknowledge, ids[401:500]...)...)
	err := e.submit(t.Context(), &request{decide: func(*transaction) error {
		s := e.state.topics["a"].subs["s"]
		if len(s.groups) != 600 || s.groups[0].left != 1 || s.emptied != 99 || s.grouped != 501 {
			t.Errorf("%d groups, %d of them empty, the first has %d; %d messages", len(s.groups), s.emptied, s.groups[0].left, s.grouped)
		}
		return nil
	}})
	if err != nil {
		t.Error(err)
	}
	settle(t, e, "a", "s", "c", each(driver.Acknowledge, ids[400])...)
	if removed, err := e.Trim(t.Context(), "a", driver.Position{Kind: driver.End}); removed != 500 || err != nil {
		t.Errorf("trimmed %d, %v", removed, err)
	}
	settle(t, e, "a", "s", "c", each(driver.Acknowledge, ids[500:]...)...)
	audit(t, e)
}
