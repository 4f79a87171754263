package onredis

import (
	"sync"
	"testing"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/drivertest"
	"github.com/beckmq/beck/internal/redistest"
	"github.com/beckmq/beck/internal/streamid"
)

// TestConformance runs each case on a Redis of its own, which writes everything
// to disk before it answers, so that a crash may lose nothing.
func TestConformance(t *testing.T) {
	var servers sync.Map // address → *redistest.Server
	serverOf := func(e driver.Engine) *redistest.Server {
		s, _ := servers.Load(e.(*engine).addr.Hosts[0])
		return s.(*redistest.Server)
	}
	drivertest.Run(t, drivertest.Harness{
		Open: func(t testing.TB) driver.Engine {
			s := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
			servers.Store(s.Addr(), s)
			return open(t, s)
		},
		Reopen: func(t testing.TB, e driver.Engine) driver.Engine {
			if err := e.Close(t.Context()); err != nil {
				t.Fatalf("Close: %v", err)
			}
			return open(t, serverOf(e))
		},
		Crash: func(t testing.TB, e driver.Engine) driver.Engine {
			s := serverOf(e)
			s.Kill()
			_ = e.Close(t.Context())
			s.Restart()
			return open(t, s)
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
			serverOf(e).Do(command...)
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
