package onredis

import (
	"context"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/redistest"
)

// TestFailover has a primary replaced, in every way, while somebody waits for what
// comes: hints, fetches, requests and delayed messages go on by themselves, and it can
// be seen that something may be lost.
func TestFailover(t *testing.T) {
	t.Parallel()
	s := redistest.Sentinel(t)
	c := redistest.Cluster(t, 3, 1)
	for _, way := range []struct {
		name, url string
		failOver  func()
	}{
		{"sentinel on command", s.URL(), func() { s.Failover() }},
		{"sentinel by a crash", s.URL(), func() {
			_, old := s.Crash()
			t.Cleanup(func() { old.Restart() })
		}},
		{"cluster on command", c.URL(), func() { c.Failover(c.Owner("beck:orders")) }},
		{"cluster by a crash", c.URL(), func() { c.Settle(); c.Crash(c.Owner("beck:orders")) }},
	} {
		t.Run(way.name, func(t *testing.T) { testFailover(t, openAt(t, way.url), way.failOver) })
	}
}

func testFailover(t *testing.T, e *engine, failOver func()) {
	const patience = 30 * time.Second
	join(t, e, "orders", "billing", time.Second)
	hints, stop := e.Watch("orders")
	defer stop()
	replies := serve(t, e, "price", "re ")
	defer replies()
	publish(t, e, "orders", "before")
	before := page(t, e)
	for len(fetch(t, e, "orders", "billing", "c", 10).Messages) > 0 {
	}
	drain(hints)
	failOver()

	published := appendWithin(t, e, patience, driver.Message{Body: []byte("after")})
	delayed := appendWithin(t, e, patience, driver.Message{Body: []byte("delayed"), Delay: 50 * time.Millisecond})
	if published == "" || delayed == "" {
		t.Fatal("no id")
	}
	began := time.Now()
	bodies := map[string]bool{}
	for deadline := time.Now().Add(patience); !bodies["after"] || !bodies["delayed"]; {
		select {
		case <-hints:
		case <-time.After(time.Until(deadline)):
			t.Fatalf("fetched %v only within %v", bodies, patience)
		}
		f, err := e.Fetch(t.Context(), "orders", "billing", driver.FetchRequest{Consumer: "c", Max: 10, Recover: true})
		if err != nil {
			t.Logf("Fetch: %v", err)
			time.Sleep(50 * time.Millisecond)
			e.hub.hint("orders", false)
			continue
		}
		for _, m := range f.Messages {
			bodies[string(m.Body)] = true
		}
	}
	t.Logf("fetched all %v after it was published", time.Since(began))
	after := page(t, e)
	if before.Era == "" || before.Era == after.Era {
		t.Errorf("the era was %q and is %q: it was to change", before.Era, after.Era)
	}
	if again := page(t, e); again.Era != after.Era {
		t.Errorf("the era was %q and is %q without cause", after.Era, again.Era)
	}
	answered := false
	for deadline := time.Now().Add(patience); !answered && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		got, err := request(e, "price", "x", time.Second)
		answered = err == nil && got == "re x"
	}
	if !answered {
		t.Error("no request is answered any more")
	}
}

// page reads the topic by the connection of those who watch.
func page(t *testing.T, e *engine) driver.Page {
	t.Helper()
	p, err := e.Read(t.Context(), "orders", driver.Position{}, 10)
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	return p
}

// appendWithin publishes a message, and tries again if that fails.
func appendWithin(t *testing.T, e *engine, limit time.Duration, m driver.Message) string {
	t.Helper()
	var last error
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		ids, err := e.Append(ctx, "orders", []driver.Message{m})
		cancel()
		if err == nil {
			return ids[0]
		}
		last = err
	}
	t.Fatalf("nothing can be published within %v: %v", limit, last)
	return ""
}
