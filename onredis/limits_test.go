package onredis

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/redistest"
)

// TestNamesAskedForTakeNoMemory asks for what is not there, and for what another
// process deletes.
func TestNamesAskedForTakeNoMemory(t *testing.T) {
	e, s := start(t)
	publish(t, e, "orders", "a")
	other := open(t, s)
	closeAtEnd(t, other)
	for i := range 5 {
		name := fmt.Sprint("s", i)
		ahead := driver.Position{Kind: driver.AtID, ID: "9999999999999-0000"}
		if _, err := e.Join(t.Context(), "orders", name, driver.JoinConfig{From: ahead}); !errors.Is(err, driver.ErrPosition) {
			t.Fatalf("Join ahead: %v", err)
		}
		if _, err := e.Peek(t.Context(), "orders", "", driver.PeekRequest{State: driver.Delayed, Max: 1}); err != nil {
			t.Fatalf("Peek: %v", err)
		}
		if _, err := e.Peek(t.Context(), "orders", name, driver.PeekRequest{State: driver.Ready, Max: 1}); !errors.Is(err, driver.ErrSubscriptionNotFound) {
			t.Fatalf("Peek at what is not there: %v", err)
		}
		join(t, e, "orders", name, 0)
		if err := other.DeleteSubscription(t.Context(), "orders", name); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.cleanTopic(t.Context(), "orders"); err != nil {
		t.Fatal(err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(e.subscriptions); n > 0 {
		t.Errorf("%d subscriptions that are not there are remembered", n)
	}
}

// TestJoinByAClockAhead joins from a time that has not come by the clock of Redis:
// what is published meanwhile is not passed over.
func TestJoinByAClockAhead(t *testing.T) {
	e, _ := start(t)
	publish(t, e, "orders", "before")
	soon := driver.Position{Kind: driver.AtTime, Time: time.Now().Add(5 * time.Minute)}
	if _, err := e.Join(t.Context(), "orders", "s", driver.JoinConfig{From: soon}); err != nil {
		t.Fatal(err)
	}
	publish(t, e, "orders", "after")
	if got := bodies(fetch(t, e, "orders", "s", "c", 10).Messages); got != `["after"]` {
		t.Errorf("fetched %s, want what came after joining", got)
	}
}

// TestDeleteTopicBesideJoin deletes a topic of which one subscription was not known
// yet: nothing is done, so that no half of it stays.
func TestDeleteTopicBesideJoin(t *testing.T) {
	e, s := start(t)
	join(t, e, "orders", "a", 0)
	join(t, e, "orders", "late", 0)
	if n, err := e.deleteTopic(t.Context(), "orders", []string{"a"}); n != -2 || err != nil {
		t.Errorf("the script returned %d, %v, want -2", n, err)
	}
	if n := s.Do("EXISTS", "beck:orders"); n != "1" {
		t.Error("the topic is gone, though not all its subscriptions were known")
	}
	if err := e.DeleteTopic(t.Context(), "orders"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "late"} {
		_, err := e.Fetch(t.Context(), "orders", name, driver.FetchRequest{Consumer: "c", Max: 1})
		if !errors.Is(err, driver.ErrSubscriptionNotFound) {
			t.Errorf("Fetch from %s of a deleted topic: %v", name, err)
		}
	}
}

// TestLargeRetriesAreTakenInPortions retries large messages while small ones come: a
// Fetch that goes by the size of these brings few of them all the same.
func TestLargeRetriesAreTakenInPortions(t *testing.T) {
	e, _ := start(t)
	join(t, e, "orders", "s", time.Hour)
	large := make([]driver.Message, 12)
	for i := range large {
		large[i].Body = make([]byte, 1<<20)
	}
	if _, err := e.Append(t.Context(), "orders", large); err != nil {
		t.Fatal(err)
	}
	got := fetch(t, e, "orders", "s", "c", 12)
	settle(t, e, "orders", "s", "c", driver.Retry, idsOf(got.Messages)...)
	e.forget(subscriptionID{"orders", "s"}) // as another process would know it
	seen := map[string]bool{}
	for len(seen) < len(large) {
		got := fetch(t, e, "orders", "s", "c", 100)
		if n := len(got.Messages); n == 0 || n > 5 {
			t.Fatalf("a Fetch brings %d retries of 1 MiB, want 1 to 5", n)
		}
		for _, m := range got.Messages {
			seen[m.ID] = true
		}
		if len(seen) < len(large) && !got.More {
			t.Fatal("a Fetch that leaves retries does not say More")
		}
	}
}

// TestPeekAtManyHeldRetries pages through so many that only the first ones are
// ordered, some of which come from the list of pending messages.
func TestPeekAtManyHeldRetries(t *testing.T) {
	e, _ := start(t)
	join(t, e, "orders", "s", time.Hour)
	const n = 1500
	ids := publish(t, e, "orders", numbered(n)...)
	for held := 0; held < n; {
		held += len(fetch(t, e, "orders", "s", "c", 1000).Messages)
	}
	var again []string
	for i, id := range ids {
		if i%7 != 0 {
			again = append(again, id)
		}
	}
	settle(t, e, "orders", "s", "c", driver.Release, again...)
	for held := 0; held < len(again); {
		held += len(fetch(t, e, "orders", "s", "d", 1000).Messages)
	}
	for _, max := range []int{40, 1000} {
		got := peekAll(t, e, "orders", "s", driver.Held, max)
		if len(got) != n {
			t.Fatalf("%d at a time: %d held messages, want %d", max, len(got), n)
		}
		for i, m := range got {
			if m.Message.ID != ids[i] {
				t.Fatalf("%d at a time: message %d is %s, want %s", max, i, m.Message.ID, ids[i])
			}
		}
	}
}

// TestLagOfLargeMessages asks for a lag that Redis can't tell: it is counted as far as
// that is cheap.
func TestLagOfLargeMessages(t *testing.T) {
	e, s := start(t)
	for topic, of := range map[string]struct {
		size, n int
		lag     int64
	}{"large": {1 << 20, 40, -1}, "some": {1 << 20, 4, 2}, "small": {10, 3000, 2998}} {
		join(t, e, topic, "s", time.Hour)
		list := make([]driver.Message, of.n)
		for i := range list {
			list[i].Body = make([]byte, of.size)
		}
		ids, err := e.Append(t.Context(), topic, list)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Seek(t.Context(), topic, "s", driver.Position{Kind: driver.AtID, ID: ids[1]}); err != nil {
			t.Fatal(err)
		}
		before := sentBytes(s)
		info, err := e.Topic(t.Context(), topic)
		if err != nil || info.Subscriptions[0].Lag != of.lag {
			t.Errorf("%s: the lag is %d (%v), want %d", topic, info.Subscriptions[0].Lag, err, of.lag)
		}
		if n := sentBytes(s) - before; n > 20<<20 {
			t.Errorf("%s: Redis sent %d bytes to tell about a topic", topic, n)
		}
	}
}

// sentBytes is how much a server has sent to all its clients.
func sentBytes(s *redistest.Server) int {
	n, _ := strconv.Atoi(infoField(s.Do("INFO", "stats"), "total_net_output_bytes"))
	return n
}
