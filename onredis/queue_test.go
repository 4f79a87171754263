package onredis

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/redistest"
)

const workers = driver.QueueSubscription

func makeQueue(t testing.TB, e *engine, topic string, lease time.Duration) {
	t.Helper()
	if _, err := e.Join(t.Context(), topic, workers, driver.JoinConfig{Lease: lease, Queue: true}); err != nil {
		t.Fatalf("Join: %v", err)
	}
}

// memory is what all keys take, and what Redis as a whole takes for data, in which
// buffers of connections may be.
func memory(t testing.TB, s *redistest.Server) (keys, all int) {
	t.Helper()
	for key := range strings.Lines(s.Do("KEYS", "*")) {
		n, err := strconv.Atoi(s.Do("MEMORY", "USAGE", strings.TrimSpace(key), "SAMPLES", "0"))
		if err != nil {
			t.Fatal(err)
		}
		keys += n
	}
	for line := range strings.Lines(s.Do("INFO", "memory")) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory_dataset:"); ok {
			all, _ = strconv.Atoi(rest)
		}
	}
	return keys, all
}

// TestWorkedOffQueue works off a queue, with retries, dead letters that are not
// kept, and workers that acknowledge one by one and many at once: it leaves
// nothing behind.
func TestWorkedOffQueue(t *testing.T) {
	e, s := start(t)
	makeQueue(t, e, "emails", time.Minute)
	work := func(n int) {
		for range n / 500 {
			if _, err := e.Append(t.Context(), "emails", batchOf(500)); err != nil {
				t.Fatal(err)
			}
		}
		for round, done := 0, 0; done < n; round++ {
			f := fetch(t, e, "emails", workers, "w"+strconv.Itoa(round%8), 300)
			ids := idsOf(f.Messages)
			consumer := "w" + strconv.Itoa(round%8)
			switch {
			case len(ids) == 0:
				t.Fatalf("%d of %d tasks came", done, n)
			case round%3 == 0 && len(ids) > 20:
				settle(t, e, "emails", workers, consumer, driver.Retry, ids[:10]...)
				settle(t, e, "emails", workers, consumer, driver.Release, ids[10:20]...)
				settle(t, e, "emails", workers, consumer, driver.Acknowledge, ids[20])
				ids = ids[21:]
				done++
			}
			if missing := settle(t, e, "emails", workers, consumer, driver.Acknowledge, ids...); len(missing) > 0 {
				t.Fatalf("%v were not held", missing)
			}
			done += len(ids)
		}
	}
	work(2000) // Redis and the engine have what they need from now on
	keys, all := memory(t, s)
	work(50_000)
	if n := s.Do("XLEN", "beck:emails"); n != "0" {
		t.Errorf("%s messages are left in the stream", n)
	}
	if left := s.Do("EXISTS", "{beck:emails}:waiting:workers", "{beck:emails}:leased:workers", "{beck:emails}:retry:workers"); left != "0" {
		t.Errorf("%s keys of retries are left", left)
	}
	keysAfter, allAfter := memory(t, s)
	t.Logf("keys take %d bytes, %d before; all data %d and %d", keysAfter, keys, allAfter, all)
	if keysAfter > keys+keys/20 {
		t.Errorf("the keys of a queue that was worked off take %d bytes, %d before: want it within 5%%", keysAfter, keys)
	}
	if buffers := 400_000; allAfter > all+buffers { // the tasks had more than 5 MB
		t.Errorf("all data takes %d bytes, %d before: want it as it was but for buffers", allAfter, all)
	}
}

// TestAckOfOthers has tasks acknowledged by a client that knows nothing of queues:
// what it leaves behind is removed soon.
func TestAckOfOthers(t *testing.T) {
	e, s := start(t)
	makeQueue(t, e, "emails", 200*time.Millisecond)
	ids := publish(t, e, "emails", "a", "b", "c", "d")
	fetch(t, e, "emails", workers, "w", 3)
	s.Do("XACK", "beck:emails", workers, redisID(ids[0]), redisID(ids[2]))
	time.Sleep(100 * time.Millisecond)
	fetch(t, e, "emails", workers, "v", 1) // looks for ended leases
	settle(t, e, "emails", workers, "v", driver.Release, ids[3])
	if n := s.Do("XLEN", "beck:emails"); n != "2" {
		t.Errorf("%s messages in the stream, want b, held, and c, behind it", n)
	}
	settle(t, e, "emails", workers, "w", driver.Acknowledge, ids[1])
	time.Sleep(100 * time.Millisecond)
	fetch(t, e, "emails", workers, "v", 1)
	settle(t, e, "emails", workers, "v", driver.Acknowledge, ids[3])
	if n := s.Do("XLEN", "beck:emails"); n != "0" {
		t.Errorf("%s messages are left in the stream", n)
	}
}

// TestAckOfUndelivered acknowledges many tasks of which some were not delivered:
// those stay.
func TestAckOfUndelivered(t *testing.T) {
	e, _ := start(t)
	makeQueue(t, e, "emails", time.Minute)
	ids, err := e.Append(t.Context(), "emails", batchOf(300))
	if err != nil {
		t.Fatal(err)
	}
	fetch(t, e, "emails", workers, "w", 1)
	got := fetch(t, e, "emails", workers, "w", 149)
	settle(t, e, "emails", workers, "w", driver.Acknowledge, ids...)
	info, err := e.Topic(t.Context(), "emails")
	if want := int64(299 - len(got.Messages)); err != nil || info.Length != want || info.Subscriptions[0].Pending != 0 {
		t.Errorf("%d messages are left, %d of them pending (%v); want %d, which were not delivered", info.Length, info.Subscriptions[0].Pending, err, want)
	}
}

// TestQueueIsHealed loses what Redis knows of a queue: it stays one.
func TestQueueIsHealed(t *testing.T) {
	for _, command := range [][]string{
		{"XGROUP", "DESTROY", "beck:emails", workers}, {"FLUSHALL"},
	} {
		e, s := start(t)
		makeQueue(t, e, "emails", time.Minute)
		publish(t, e, "emails", "a")
		fetch(t, e, "emails", workers, "w", 1)
		s.Do(command...)
		publish(t, e, "emails", "b")
		for _, m := range fetchWithin(t, e, time.Second, "emails", workers, "w") {
			settle(t, e, "emails", workers, "w", driver.Acknowledge, m.ID)
		}
		time.Sleep(10 * time.Millisecond)
		for _, m := range fetch(t, e, "emails", workers, "w", 10).Messages {
			settle(t, e, "emails", workers, "w", driver.Acknowledge, m.ID)
		}
		info, err := e.Topic(t.Context(), "emails")
		if err != nil || !info.Queue || info.Length != 0 {
			t.Errorf("after %v: %d messages are left, queue: %v, %v", command, info.Length, info.Queue, err)
		}
	}
}

// TestAckByAnEngineThatOnlySawAPause acknowledges a task by an engine that has learned
// of the subscription that it is paused, and not that it is a queue's.
func TestAckByAnEngineThatOnlySawAPause(t *testing.T) {
	e, s := start(t)
	makeQueue(t, e, "emails", time.Minute)
	publish(t, e, "emails", "a", "b")
	got := fetch(t, e, "emails", workers, "w", 1)
	if err := e.Pause(t.Context(), "emails", workers, true); err != nil {
		t.Fatal(err)
	}
	other := open(t, s)
	closeAtEnd(t, other)
	_, stop := other.Watch("emails")
	defer stop()
	fetch(t, other, "emails", workers, "w", 1)
	settle(t, other, "emails", workers, "w", driver.Acknowledge, got.Messages[0].ID)
	if n := s.Do("XLEN", "beck:emails"); n != "1" {
		t.Errorf("%s tasks are stored once one of two is acknowledged", n)
	}
}
