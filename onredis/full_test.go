package onredis

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// TestFullRedis has Redis refuse whatever takes memory: deliveries that are under
// way come to their ends all the same, which makes room.
func TestFullRedis(t *testing.T) {
	e, s := start(t, "--maxmemory-policy", "noeviction")
	join(t, e, "orders", "billing", time.Minute)
	ids := publish(t, e, "orders", "a", "b", "c", "d")
	fetch(t, e, "orders", "billing", "c", 2)
	settle(t, e, "orders", "billing", "c", driver.Retry, ids[0])
	s.Do("CONFIG", "SET", "maxmemory", "100000")

	if _, err := e.Append(t.Context(), "orders", []driver.Message{{Body: []byte("e")}}); !errors.Is(err, driver.ErrFull) {
		t.Fatalf("Append: %v, want ErrFull", err)
	}
	if f := fetch(t, e, "orders", "billing", "c", 10); bodies(f.Messages) != `["a" "c" "d"]` {
		t.Errorf("fetched %s, want the retry and what is new", bodies(f.Messages))
	}
	f, err := e.Fetch(t.Context(), "orders", "billing", driver.FetchRequest{Consumer: "c", Max: 10, Recover: true})
	if err != nil || len(f.Messages) != 4 {
		t.Errorf("recovered %s, %v, want all", bodies(f.Messages), err)
	}
	if n := settle(t, e, "orders", "billing", "c", driver.Renew, ids[0]); len(n) > 0 {
		t.Errorf("not held: %v", n)
	}
	mixed := []driver.Settlement{
		{ID: ids[0], Do: driver.Retry}, {ID: ids[1], Do: driver.Release}, {ID: ids[2], Do: driver.DeadLetter},
		{ID: ids[3], Do: driver.Acknowledge},
	}
	if n, err := e.Settle(t.Context(), "orders", "billing", "c", mixed); err != nil || len(n) > 0 {
		t.Errorf("Settle: not held %v, %v", n, err)
	}
	got := fetchWithin(t, e, time.Second, "orders", "billing", "c")
	if bodies(got) != `["a" "b"]` {
		t.Errorf("fetched %s, want what was given back", bodies(got))
	}
	settle(t, e, "orders", "billing", "c", driver.Acknowledge, ids[:2]...)
}

// TestSteerInAFullRedis has a subscription go on, and skip what it has, so that there
// is room again.
func TestSteerInAFullRedis(t *testing.T) {
	e, s := start(t, "--maxmemory-policy", "noeviction")
	join(t, e, "orders", "billing", time.Minute)
	publish(t, e, "orders", "a", "b", "c")
	if err := e.Pause(t.Context(), "orders", "billing", true); err != nil {
		t.Fatal(err)
	}
	s.Do("CONFIG", "SET", "maxmemory", "100000")
	if err := e.Pause(t.Context(), "orders", "billing", false); err != nil {
		t.Errorf("resume: %v", err)
	}
	if _, err := e.Join(t.Context(), "orders", "billing", driver.JoinConfig{Lease: time.Hour, Expires: time.Hour}); err != nil {
		t.Errorf("Join of one that exists: %v", err)
	}
	if _, err := e.Join(t.Context(), "orders", "other", driver.JoinConfig{}); !errors.Is(err, driver.ErrFull) {
		t.Errorf("Join of a new one: %v, want ErrFull", err)
	}
	if f := fetch(t, e, "orders", "billing", "c", 1); bodies(f.Messages) != `["a"]` {
		t.Errorf("fetched %s once resumed, want a", bodies(f.Messages))
	}
	s.Do("XGROUP", "DESTROY", "beck:orders", "billing")
	if f := fetch(t, e, "orders", "billing", "c", 1); bodies(f.Messages) != `["a"]` {
		t.Errorf("fetched %s once the group is restored, want a", bodies(f.Messages))
	}
	if err := e.Seek(t.Context(), "orders", "billing", driver.Position{Kind: driver.End}); err != nil {
		t.Errorf("Seek: %v", err)
	}
	if n, err := e.Trim(t.Context(), "orders", driver.Position{Kind: driver.End}); err != nil || n != 3 {
		t.Errorf("trimmed %d, %v, want all that was skipped", n, err)
	}
}

// TestFetchIsBounded fetches large messages.
func TestFetchIsBounded(t *testing.T) {
	e, _ := start(t)
	join(t, e, "orders", "billing", time.Minute)
	large := make([]driver.Message, 20)
	for i := range large {
		large[i].Body = make([]byte, 1<<20)
	}
	var ids []string
	for range 5 {
		more, err := e.Append(t.Context(), "orders", large)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, more...)
	}
	fetchAll := func(first int) {
		t.Helper()
		var got []string
		for most := first; len(got) < len(ids); most = 4 {
			f := fetch(t, e, "orders", "billing", "c", 1000)
			if n := len(f.Messages); n == 0 || n > most {
				t.Fatalf("a Fetch brings %d messages of 1 MiB, want 1 to %d", n, most)
			}
			if len(got)+len(f.Messages) < len(ids) && !f.More {
				t.Fatal("a Fetch that was cut off does not say More")
			}
			for _, m := range f.Messages {
				got = append(got, m.ID)
			}
		}
		if !slices.Equal(got, ids) {
			t.Errorf("fetched %v, want %v", got, ids)
		}
	}
	fetchAll(firstPortion)
	for portion := range slices.Chunk(ids, 20) {
		settle(t, e, "orders", "billing", "c", driver.Release, portion...)
	}
	fetchAll(4)
}

func TestRecoveredLease(t *testing.T) {
	e, s := start(t)
	join(t, e, "orders", "billing", 300*time.Millisecond)
	publish(t, e, "orders", "a", "b")
	fetch(t, e, "orders", "billing", "c", 2)
	for _, joins := range []bool{false, true} {
		other := open(t, s)
		closeAtEnd(t, other)
		if joins {
			join(t, other, "orders", "billing", 0)
			if s := other.subscription("orders", "billing"); s.lease != 300*time.Millisecond {
				t.Errorf("Join learned of a lease of %v", s.lease)
			}
		}
		f, err := other.Fetch(t.Context(), "orders", "billing", driver.FetchRequest{Consumer: "c", Max: 2, Recover: true})
		if err != nil || len(f.Messages) != 2 || f.Lease != 300*time.Millisecond {
			t.Errorf("recovered %s with a lease of %v, %v", bodies(f.Messages), f.Lease, err)
		}
	}
}

// TestReclaimIsBounded has 30,000 messages pending, the last of which have lost
// their lease: each script looks at some, and the end is found soon all the same.
func TestReclaimIsBounded(t *testing.T) {
	e, s := start(t)
	join(t, e, "orders", "billing", time.Hour)
	s.Do("EVAL", "for i=1,30000 do redis.call('XADD',KEYS[1],'*','body','x') end", "1", "beck:orders")
	s.Do("EVAL", "for i=1,30 do redis.call('XREADGROUP','GROUP','billing','c','COUNT',1000,'STREAMS',KEYS[1],'>') end", "1", "beck:orders")
	id := publish(t, e, "orders", "ended")[0]
	s.Do("XREADGROUP", "GROUP", "billing", "c", "STREAMS", "beck:orders", ">")
	s.Do("XCLAIM", "beck:orders", "billing", "c", "0", redisID(id), "IDLE", "7200000", "JUSTID")
	if f := fetch(t, e, "orders", "billing", "d", 1000); len(f.Messages) > 0 || f.Next > minLook {
		t.Errorf("the first look brings %d messages, and the next is in %v; want none, and soon", len(f.Messages), f.Next)
	}
	if got := fetchWithin(t, e, 2*time.Second, "orders", "billing", "d"); bodies(got) != `["ended"]` {
		t.Errorf("fetched %s", bodies(got))
	}
}
