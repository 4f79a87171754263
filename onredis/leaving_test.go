package onredis

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/redistest"
)

// TestNodeLeaves closes the connections to a node that has left its cluster, as it
// hangs, while it is being read from: the topic can't be reached for now, but nobody
// has closed the engine, and so nobody who follows may end.
func TestNodeLeaves(t *testing.T) {
	t.Parallel()
	c := redistest.Cluster(t, 1, 0)
	e := openAt(t, c.URL())
	publish(t, e, "orders", "x")
	s := c.Owner("beck:orders")
	s.Pause()
	got := make(chan error, 1)
	go func() {
		_, err := e.Read(context.Background(), "orders", driver.Position{}, 10)
		got <- err
	}()
	link, err := e.work.at("beck:orders").link(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for limit := time.Now().Add(5 * time.Second); len(link.calls) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("nothing is being read")
		}
	}
	e.work.keep(map[string]bool{})
	_, late := link.do(t.Context(), e.b.Ping().Build())
	for what, err := range map[string]error{"a read under way": <-got, "one that comes late": e.explain(t.Context(), late, "", reading)} {
		if !errors.Is(err, driver.ErrUnavailable) || errors.Is(err, driver.ErrClosed) {
			t.Errorf("%s: %v, want ErrUnavailable", what, err)
		}
	}
	s.Continue()
	if n := len(read(t, e, "orders")); n != 1 {
		t.Errorf("%d messages are read by a new connection, want 1", n)
	}
}
