package onredis

import (
	"slices"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// TestHealBehindTheStream loses a group whose position lies ahead of all ids that
// the topic will give out for long.
func TestHealBehindTheStream(t *testing.T) {
	for _, by := range []string{"fetch", "join"} {
		t.Run(by, func(t *testing.T) {
			e, s := start(t)
			join(t, e, "orders", "billing", 200*time.Millisecond)
			s.Do("XADD", "beck:orders", "9999999999999-0", "body", "far")
			f := fetch(t, e, "orders", "billing", "c", 10)
			settle(t, e, "orders", "billing", "c", driver.Acknowledge, f.Messages[0].ID)
			time.Sleep(70 * time.Millisecond)
			fetch(t, e, "orders", "billing", "c", 10) // keeps the position
			for range 2 {
				s.Do("DEL", "beck:orders")
				publish(t, e, "orders", "new")
				if by == "join" {
					join(t, e, "orders", "billing", 0)
				}
				if f := fetch(t, e, "orders", "billing", "c", 10); bodies(f.Messages) != `["new"]` {
					t.Fatalf("fetched %s after the stream was lost, want the new message", bodies(f.Messages))
				}
			}
		})
	}
}

// TestPendingWithCopy makes a group again whose messages have copies in retry.
func TestPendingWithCopy(t *testing.T) {
	for _, do := range []driver.Action{driver.Acknowledge, driver.DeadLetter, driver.Retry} {
		e, s := start(t)
		join(t, e, "orders", "billing", 150*time.Millisecond)
		ids := publish(t, e, "orders", "a", "b", "c")
		fetch(t, e, "orders", "billing", "c", 10)
		retry := []driver.Settlement{{ID: ids[1], Do: driver.Retry, After: time.Hour}}
		if _, err := e.Settle(t.Context(), "orders", "billing", "c", retry); err != nil {
			t.Fatal(err)
		}
		s.Do("XGROUP", "DESTROY", "beck:orders", "billing")
		got := fetchWithin(t, e, time.Second, "orders", "billing", "c")
		if len(got) != 3 {
			t.Fatalf("%d messages after the group was lost, want all 3", len(got))
		}
		if n := settle(t, e, "orders", "billing", "c", do, ids...); len(n) > 0 {
			t.Errorf("action %d: not held are %v", do, n)
		}
		if do == driver.Retry {
			got = fetchWithin(t, e, time.Second, "orders", "billing", "c")
			if len(got) != 3 {
				t.Errorf("%d messages are retried, want 3", len(got))
			}
			settle(t, e, "orders", "billing", "c", driver.Acknowledge, ids...)
		}
		time.Sleep(250 * time.Millisecond)
		if f := fetch(t, e, "orders", "billing", "c", 10); len(f.Messages) > 0 {
			t.Errorf("action %d: %s is delivered again", do, bodies(f.Messages))
		}
		if n := s.Do("EXISTS", "{beck:orders}:waiting:billing", "{beck:orders}:leased:billing", "{beck:orders}:retry:billing"); n != "0" {
			t.Errorf("action %d: %s keys of retries are left behind", do, n)
		}
	}
}

// TestTakenBeforeHealing has a Fetch that takes a retry find the group lost.
func TestTakenBeforeHealing(t *testing.T) {
	e, s := start(t)
	join(t, e, "orders", "billing", time.Minute)
	ids := publish(t, e, "orders", "a", "b")
	fetch(t, e, "orders", "billing", "c", 2)
	settle(t, e, "orders", "billing", "c", driver.Release, ids[0])
	s.Do("XGROUP", "DESTROY", "beck:orders", "billing")
	other := open(t, s) // does not look for ended leases first
	closeAtEnd(t, other)
	other.subscription("orders", "billing").look = time.Now().Add(time.Hour)
	f := fetch(t, other, "orders", "billing", "c", 10)
	if !slices.ContainsFunc(f.Messages, func(m driver.Message) bool { return m.ID == ids[0] && m.Attempt == 1 }) {
		t.Errorf("fetched %s, want the released message among them", bodies(f.Messages))
	}
}

func TestLiveConfigIsKept(t *testing.T) {
	e, s := start(t)
	join(t, e, "orders", "billing", time.Minute)
	if err := e.DeleteTopic(t.Context(), "orders"); err != nil {
		t.Fatal(err)
	}
	publish(t, e, "orders", "b")
	s.Do("XGROUP", "CREATE", "beck:orders", "theirs", "0")
	fetch(t, e, "orders", "theirs", "c", 1)
	if ttl := s.Do("TTL", "{beck:orders}:subs"); ttl != "-1" {
		t.Errorf("what is known about a live subscription ends in %s s", ttl)
	}
}

// TestReleasedInAnyOrder gives messages back in several calls: they come again in
// the order of the topic, also after a restart.
func TestReleasedInAnyOrder(t *testing.T) {
	e, s := start(t)
	join(t, e, "orders", "billing", time.Minute)
	ids := publish(t, e, "orders", "1", "2", "3", "4", "5", "6", "7", "8")
	fetch(t, e, "orders", "billing", "old", 6)
	for _, part := range [][]string{ids[4:6], ids[0:2], ids[2:4]} {
		settle(t, e, "orders", "billing", "old", driver.Release, part...)
		time.Sleep(3 * time.Millisecond)
	}
	next := open(t, s)
	closeAtEnd(t, next)
	for _, want := range []string{`["1" "2" "3" "4"]`, `["5" "6" "7" "8"]`} {
		if f := fetch(t, next, "orders", "billing", "new", 4); bodies(f.Messages) != want {
			t.Errorf("fetched %s, want %s", bodies(f.Messages), want)
		}
	}
}
