package onredis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

func pause(t testing.TB, e *engine, topic, name string, paused bool) {
	t.Helper()
	if err := e.Pause(t.Context(), topic, name, paused); err != nil {
		t.Fatalf("Pause: %v", err)
	}
}

func TestPause(t *testing.T) {
	e, s := start(t)
	other := open(t, s)
	closeAtEnd(t, other)
	join(t, e, "orders", "billing", 200*time.Millisecond)
	ids := publish(t, e, "orders", "a", "b", "c")
	fetch(t, e, "orders", "billing", "c", 1)
	hints, stop := e.Watch("orders")
	defer stop()
	fetch(t, e, "orders", "billing", "idle", 1)
	settle(t, e, "orders", "billing", "idle", driver.Retry, ids[1])
	fetch(t, e, "orders", "billing", "late", 1)
	settle(t, e, "orders", "billing", "late", driver.Release, ids[1])
	drain(hints)

	pause(t, other, "orders", "billing", true)
	hinted(t, hints, time.Second, "paused by another process")
	time.Sleep(300 * time.Millisecond) // all leases end
	for _, one := range []*engine{e, other} {
		for range 3 {
			for _, again := range []bool{false, true} {
				f, err := one.Fetch(t.Context(), "orders", "billing", driver.FetchRequest{Consumer: "c", Max: 10, Recover: again})
				if err != nil || len(f.Messages) != 0 || f.More || f.Next != 0 || f.Lease != 200*time.Millisecond {
					t.Fatalf("Fetch while paused: %+v, %v", f, err)
				}
			}
		}
	}
	info, err := e.Topic(t.Context(), "orders")
	if err != nil || !info.Subscriptions[0].Paused {
		t.Errorf("Topic: %+v, %v, want paused", info.Subscriptions, err)
	}
	// What is held may be settled.
	if n := settle(t, e, "orders", "billing", "c", driver.Renew, ids[0]); len(n) != 0 {
		t.Errorf("renewing while paused: not held %v", n)
	}
	if n := settle(t, e, "orders", "billing", "c", driver.Acknowledge, ids[0]); len(n) != 0 {
		t.Errorf("acknowledging while paused: not held %v", n)
	}
	drain(hints)
	pause(t, other, "orders", "billing", false)
	hinted(t, hints, time.Second, "resumed by another process")
	got := map[string]int{}
	for _, m := range fetch(t, e, "orders", "billing", "c", 10).Messages {
		got[string(m.Body)] = m.Attempt
	}
	if fmt.Sprint(got) != "map[b:2 c:1]" && fmt.Sprint(got) != "map[b:1 c:1]" {
		t.Errorf("after resuming: %v", got)
	}
	for what, err := range map[error]error{
		driver.ErrTopicNotFound:        e.Pause(t.Context(), "nothing", "billing", true),
		driver.ErrSubscriptionNotFound: e.Pause(t.Context(), "orders", "nobody", true),
	} {
		if !errors.Is(err, what) {
			t.Errorf("got %v, want %v", err, what)
		}
	}
}

// TestPauseUnderLoad pauses and resumes by another process, while many fetch: no
// Fetch that began after Pause returned gives anything, and in the end every
// message came, with its first attempt.
func TestPauseUnderLoad(t *testing.T) {
	e, s := start(t)
	other := open(t, s)
	closeAtEnd(t, other)
	const n = 4000
	join(t, e, "orders", "billing", time.Minute)
	_, stop := e.Watch("orders")
	defer stop()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var running sync.WaitGroup
	var paused, delivered, wrong, again atomic.Int64
	running.Go(func() {
		for i := range n / 10 {
			publish(t, e, "orders", "0", "1", "2", "3", "4", "5", "6", "7", "8", fmt.Sprint(i))
		}
	})
	for c := range 4 {
		consumer := fmt.Sprintf("c%d", c)
		running.Go(func() {
			for delivered.Load() < n && ctx.Err() == nil {
				before := paused.Load()
				f, err := e.Fetch(ctx, "orders", "billing", driver.FetchRequest{Consumer: consumer, Max: 7})
				if err != nil {
					t.Errorf("Fetch: %v", err)
					return
				}
				if before > 0 && paused.Load() == before {
					wrong.Add(int64(len(f.Messages)))
				}
				delivered.Add(int64(len(f.Messages)))
				var acks []driver.Settlement
				for _, m := range f.Messages {
					if m.Attempt != 1 {
						again.Add(1)
					}
					acks = append(acks, driver.Settlement{ID: m.ID, Do: driver.Acknowledge})
				}
				if notHeld, err := e.Settle(ctx, "orders", "billing", consumer, acks); err != nil || len(notHeld) > 0 {
					t.Errorf("Settle: not held %v, %v", notHeld, err)
				}
			}
		})
	}
	for round := int64(1); round <= 20; round++ {
		pause(t, other, "orders", "billing", true)
		paused.Store(round)
		time.Sleep(10 * time.Millisecond)
		paused.Store(0)
		pause(t, other, "orders", "billing", false)
		time.Sleep(5 * time.Millisecond)
	}
	running.Wait()
	if delivered.Load() != n || wrong.Load() != 0 || again.Load() != 0 {
		t.Errorf("%d delivered of %d, %d of them while paused, %d with a later attempt", delivered.Load(), n, wrong.Load(), again.Load())
	}
}
