package onredis

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/drivertest"
	"github.com/beckmq/beck/internal/redistest"
	"github.com/beckmq/beck/internal/streamid"
)

// several are instances that tests share; each test has a prefix of its own.
type several struct {
	servers map[string]*redistest.Server
	hosts   []string
}

func startSeveral(t testing.TB, n int, args ...string) *several {
	t.Helper()
	s := &several{servers: map[string]*redistest.Server{}}
	for range n {
		one := redistest.Start(t, args...)
		s.servers[one.Addr()] = one
		s.hosts = append(s.hosts, one.Addr())
	}
	return s
}

// one opens instances by their names.
func (s *several) one(names keys) func(context.Context, string) (*engine, error) {
	return func(ctx context.Context, name string) (*engine, error) {
		a, err := shardsAddress("redis+shards://" + name)
		if err != nil {
			return nil, err
		}
		return opener(a, names, &Options{})(ctx, name)
	}
}

// open opens the engine over some of the instances; its user closes it.
func (s *several) open(t testing.TB, names keys, hosts ...string) *shards {
	t.Helper()
	e, err := openShards(t.Context(), hosts, names, slog.Default(), s.one(names))
	if err != nil {
		t.Fatalf("open %v: %v", hosts, err)
	}
	return e
}

// at is the server that has a topic, a subject or a service.
func (s *several) at(e *shards, topic string) *redistest.Server {
	return s.servers[e.place(topic)]
}

func closeShards(t testing.TB, e *shards) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := e.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// TestShardsConformance runs the suite over three instances. What becomes of data when
// one of them crashes is its own matter, and held to by TestConformance.
func TestShardsConformance(t *testing.T) {
	s := startSeveral(t, 3)
	var runs atomic.Int64
	drivertest.Run(t, drivertest.Harness{
		Open: func(t testing.TB) driver.Engine {
			return s.open(t, keys{prefix: fmt.Sprintf("run%d:", runs.Add(1))}, s.hosts...)
		},
		Reopen: func(t testing.TB, e driver.Engine) driver.Engine {
			closeShards(t, e.(*shards))
			return s.open(t, e.(*shards).names, s.hosts...)
		},
		Remove: func(t testing.TB, e driver.Engine, topic string, ids ...string) {
			command := []string{"XDEL", e.(*shards).names.stream(topic)}
			for _, id := range ids {
				parsed, err := streamid.Parse(id)
				if err != nil {
					t.Fatalf("id %q: %v", id, err)
				}
				command = append(command, parsed.Redis())
			}
			s.at(e.(*shards), topic).Do(command...)
		},
	})
}
