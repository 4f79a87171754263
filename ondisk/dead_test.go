package ondisk

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// exhume calls Requeue or Drop.
func exhume(t testing.TB, do func(string, string, []string) ([]string, error), ids ...string) (missing []string) {
	t.Helper()
	missing, err := do("a", "s", ids)
	if err != nil {
		t.Fatalf("exhume: %v", err)
	}
	return missing
}

func requeuing(t testing.TB, e *engine) func(string, string, []string) ([]string, error) {
	return func(topic, sub string, ids []string) ([]string, error) {
		return e.Requeue(t.Context(), topic, sub, ids)
	}
}

func dropping(t testing.TB, e *engine) func(string, string, []string) ([]string, error) {
	return func(topic, sub string, ids []string) ([]string, error) { return e.Drop(t.Context(), topic, sub, ids) }
}

func peek(t testing.TB, e *engine, state driver.State, after string, limit int) driver.Peeked {
	t.Helper()
	p, err := e.Peek(t.Context(), "a", "s", driver.PeekRequest{State: state, After: after, Max: limit})
	if err != nil {
		t.Fatalf("peek %s: %v", state, err)
	}
	return p
}

// shown is the bodies and attempts of entries, with a + if there are more.
func shown(p driver.Peeked) string {
	var list []driver.Message
	for _, e := range p.Entries {
		list = append(list, e.Message)
	}
	s := strings.TrimSpace(text(list))
	if p.More {
		s += " +"
	}
	return s
}

// die makes dead letters of what a consumer holds.
func die(t testing.TB, e *engine, consumer string, ids ...string) {
	t.Helper()
	for _, id := range ids {
		s := driver.Settlement{ID: id, Do: driver.DeadLetter, Reason: "bad " + id}
		if notHeld := settle(t, e, "a", "s", consumer, s); len(notHeld) > 0 {
			t.Fatalf("%s is not held", id)
		}
	}
}

// What is requeued is delivered from its copy: the topic may have lost it, and
// the engine may have been restarted in any state of it.
func TestRequeueFromCopy(t *testing.T) {
	clock := newClock()
	set := settings{fs: vfs.NewMem(), reserve: 1, now: clock.now}
	e := mustOpen(t, "db", set)
	restart := func() { shut(t, e); e = mustOpen(t, "db", set) }
	m := driver.Message{Key: "k", Headers: map[string]string{"h": "v"}, Body: []byte("0")}
	ids := append(publish(t, e, "a", m), publish(t, e, "a", bodies(1, 4)...)...)
	join(t, e, "a", "s", driver.JoinConfig{Lease: time.Minute})
	join(t, e, "a", "other", driver.JoinConfig{From: driver.Position{Kind: driver.End}})
	fetch(t, e, "a", "s", "c", 5)
	die(t, e, "c", ids[0], ids[1], ids[2])
	settle(t, e, "a", "s", "c", each(driver.Acknowledge, ids[3:]...)...)
	if n, err := e.Trim(t.Context(), "a", driver.Position{Kind: driver.End}); n != 5 || err != nil {
		t.Fatalf("trimmed %d, %v", n, err)
	}
	restart()

	hints, stop := e.Watch("a")
	defer stop()
	if missing := exhume(t, requeuing(t, e), ids[1], "x", ids[0], ids[0], ids[4]); !slices.Equal(missing, []string{"x", ids[4]}) {
		t.Errorf("missing: %v", missing)
	}
	select {
	case <-hints:
	default:
		t.Error("no hint")
	}
	restart()
	info := topicInfo(t, e, "a")
	if s := info.Subscriptions[1]; s.Waiting != 2 || s.Dead != 1 || s.Pending != 0 || s.Lag != 0 || info.Length != 0 {
		t.Errorf("%+v", info)
	}
	if got := text(fetch(t, e, "a", "other", "c", 5).Messages); got != "" {
		t.Errorf("the other subscription got %q", got)
	}
	f := fetch(t, e, "a", "s", "c", 1)
	if got := f.Messages[0]; text(f.Messages) != "0/1 " || !f.More || got.ID != ids[0] || got.Key != "k" || got.Headers["h"] != "v" || !got.Time.Equal(clock.at.UTC()) {
		t.Errorf("fetched %+v", f)
	}
	restart()
	// Renewed, retried, its lease ended, recovered: it stays a copy.
	settle(t, e, "a", "s", "c", each(driver.Renew, ids[0])...)
	settle(t, e, "a", "s", "c", each(driver.Retry, ids[0])...)
	if got := text(fetch(t, e, "a", "s", "c", 5).Messages); got != "0/2 1/1 " {
		t.Errorf("retried: %q", got)
	}
	restart()
	clock.at = clock.at.Add(time.Hour)
	if got := text(fetch(t, e, "a", "s", "d", 1).Messages); got != "0/3 " && got != "1/2 " {
		t.Errorf("after the lease: %q", got)
	}
	fetch(t, e, "a", "s", "d", 5)
	f, err := e.Fetch(t.Context(), "a", "s", driver.FetchRequest{Consumer: "d", Max: 5, Recover: true})
	if got := text(f.Messages); err != nil || got != "0/4 1/3 " {
		t.Errorf("recovered: %q, %v", got, err)
	}
	// One dies again, the other is done; nothing is left of either copy.
	die(t, e, "d", ids[0])
	settle(t, e, "a", "s", "d", each(driver.Acknowledge, ids[1])...)
	restart()
	if s := topicInfo(t, e, "a").Subscriptions[1]; s.Dead != 2 || s.Waiting+s.Pending != 0 {
		t.Errorf("%+v", s)
	}
	if p, k := records(t, e, tagPending), records(t, e, tagCopy); p+k != 0 {
		t.Errorf("%d entries and %d copies are left", p, k)
	}
	if got := shown(peek(t, e, driver.Buried, "", 9)); got != "2/1 0/4" {
		t.Errorf("dead: %q", got)
	}
	shut(t, e)
}

func TestDrop(t *testing.T) {
	e := open(t, "db", inMemory())
	ids := publish(t, e, "a", bodies(0, 4)...)
	join(t, e, "a", "s", driver.JoinConfig{})
	fetch(t, e, "a", "s", "c", 4)
	die(t, e, "c", ids[:3]...)
	if missing := exhume(t, dropping(t, e), ids[1], ids[3], ids[1]); !slices.Equal(missing, ids[3:]) {
		t.Errorf("missing: %v", missing)
	}
	if missing := exhume(t, requeuing(t, e), ids[1]); !slices.Equal(missing, ids[1:2]) {
		t.Errorf("requeued what was dropped: %v missing", missing)
	}
	if missing := exhume(t, dropping(t, e), ids[0], ids[2]); len(missing) > 0 {
		t.Errorf("missing: %v", missing)
	}
	if d, b, n := records(t, e, tagDead), records(t, e, tagBurial), topicInfo(t, e, "a").Subscriptions[0].Dead; d+b+int(n) != 0 {
		t.Errorf("%d letters, %d places, and a count of %d are left", d, b, n)
	}
}

// Much is requeued in several transactions.
func TestRequeueLarge(t *testing.T) {
	e := open(t, "db", inMemory())
	join(t, e, "a", "s", driver.JoinConfig{})
	messages := bodies(0, 20)
	for i := range messages {
		messages[i].Body = slices.Concat(messages[i].Body, make([]byte, 1<<20))
	}
	ids := publish(t, e, "a", messages...)
	for left := ids; len(left) > 0; {
		got := idsOf(fetch(t, e, "a", "s", "c", 20).Messages)
		die(t, e, "c", got...)
		left = left[len(got):]
	}
	before := e.state.global.commits
	p := peek(t, e, driver.Buried, "", 100)
	if n := len(p.Entries); n < 2 || n > 6 || !p.More {
		t.Errorf("%d of 20 dead letters of 1 MiB each at once, more: %v", n, p.More)
	}
	if missing := exhume(t, requeuing(t, e), append(ids, "none")...); !slices.Equal(missing, []string{"none"}) {
		t.Errorf("missing: %v", missing)
	}
	if n := e.state.global.commits - before; n < 3 {
		t.Errorf("all in %d batches", n)
	}
	if s := topicInfo(t, e, "a").Subscriptions[0]; s.Waiting != 20 || s.Dead != 0 {
		t.Errorf("%+v", s)
	}
	if p := peek(t, e, driver.Waiting, "", 100); len(p.Entries) > 20 || !p.More {
		t.Errorf("%d waiting messages of 1 MiB each at once", len(p.Entries))
	}
}

// A message that comes again anyhow does not come twice, and one that dies twice
// is one dead letter, the newest.
func TestDiesTwice(t *testing.T) {
	e := open(t, "db", inMemory())
	ids := publish(t, e, "a", bodies(0, 4)...)
	join(t, e, "a", "s", driver.JoinConfig{})
	seek := func() {
		t.Helper()
		if err := e.Seek(t.Context(), "a", "s", driver.Position{}); err != nil {
			t.Fatal(err)
		}
	}
	fetch(t, e, "a", "s", "c", 3)
	die(t, e, "c", ids[1], ids[2], ids[0])
	seek()
	if got := shown(peek(t, e, driver.Buried, "", 9)); got != "1/1 2/1 0/1" {
		t.Errorf("dead after a seek: %q", got)
	}
	fetch(t, e, "a", "s", "d", 2)
	exhume(t, requeuing(t, e), ids[0], ids[2]) // held, and ready
	if s := topicInfo(t, e, "a").Subscriptions[0]; s.Dead != 1 || s.Waiting != 0 || s.Pending != 2 || s.Lag != 2 {
		t.Errorf("%+v", s)
	}
	if got := text(fetch(t, e, "a", "s", "d", 9).Messages); got != "2/1 3/1 " {
		t.Errorf("fetched %q", got)
	}
	die(t, e, "d", ids[0], ids[1])
	p := peek(t, e, driver.Buried, "", 9)
	if got := shown(p); got != "0/1 1/1" || p.Entries[1].Consumer != "d" || topicInfo(t, e, "a").Subscriptions[0].Dead != 2 {
		t.Errorf("dead: %q, %+v", got, p)
	}
	if b := records(t, e, tagBurial); b != 2 {
		t.Errorf("%d places for 2 dead letters", b)
	}

	// It is ready once more, but gone from the topic: then its copy comes.
	settle(t, e, "a", "s", "d", each(driver.Acknowledge, ids[2:]...)...)
	if _, err := e.Trim(t.Context(), "a", driver.Position{Kind: driver.End}); err != nil {
		t.Fatal(err)
	}
	seek()
	exhume(t, requeuing(t, e), ids[1])
	if got := text(fetch(t, e, "a", "s", "d", 9).Messages); got != "1/1 " {
		t.Errorf("fetched %q", got)
	}
}

// A queue removes a task that died; it comes back from its copy, and is gone when
// it is done.
func TestRequeueInQueue(t *testing.T) {
	set := inMemory()
	e := mustOpen(t, "db", set)
	makeQueue(t, e, "q")
	ids := publish(t, e, "q", bodies(0, 3)...)
	fetch(t, e, "q", workers, "c", 3)
	settle(t, e, "q", workers, "c", each(driver.DeadLetter, ids[:2]...)...)
	for _, want := range []string{"0/1 ", "0/1 "} {
		if missing, err := e.Requeue(t.Context(), "q", workers, ids[:1]); err != nil || len(missing) > 0 {
			t.Fatalf("missing %v, %v", missing, err)
		}
		shut(t, e)
		e = mustOpen(t, "db", set)
		if got := text(fetch(t, e, "q", workers, "c", 3).Messages); got != want {
			t.Errorf("fetched %q", got)
		}
		settle(t, e, "q", workers, "c", each(driver.DeadLetter, ids[0])...)
	}
	if _, err := e.Requeue(t.Context(), "q", workers, ids[:2]); err != nil {
		t.Fatal(err)
	}
	fetch(t, e, "q", workers, "c", 3)
	settle(t, e, "q", workers, "c", each(driver.Acknowledge, ids...)...)
	info := topicInfo(t, e, "q")
	if s := info.Subscriptions[0]; info.Length != 0 || s.Pending+s.Waiting+s.Dead != 0 {
		t.Errorf("%+v", info)
	}
	for _, tag := range []byte{tagMessage, tagPending, tagCopy, tagDead, tagBurial, tagGroup} {
		if n := stored(t, e, tag, "q"); n != 0 {
			t.Errorf("%d records are left in table %c", n, tag)
		}
	}
	shut(t, e)
}

func TestExhumeUnknown(t *testing.T) {
	e := open(t, "db", inMemory())
	join(t, e, "a", "s", driver.JoinConfig{})
	for name, do := range map[string]func(string, string, []string) ([]string, error){"requeue": requeuing(t, e), "drop": dropping(t, e)} {
		if _, err := do("none", "s", []string{"1-1"}); !errors.Is(err, driver.ErrTopicNotFound) {
			t.Errorf("%s in a topic that is not there: %v", name, err)
		}
		if _, err := do("a", "none", []string{"1-1"}); !errors.Is(err, driver.ErrSubscriptionNotFound) {
			t.Errorf("%s in a subscription that is not there: %v", name, err)
		}
		if missing, err := do("a", "s", nil); err != nil || len(missing) > 0 {
			t.Errorf("%s of nothing: %v, %v", name, missing, err)
		}
	}
}

// Dead letters of format 1 can be seen, requeued and dropped like others.
func TestLettersOfFormat1(t *testing.T) {
	const want = "3/1 2/1 1/1 0/1"
	for _, first := range []string{"peek", "die", "requeue"} {
		t.Run(first, func(t *testing.T) {
			e, ids := withFormerLetters(t)
			left := want
			switch first {
			case "peek":
				if got := shown(peek(t, e, driver.Buried, "", 9)); got != want {
					t.Errorf("dead: %q", got)
				}
			case "requeue":
				exhume(t, requeuing(t, e), ids[1])
				left = "3/1 2/1 0/1"
			}
			die(t, e, "c", ids[4])
			p := peek(t, e, driver.Buried, "", 9)
			if got := shown(p); got != left+" 4/1" || p.Entries[0].Reason != "old" || p.Entries[0].Consumer != "" {
				t.Errorf("dead: %q %+v", got, p.Entries[0])
			}
			exhume(t, requeuing(t, e), ids[3], ids[0])
			exhume(t, dropping(t, e), ids[1])
			if got := shown(peek(t, e, driver.Buried, "", 9)); got != "2/1 4/1" || records(t, e, tagBurial) != 2 {
				t.Errorf("dead: %q", got)
			}
		})
	}
}

// withFormerLetters opens a directory in which the first four of five messages
// died, the last one first, in the days of format 1; the fifth is held by c.
func withFormerLetters(t *testing.T) (e *engine, ids []string) {
	t.Helper()
	clock := newClock()
	set := settings{fs: vfs.NewMem(), reserve: 1, now: clock.now}
	e = mustOpen(t, "db", set)
	ids = publish(t, e, "a", bodies(0, 5)...)
	join(t, e, "a", "s", driver.JoinConfig{})
	fetch(t, e, "a", "s", "c", 5)
	die(t, e, "c", ids[:4]...)
	b := e.db.NewBatch()
	for i, id := range ids[:4] {
		parsed, _ := streamid.Parse(id)
		rec, _, err := e.letter(e.state.topics["a"].subs["s"], parsed)
		if err != nil {
			t.Fatal(err)
		}
		rec.at, rec.reason = clock.at.UnixMilli()-int64(i), "old"
		if err := b.Set(idKey(parsed, tagDead, "a", "s"), rec.formerEncode(), nil); err != nil {
			t.Fatal(err)
		}
	}
	prefix := tableKey(tagBurial, "a", "s")
	if err := errors.Join(b.DeleteRange(prefix, rangeEnd(prefix), nil), b.Commit(pebble.Sync)); err != nil {
		t.Fatal(err)
	}
	shut(t, e)
	return open(t, "db", set), ids
}
