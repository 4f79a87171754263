package beck

import (
	"slices"
	"sync"
	"testing"
	"time"
)

// waiting waits until so many wait at a turnstile.
func (t *turnstile) await(tb testing.TB, n int) {
	tb.Helper()
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		t.gate.mu.Lock()
		there := len(t.waiting)
		t.gate.mu.Unlock()
		if there == n {
			return
		}
		if time.Since(begin) > 10*time.Second {
			tb.Fatalf("%d wait at the turnstile, not %d", there, n)
		}
	}
}

func TestGateLetsInByWeight(t *testing.T) {
	g := newGate(1)
	urgent, usual := g.add(3), g.add(1)
	urgent.enter(nil)
	entered := make(chan string)
	var all sync.WaitGroup
	for name, q := range map[string]*turnstile{"urgent": urgent, "usual": usual} {
		for range 8 {
			all.Go(func() {
				q.enter(nil)
				entered <- name
				q.leave()
			})
		}
	}
	urgent.await(t, 8)
	usual.await(t, 8)
	urgent.leave()
	var order []string
	for range 16 {
		order = append(order, <-entered)
	}
	all.Wait()
	count := func(s []string, name string) (n int) {
		for _, one := range s {
			if one == name {
				n++
			}
		}
		return n
	}
	for n := 4; n <= 8; n += 4 {
		if got := count(order[:n], "usual"); got != n/4 {
			t.Errorf("of the first %d, %d are of the queue with weight 1 of 4: %q", n, got, order)
		}
	}
	if g.free != 1 {
		t.Errorf("%d places are free at the end, not 1", g.free)
	}
	if slices.Contains(order[11:], "urgent") {
		t.Errorf("the queue with weight 3 of 4 was not done after 11 of 16: %q", order)
	}
}

func TestGateForgetsWhoGivesUp(t *testing.T) {
	g := newGate(1)
	q := g.add(1)
	q.enter(nil)
	quit := make(chan struct{})
	refused := make(chan bool)
	go func() { refused <- q.enter(quit) }()
	q.await(t, 1)
	close(quit)
	if <-refused {
		t.Error("one who gave up was let in")
	}
	q.leave()
	if !q.enter(nil) || g.free != 0 {
		t.Errorf("the place of one who gave up is lost: %d are free", g.free)
	}
}

func TestGateHandsOnThePlaceOfOneWhoGaveUp(t *testing.T) {
	g := newGate(1)
	q := g.add(1)
	for range 200 {
		q.enter(nil)
		quit := make(chan struct{})
		done := make(chan struct{})
		go func() {
			if q.enter(quit) {
				q.leave()
			}
			close(done)
		}()
		q.await(t, 1)
		go close(quit)
		q.leave()
		<-done
		if g.free != 1 {
			t.Fatalf("%d places are free, not 1", g.free)
		}
	}
}
