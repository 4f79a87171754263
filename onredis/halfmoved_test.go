package onredis

import (
	"slices"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/redistest"
)

// TestHalfMovedSlot reads, whenever it is hinted at, a topic whose slot stays half
// moved: that is not all the time. Messages are hinted at all the same.
func TestHalfMovedSlot(t *testing.T) {
	t.Parallel()
	c := redistest.Cluster(t, 2, 0)
	e := openAt(t, c.URL())
	hints, stop := e.Watch("orders")
	defer stop()
	publish(t, e, "orders", "x")
	page(t, e)
	const key = "beck:orders"
	from := c.Owner(key)
	to := slices.DeleteFunc(c.Primaries(), func(s *redistest.Server) bool { return s == from })[0]
	c.BeginMove(from, to, c.Slot(key), 100)
	read, end := 0, time.After(300*time.Millisecond)
	for over := false; !over; {
		select {
		case <-hints:
			page(t, e)
			read++
		case <-end:
			over = true
		}
	}
	if read > 20 {
		t.Errorf("it was hinted at %d times without a cause", read)
	}
	drain(hints)
	publish(t, e, "orders", "y")
	hinted(t, hints, 3*time.Second, "a message in a slot that is half moved")
	if n := len(page(t, e).Messages); n != 2 {
		t.Errorf("%d messages, want 2", n)
	}
}

// TestNodeHangs delays a message at one node of a cluster while another one hangs.
func TestNodeHangs(t *testing.T) {
	t.Parallel()
	c := redistest.Cluster(t, 2, 0, "--cluster-node-timeout", "60000")
	e := openAt(t, c.URL())
	hung, other := c.Owner("beck:orders"), "a"
	for c.Owner("beck:"+other) == hung {
		other += "a"
	}
	for _, topic := range []string{"orders", other} {
		_, stop := e.Watch(topic)
		defer stop()
		publish(t, e, topic, "x")
	}
	hung.Pause()
	defer hung.Continue()
	e.mover.look("orders")
	time.Sleep(50 * time.Millisecond) // it is being looked at
	began := time.Now()
	if _, err := e.Append(t.Context(), other, []driver.Message{{Body: []byte("y"), Delay: 50 * time.Millisecond}}); err != nil {
		t.Fatal(err)
	}
	for len(read(t, e, other)) < 2 {
		if time.Since(began) > moveTimeout/2 {
			t.Fatalf("it has not entered its topic for %v", time.Since(began))
		}
		time.Sleep(10 * time.Millisecond)
	}
}
