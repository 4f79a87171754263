package onredis

import (
	"sync"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/drivertest"
	"github.com/beckmq/beck/internal/redistest"
	"github.com/beckmq/beck/internal/streamid"
)

// TestConformance runs each case on a Redis of its own, which writes everything
// to disk before it answers, so that a crash may lose nothing.
func TestConformance(t *testing.T) {
	conformance(t, nil, func(t testing.TB) (*redistest.Server, string) {
		s := redistest.Start(t, synced...)
		return s, s.URL()
	})
}

// TestConformanceSecured runs each case over TLS, with a certificate on both sides,
// as the user whom docs/redis-acl.md proposes.
func TestConformanceSecured(t *testing.T) {
	t.Parallel()
	o := secured(t, synced...)
	// Other tests run beside this one, and have goroutines of their own.
	skip := map[string]string{"calls/close": "TestConformance looks what is left behind Close"}
	conformance(t, skip, func(t testing.TB) (*redistest.Server, string) {
		s := redistest.StartWith(t, o)
		return s, s.URLAs("beck", "secret")
	})
}

// synced has a Redis write everything to disk before it answers.
var synced = []string{"--appendonly", "yes", "--appendfsync", "always"}

// conformance runs the suite, each case on a server that start starts and that is
// at the address that start returns.
func conformance(t *testing.T, skip map[string]string, start func(testing.TB) (*redistest.Server, string)) {
	type place struct {
		server *redistest.Server
		url    string
	}
	var places sync.Map // driver.Engine → place
	openAt := func(t testing.TB, at place) driver.Engine {
		e, err := openEngine(t.Context(), at.url, &Options{})
		if err != nil {
			t.Fatalf("open %s: %v", at.server.Addr(), err)
		}
		places.Store(e, at)
		return e
	}
	placeOf := func(e driver.Engine) place {
		at, _ := places.Load(e)
		return at.(place)
	}
	drivertest.Run(t, drivertest.Harness{
		Skip: skip,
		Open: func(t testing.TB) driver.Engine {
			s, url := start(t)
			return openAt(t, place{s, url})
		},
		Reopen: func(t testing.TB, e driver.Engine) driver.Engine {
			if err := e.Close(t.Context()); err != nil {
				t.Fatalf("Close: %v", err)
			}
			return openAt(t, placeOf(e))
		},
		Crash: func(t testing.TB, e driver.Engine) driver.Engine {
			at := placeOf(e)
			at.server.Kill()
			_ = e.Close(t.Context())
			at.server.Restart()
			return openAt(t, at)
		},
		Remove: func(t testing.TB, e driver.Engine, topic string, ids ...string) {
			command := []string{"XDEL", e.(*engine).names.stream(topic)}
			for _, id := range ids {
				parsed, err := streamid.Parse(id)
				if err != nil {
					t.Fatalf("id %q: %v", id, err)
				}
				command = append(command, parsed.Redis())
			}
			placeOf(e).server.Do(command...)
		},
		Durability: drivertest.Durabilities{
			Gives:  []driver.Durability{{Synced: true}},
			Misses: &driver.Durability{Replicas: 1, Within: 100 * time.Millisecond},
		},
	})
}

// open opens an engine whose user closes it.
func open(t testing.TB, s *redistest.Server) *engine {
	t.Helper()
	e, err := openEngine(t.Context(), s.URL(), &Options{})
	if err != nil {
		t.Fatalf("open %s: %v", s.URL(), err)
	}
	return e
}
