package onredis

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/drivertest"
	"github.com/beckmq/beck/internal/redistest"
	"github.com/beckmq/beck/internal/streamid"
)

// TestConformanceCluster runs all cases on one Redis Cluster of three nodes, each with
// a prefix of its own.
func TestConformanceCluster(t *testing.T) {
	c := redistest.Cluster(t, 3, 0)
	conformShared(t, c.URL(), func(key string) *redistest.Server { return c.Owner(key) })
}

// TestConformanceSentinel does so on a primary that is found by way of sentinels.
func TestConformanceSentinel(t *testing.T) {
	g := redistest.Sentinel(t)
	conformShared(t, g.URL(), func(string) *redistest.Server { return g.Primary() })
}

// conformShared runs the suite at an address that all cases share. What crashes is
// shown by TestConformance, where each has a Redis of its own.
func conformShared(t *testing.T, url string, owner func(key string) *redistest.Server) {
	var count atomic.Int32
	open := func(t testing.TB, prefix string) *engine {
		e, err := openEngine(t.Context(), url, &Options{Prefix: prefix})
		if err != nil {
			t.Fatalf("open %s: %v", url, err)
		}
		return e
	}
	drivertest.Run(t, drivertest.Harness{
		Open: func(t testing.TB) driver.Engine { return open(t, fmt.Sprintf("case%d:", count.Add(1))) },
		Reopen: func(t testing.TB, e driver.Engine) driver.Engine {
			if err := e.Close(t.Context()); err != nil {
				t.Fatalf("Close: %v", err)
			}
			return open(t, e.(*engine).names.prefix)
		},
		Remove: func(t testing.TB, e driver.Engine, topic string, ids ...string) {
			key := e.(*engine).names.stream(topic)
			command := []string{"XDEL", key}
			for _, id := range ids {
				parsed, err := streamid.Parse(id)
				if err != nil {
					t.Fatalf("id %q: %v", id, err)
				}
				command = append(command, parsed.Redis())
			}
			owner(key).Do(command...)
		},
	})
}
