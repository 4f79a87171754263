package onredis

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/redistest"
)

// TestFailover has a primary replaced, in every way, while somebody waits for what
// comes: hints, fetches, requests and delayed messages go on by themselves, and it can
// be seen, once, that something may be lost.
func TestFailover(t *testing.T) {
	t.Parallel()
	s := redistest.Sentinel(t, "--appendonly", "yes") // what keeps its data may still be behind
	c := redistest.Cluster(t, 3, 1)
	for _, way := range []struct {
		name, url string
		failOver  func() *redistest.Server
	}{
		{"sentinel on command", s.URL(), func() *redistest.Server { return s.Failover() }},
		{"sentinel by a crash", s.URL(), func() *redistest.Server {
			next, old := s.Crash()
			t.Cleanup(func() { old.Restart() })
			return next
		}},
		{"cluster on command", c.URL(), func() *redistest.Server { return c.Failover(c.Owner("beck:orders")) }},
		{"cluster by a crash", c.URL(), func() *redistest.Server { c.Settle(); return c.Crash(c.Owner("beck:orders")) }},
	} {
		t.Run(way.name, func(t *testing.T) { testFailover(t, openAt(t, way.url), way.failOver) })
	}
}

func testFailover(t *testing.T, e *engine, failOver func() *redistest.Server) {
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
	told := followEras(t, e, before.Era)
	// What the old primary takes until it hears of the new one is lost, as documented.
	leadsTo(t, e, failOver(), patience)

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
	for i, eras := range told() {
		// A node of a cluster that has not heard of the failover may cause another one.
		if len(eras) == 0 || e.cluster == nil && (len(eras) != 1 || eras[0] != after.Era) {
			t.Errorf("reader %d was told of the eras %q, want %q alone", i, eras, after.Era)
		}
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

// followEras reads without a pause, the topic that is watched and one that is not, so
// by both clients. It returns a function that ends this and tells of which eras each
// reader was told.
func followEras(t *testing.T, e *engine, first string) func() [][]string {
	var enough atomic.Bool
	told := make([][]string, 3)
	var readers sync.WaitGroup
	for i := range told {
		topic := "orders"
		if i == 0 {
			topic = "{beck:orders}" // in the same slot
		}
		readers.Go(func() {
			for last, end := first, false; !end; {
				end = enough.Load()
				p, err := e.Read(t.Context(), topic, driver.Position{}, 10)
				switch {
				case err != nil && !end:
					time.Sleep(time.Millisecond)
				case err != nil:
					t.Errorf("Read: %v", err)
				case p.Era != last:
					last = p.Era
					told[i] = append(told[i], last)
				default:
					time.Sleep(100 * time.Microsecond)
				}
			}
		})
	}
	return func() [][]string {
		enough.Store(true)
		readers.Wait()
		return told
	}
}

// leadsTo waits until what is published goes to a server.
func leadsTo(t *testing.T, e *engine, s *redistest.Server, limit time.Duration) {
	t.Helper()
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		reply, err := e.work.at("beck:orders").do(t.Context(), e.b.Info().Section("server").Build())
		if err != nil {
			continue
		}
		if info, err := reply.ToString(); err == nil && strings.HasSuffix(s.Addr(), ":"+infoField(info, "tcp_port")) {
			return
		}
	}
	t.Fatalf("nothing goes to %s within %v", s.Addr(), limit)
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

// TestHungPrimary has a primary hang with a call under way, until another one has
// taken its place: the call ends then, and not only when its time is over.
func TestHungPrimary(t *testing.T) {
	t.Parallel()
	g := redistest.Sentinel(t)
	c := redistest.Cluster(t, 3, 1)
	for _, d := range []struct {
		name, url string
		primary   func() *redistest.Server
	}{
		{"sentinel", g.URL(), g.Primary},
		{"cluster", c.URL(), func() *redistest.Server { return c.Owner("beck:orders") }},
	} {
		t.Run(d.name, func(t *testing.T) {
			e := openAt(t, d.url)
			publish(t, e, "orders", "before")
			s := d.primary()
			s.Pause()
			defer s.Continue()
			ended := make(chan error, 1)
			go func() {
				_, err := e.Append(context.Background(), "orders", []driver.Message{{Body: []byte("x")}})
				ended <- err
			}()
			// With a new client, which knows nothing of the old one.
			appendWithin(t, openSoon(t, d.url), 30*time.Second, driver.Message{Body: []byte("y")})
			select {
			case err := <-ended:
				if err != nil && !errors.Is(err, driver.ErrUncertain) && !errors.Is(err, driver.ErrUnavailable) {
					t.Errorf("the call under way: %v, want ErrUncertain, or ErrUnavailable if it was not sent", err)
				}
			case <-time.After(5 * time.Second):
				t.Error("the call under way goes on though there is another primary")
			}
		})
	}
}

// openSoon opens an engine once that can be done.
func openSoon(t *testing.T, url string) *engine {
	t.Helper()
	var last error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		e, err := openEngine(t.Context(), url, &Options{})
		if err == nil {
			closeAtEnd(t, e)
			return e
		}
		last = err
	}
	t.Fatalf("open %s: %v", url, last)
	return nil
}
