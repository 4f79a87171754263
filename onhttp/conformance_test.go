package onhttp

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/drivertest"
	"github.com/beckmq/beck/internal/redistest"
	"github.com/beckmq/beck/ondisk"
	"github.com/beckmq/beck/onredis"
)

// remote is an engine with the server that it speaks to, whose bus is opened by
// open on the data that it was first opened on.
type remote struct {
	*engine
	server *running
	open   func(t testing.TB) *beck.Bus
}

// Close ends the server as well.
func (r *remote) Close(ctx context.Context) error {
	return errors.Join(r.engine.Close(ctx), r.server.stop(ctx))
}

func start(t testing.TB, open func(t testing.TB) *beck.Bus) *remote {
	server := serve(t, open(t), "127.0.0.1:0")
	return &remote{engine: connect(t, server.url), server: server, open: open}
}

func TestConformanceOnModel(t *testing.T) {
	drivertest.Run(t, drivertest.Harness{
		Open:       func(t testing.TB) driver.Engine { return start(t, onModel) },
		Durability: modelDurabilities,
	})
}

func TestConformanceOnDisk(t *testing.T) {
	drivertest.Run(t, drivertest.Harness{
		Open: func(t testing.TB) driver.Engine {
			dir := t.TempDir()
			return start(t, func(t testing.TB) *beck.Bus { return onDisk(t, dir) })
		},
		Reopen: func(t testing.TB, old driver.Engine) driver.Engine {
			r := old.(*remote)
			if err := r.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
			return start(t, r.open)
		},
		Durability: drivertest.Durabilities{
			Gives: []driver.Durability{{Synced: true, Within: time.Second}},
			Never: &driver.Durability{Replicas: 1},
		},
	})
}

func TestConformanceOnRedis(t *testing.T) {
	drivertest.Run(t, drivertest.Harness{
		Open: func(t testing.TB) driver.Engine {
			redis := redistest.Start(t)
			open := func(t testing.TB) *beck.Bus { return onRedis(t, redis) }
			return start(t, open)
		},
		Durability: drivertest.Durabilities{
			Misses: &driver.Durability{Replicas: 1, Within: 100 * time.Millisecond},
			Never:  &driver.Durability{Synced: true}, // it writes no append-only file
		},
	})
}

func onRedis(t testing.TB, s *redistest.Server) *beck.Bus {
	bus, err := onredis.Open(t.Context(), s.URL(), &onredis.Options{Options: beck.Options{Logger: silent(), MaxBody: 16 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	return bus
}

func onDisk(t testing.TB, dir string) *beck.Bus {
	bus, err := ondisk.Open(dir, &ondisk.Options{Options: beck.Options{Logger: silent(), MaxBody: 16 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	return bus
}
