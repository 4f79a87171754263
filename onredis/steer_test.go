package onredis

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

func bury(t testing.TB, e *engine, topic, name, reason string, ids ...string) {
	t.Helper()
	list := make([]driver.Settlement, len(ids))
	for i, id := range ids {
		list[i] = driver.Settlement{ID: id, Do: driver.DeadLetter, Reason: reason}
	}
	if n, err := e.Settle(t.Context(), topic, name, "c", list); err != nil || len(n) > 0 {
		t.Fatalf("bury: not held %v, %v", n, err)
	}
}

// peekAll pages through a state, some entries at a time.
func peekAll(t testing.TB, e *engine, topic, name string, state driver.State, max int) []driver.Entry {
	t.Helper()
	var all []driver.Entry
	req := driver.PeekRequest{State: state, Max: max}
	for range 1000 {
		got, err := e.Peek(t.Context(), topic, name, req)
		if err != nil {
			t.Fatalf("Peek %s: %v", state, err)
		}
		all = append(all, got.Entries...)
		if !got.More {
			return all
		}
		if len(got.Entries) == 0 {
			t.Fatalf("Peek %s: nothing, but more", state)
		}
		req.After = got.Entries[len(got.Entries)-1].Message.ID
	}
	t.Fatalf("Peek %s does not end", state)
	return nil
}

func entryBodies(list []driver.Entry) string {
	var all []string
	for _, e := range list {
		all = append(all, string(e.Message.Body))
	}
	return fmt.Sprint(all)
}

func numbered(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint(i)
	}
	return list
}

func TestPeekEveryState(t *testing.T) {
	e, _ := start(t)
	join(t, e, "orders", "billing", time.Minute)
	ids := publish(t, e, "orders", numbered(100)...)
	began := time.Now().Add(-time.Second)
	if got := fetch(t, e, "orders", "billing", "c", 60); len(got.Messages) != 60 {
		t.Fatalf("%d fetched", len(got.Messages))
	}
	settle(t, e, "orders", "billing", "c", driver.Release, ids[:40]...)
	if got := fetch(t, e, "orders", "billing", "d", 15); len(got.Messages) != 15 {
		t.Fatalf("%d fetched", len(got.Messages))
	}
	bury(t, e, "orders", "billing", "broken", ids[50:60]...)
	for i := 39; i >= 30; i-- {
		// They wait in an order that is not that of the topic.
		fetch(t, e, "orders", "billing", "late", 1)
	}
	for i, id := range ids[15:25] {
		_, err := e.Settle(t.Context(), "orders", "billing", "late", []driver.Settlement{
			{ID: id, Do: driver.Retry, After: time.Hour - time.Duration(i)*time.Minute, Reason: "busy"},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, max := range []int{1, 7, 1000} {
		ready := peekAll(t, e, "orders", "billing", driver.Ready, max)
		if want := fmt.Sprint(numbered(100)[60:]); entryBodies(ready) != want {
			t.Errorf("ready: %s, want %s", entryBodies(ready), want)
		}
		held := peekAll(t, e, "orders", "billing", driver.Held, max)
		if want := fmt.Sprint(slices.Concat(numbered(100)[:15], numbered(100)[40:50])); entryBodies(held) != want {
			t.Errorf("held: %s, want %s", entryBodies(held), want)
		}
		for i, h := range held {
			want := "c"
			if i < 15 {
				want = "d"
			}
			if h.Consumer != want || h.Since.Before(began) || h.Since.After(time.Now().Add(time.Second)) ||
				h.Due.Sub(h.Since) != time.Minute || h.Message.Attempt != 1 {
				t.Errorf("held: %+v", h)
			}
		}
		waiting := peekAll(t, e, "orders", "billing", driver.Waiting, max)
		if want := fmt.Sprint(append(numbered(40)[25:], strings.Fields("24 23 22 21 20 19 18 17 16 15")...)); entryBodies(waiting) != want {
			t.Errorf("waiting: %s, want %s", entryBodies(waiting), want)
		}
		if w := waiting[len(waiting)-1]; w.Reason != "busy" || w.Due.Before(time.Now().Add(59*time.Minute)) || w.Message.Attempt != 1 {
			t.Errorf("waiting: %+v", w)
		}
		dead := peekAll(t, e, "orders", "billing", driver.Buried, max)
		if want := fmt.Sprint(numbered(100)[50:60]); entryBodies(dead) != want {
			t.Errorf("dead: %s, want %s", entryBodies(dead), want)
		}
		if d := dead[0]; d.Reason != "broken" || d.Consumer != "c" || d.Message.ID != ids[50] || d.Message.Attempt != 1 || d.Since.Before(began) {
			t.Errorf("dead: %+v", d)
		}
	}
	// An entry that goes while one pages has the next ones come all the same.
	for state, ends := range map[driver.State]func(id string){
		driver.Buried:  func(id string) { _, _ = e.Drop(t.Context(), "orders", "billing", []string{id}) },
		driver.Waiting: func(string) { fetch(t, e, "orders", "billing", "more", 1) },
	} {
		first, err := e.Peek(t.Context(), "orders", "billing", driver.PeekRequest{State: state, Max: 1})
		if err != nil {
			t.Fatal(err)
		}
		id := first.Entries[0].Message.ID
		ends(id)
		next, err := e.Peek(t.Context(), "orders", "billing", driver.PeekRequest{State: state, Max: 1, After: id})
		if err != nil || len(next.Entries) != 1 || next.Entries[0].Message.ID <= id {
			t.Errorf("%s behind %s, which has gone: %+v, %v", state, id, next, err)
		}
	}
}

func TestPeekIsBounded(t *testing.T) {
	e, _ := start(t)
	join(t, e, "orders", "billing", time.Minute)
	large := strings.Repeat("x", 1<<20)
	for range 10 {
		publish(t, e, "orders", large)
	}
	page, err := e.Peek(t.Context(), "orders", "billing", driver.PeekRequest{State: driver.Ready, Max: 10})
	if err != nil || !page.More || len(page.Entries) > 5 {
		t.Errorf("%d entries, more %v, %v", len(page.Entries), page.More, err)
	}
	if all := peekAll(t, e, "orders", "billing", driver.Ready, 10); len(all) != 10 {
		t.Errorf("%d in all", len(all))
	}
}

// TestOldLetters has dead letters that were written when nothing told where they
// are, two of them of one message, and one of very many fields.
func TestOldLetters(t *testing.T) {
	for _, use := range []string{"peek", "requeue", "drop"} {
		t.Run(use, func(t *testing.T) {
			e, s := start(t)
			join(t, e, "orders", "billing", time.Minute)
			ids := publish(t, e, "orders", "a", "b", "c")
			many := []string{"XADD", "beck:orders", "*", "body", "d"}
			for i := range 4000 {
				many = append(many, fmt.Sprintf("header:h%d", i), "v")
			}
			s.Do(many...)
			got := fetch(t, e, "orders", "billing", "c", 10).Messages
			ids = append(ids, got[3].ID)
			bury(t, e, "orders", "billing", "old", ids...)
			s.Do("XADD", "{beck:orders}:dead:billing", "*", "body", "a", "dead:id", ids[0],
				"dead:reason", "newer", "dead:attempts", "2", "dead:consumer", "c")
			s.Do("DEL", "{beck:orders}:buried:billing")
			switch use {
			case "peek":
				all := peekAll(t, e, "orders", "billing", driver.Buried, 2)
				if entryBodies(all) != "[b c d a]" || all[3].Reason != "newer" || len(all[2].Message.Headers) != 4000 {
					t.Errorf("dead letters: %s", entryBodies(all))
				}
			case "requeue":
				missing, err := e.Requeue(t.Context(), "orders", "billing", append(ids, "1-1", "none"))
				if err != nil || !slices.Equal(missing, []string{"none", "1-1"}) && !slices.Equal(missing, []string{"1-1", "none"}) {
					t.Fatalf("missing %v, %v", missing, err)
				}
				f := fetch(t, e, "orders", "billing", "c", 10)
				if bodies(f.Messages) != `["a" "b" "c" "d"]` || f.Messages[0].Attempt != 1 || len(f.Messages[3].Headers) != 4000 {
					t.Errorf("requeued: %s", bodies(f.Messages))
				}
			case "drop":
				if missing, err := e.Drop(t.Context(), "orders", "billing", ids); err != nil || len(missing) > 0 {
					t.Fatalf("missing %v, %v", missing, err)
				}
			}
			if use != "peek" {
				if n := s.Do("XLEN", "{beck:orders}:dead:billing"); n != "0" {
					t.Errorf("%s letters are left", n)
				}
			}
		})
	}
}

func TestRequeueWhenTheTopicHasItNoMore(t *testing.T) {
	e, s := start(t)
	join(t, e, "orders", "billing", time.Minute)
	join(t, e, "orders", "audit", time.Minute)
	ids := publish(t, e, "orders", "a", "b")
	fetch(t, e, "orders", "billing", "c", 2)
	hints, stop := e.Watch("orders")
	defer stop()
	fetch(t, e, "orders", "billing", "c", 2)
	bury(t, e, "orders", "billing", "once", ids[0])
	s.Do("XTRIM", "beck:orders", "MAXLEN", "0")
	drain(hints)
	fetch(t, e, "orders", "billing", "c", 2)
	if missing, err := e.Requeue(t.Context(), "orders", "billing", ids); err != nil || !slices.Equal(missing, ids[1:]) {
		t.Fatalf("Requeue: missing %v, %v", missing, err)
	}
	hinted(t, hints, time.Second, "a letter was requeued")
	open, err := e.Outstanding(t.Context(), "orders", "billing", ids)
	if err != nil || fmt.Sprint(open) != fmt.Sprint(map[string]driver.State{ids[0]: driver.Waiting}) {
		t.Errorf("Outstanding: %v, %v", open, err)
	}
	f := fetch(t, e, "orders", "billing", "c", 2)
	if bodies(f.Messages) != `["a"]` || f.Messages[0].Attempt != 1 {
		t.Fatalf("requeued: %+v", f.Messages)
	}
	bury(t, e, "orders", "billing", "twice", ids[0])
	all := peekAll(t, e, "orders", "billing", driver.Buried, 10)
	if len(all) != 1 || all[0].Reason != "twice" {
		t.Errorf("dead letters: %+v", all)
	}
	if f := fetch(t, e, "orders", "audit", "c", 2); len(f.Messages) != 0 {
		t.Errorf("another subscription got %s", bodies(f.Messages))
	}
}

func TestOutstanding(t *testing.T) {
	e, s := start(t)
	publish(t, e, "orders", "before")
	if _, err := e.Join(t.Context(), "orders", "billing", driver.JoinConfig{From: driver.Position{Kind: driver.End}}); err != nil {
		t.Fatal(err)
	}
	first, _ := e.Read(t.Context(), "orders", driver.Position{}, 1)
	ids := publish(t, e, "orders", numbered(8)...)
	fetch(t, e, "orders", "billing", "c", 6)
	settle(t, e, "orders", "billing", "c", driver.Acknowledge, ids[0])
	settle(t, e, "orders", "billing", "c", driver.Release, ids[1], ids[2])
	bury(t, e, "orders", "billing", "", ids[3])
	fetch(t, e, "orders", "billing", "d", 1)
	s.Do("XDEL", "beck:orders", redisID(ids[5]), redisID(ids[7]))
	all := append([]string{first.Messages[0].ID}, ids...)
	open, err := e.Outstanding(t.Context(), "orders", "billing", all)
	want := map[string]driver.State{
		ids[1]: driver.Held, ids[2]: driver.Waiting, ids[3]: driver.Buried, ids[4]: driver.Held, ids[6]: driver.Ready,
	}
	if err != nil || fmt.Sprint(open) != fmt.Sprint(want) {
		t.Errorf("outstanding %v, %v, want %v", open, err, want)
	}
	if _, err := e.Outstanding(t.Context(), "orders", "billing", []string{"9999999999999-0000"}); !errors.Is(err, driver.ErrPosition) {
		t.Errorf("an id ahead: %v", err)
	}
	if _, err := e.Outstanding(t.Context(), "orders", "nobody", ids); !errors.Is(err, driver.ErrSubscriptionNotFound) {
		t.Errorf("a missing subscription: %v", err)
	}
	// A lost group has to do again what it is not known to have done.
	s.Do("XGROUP", "DESTROY", "beck:orders", "billing")
	open, err = e.Outstanding(t.Context(), "orders", "billing", ids[4:5])
	if err != nil || open[ids[4]] != driver.Ready {
		t.Errorf("after the group was lost: %v, %v", open, err)
	}
}

// TestSeekAndPurgeUnderLoad steers while others publish and work: nothing fails,
// nothing comes that lies before the end, and the numbers are right in the end.
func TestSeekAndPurgeUnderLoad(t *testing.T) {
	e, s := start(t)
	other := open(t, s)
	closeAtEnd(t, other)
	join(t, e, "orders", "billing", time.Minute)
	join(t, e, "orders", "audit", time.Minute)
	_, stop := e.Watch("orders")
	defer stop()
	end := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case <-end:
				return
			default:
				publish(t, e, "orders", numbered(20)...)
				time.Sleep(time.Millisecond)
			}
		}
	})
	for c := range 3 {
		running.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-end:
					return
				default:
				}
				consumer := fmt.Sprintf("c%d", c)
				f := fetch(t, e, "orders", "billing", consumer, 10)
				var ids []string
				for _, m := range f.Messages {
					ids = append(ids, m.ID)
				}
				do := []driver.Action{driver.Acknowledge, driver.Retry, driver.Acknowledge, driver.Release, driver.DeadLetter}[i%5]
				if len(ids) > 0 {
					settle(t, e, "orders", "billing", consumer, do, ids...)
				}
			}
		})
	}
	for i := range 30 {
		to := []driver.Position{{Kind: driver.Start}, {Kind: driver.End}}[i%2]
		if err := other.Seek(t.Context(), "orders", "billing", to); err != nil {
			t.Errorf("Seek: %v", err)
		}
		if i%5 == 4 {
			if _, err := other.Purge(t.Context(), "orders"); err != nil {
				t.Errorf("Purge: %v", err)
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	close(end)
	running.Wait()
	last := publish(t, e, "orders", "last")
	if _, err := other.Purge(t.Context(), "orders"); err != nil {
		t.Fatalf("Purge: %v", err)
	}
	info, err := e.Topic(t.Context(), "orders")
	if err != nil || info.Length != 0 || info.LastID != last[0] {
		t.Errorf("after Purge: %+v, %v", info, err)
	}
	for _, sub := range info.Subscriptions {
		if sub.Lag != 0 || sub.Pending != 0 || sub.Waiting != 0 || sub.LastDelivered != last[0] {
			t.Errorf("after Purge: %+v", sub)
		}
	}
	publish(t, e, "orders", "new")
	for _, name := range []string{"billing", "audit"} {
		if f := fetch(t, e, "orders", name, "c", 10); bodies(f.Messages) != `["new"]` {
			t.Errorf("%s after Purge: %s", name, bodies(f.Messages))
		}
	}
}

func TestSeek(t *testing.T) {
	e, _ := start(t)
	join(t, e, "orders", "billing", time.Minute)
	ids := publish(t, e, "orders", numbered(10)...)
	fetch(t, e, "orders", "billing", "c", 6)
	settle(t, e, "orders", "billing", "c", driver.Retry, ids[0])
	bury(t, e, "orders", "billing", "", ids[1])
	seek := func(to driver.Position) {
		t.Helper()
		if err := e.Seek(t.Context(), "orders", "billing", to); err != nil {
			t.Fatalf("Seek: %v", err)
		}
	}
	hints, stop := e.Watch("orders")
	defer stop()
	fetch(t, e, "orders", "billing", "c", 1)
	drain(hints)
	seek(driver.Position{Kind: driver.AtID, ID: ids[6]})
	hinted(t, hints, time.Second, "a seek")
	if n := settle(t, e, "orders", "billing", "c", driver.Acknowledge, ids[2]); len(n) != 1 {
		t.Errorf("what was held before a seek is acknowledged")
	}
	if f := fetch(t, e, "orders", "billing", "c", 10); bodies(f.Messages) != `["7" "8" "9"]` {
		t.Errorf("behind 6: %s", bodies(f.Messages))
	}
	seek(driver.Position{Kind: driver.Start})
	info, err := e.Topic(t.Context(), "orders")
	if s := info.Subscriptions[0]; err != nil || s.Lag != 10 || s.Pending != 0 || s.Waiting != 0 || s.Dead != 1 || len(s.Consumers) != 1 {
		t.Errorf("after a seek to the start: %+v, %v", s, err)
	}
	if f := fetch(t, e, "orders", "billing", "c", 100); len(f.Messages) != 10 || f.Messages[9].Attempt != 1 {
		t.Errorf("from the start: %s", bodies(f.Messages))
	}
	if missing, err := e.Requeue(t.Context(), "orders", "billing", ids[1:2]); err != nil || len(missing) != 0 {
		t.Errorf("Requeue: %v, %v", missing, err)
	}
	if f := fetch(t, e, "orders", "billing", "c", 100); len(f.Messages) != 0 {
		t.Errorf("a letter whose message is delivered again comes twice")
	}
	seek(driver.Position{Kind: driver.AtTime, Time: time.Now().Add(time.Hour)})
	publish(t, e, "orders", "new")
	if f := fetch(t, e, "orders", "billing", "c", 100); bodies(f.Messages) != `["new"]` {
		t.Errorf("from an hour ahead: %s", bodies(f.Messages))
	}
	err = e.Seek(t.Context(), "orders", "billing", driver.Position{Kind: driver.AtID, ID: "9999999999999-0000"})
	if !errors.Is(err, driver.ErrPosition) {
		t.Errorf("Seek ahead: %v", err)
	}
}
