package onhttp

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/drivertest"
	"github.com/beckmq/beck/internal/drivertest/model"
	"github.com/beckmq/beck/internal/server"
)

// TestMain has more cases go on at a time than there are processors, because most
// of them wait most of the time.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

func silent() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// running is a real server over a bus, on a port of its own.
type running struct {
	bus    *beck.Bus
	server *server.Server
	served chan error
	url    string
}

// serve starts a server on an address of this machine; port 0 is a free one.
func serve(t testing.TB, bus *beck.Bus, address string) *running {
	t.Helper()
	s, err := server.New(bus, &server.Options{Logger: silent()})
	if err != nil {
		t.Fatal(err)
	}
	var listener net.Listener
	for range 50 { // an address that was just left may be taken for a moment
		if listener, err = server.Listen(t.Context(), address, false); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	r := &running{bus: bus, server: s, served: make(chan error, 1), url: "http://" + listener.Addr().String()}
	go func() { r.served <- s.Serve(listener) }()
	return r
}

// stop ends the server, and then the bus.
func (r *running) stop(ctx context.Context) error {
	return errors.Join(r.server.Shutdown(ctx), <-r.served, r.bus.Close(ctx))
}

// modelDurabilities are those of onModel.
var modelDurabilities = drivertest.Durabilities{
	Gives:  []driver.Durability{{Synced: true}, {Replicas: 2, Within: time.Second}},
	Misses: &driver.Durability{Replicas: 3, Within: time.Millisecond},
	Never:  &driver.Durability{Replicas: 100},
}

// onModel is a bus on the reference engine, with two replicas.
func onModel(t testing.TB) *beck.Bus {
	t.Helper()
	engine := model.New(time.Now)
	engine.Durable = func(d driver.Durability) error {
		switch {
		case d.Replicas >= 100:
			return fmt.Errorf("%w: too many replicas", beck.ErrOption)
		case d.Replicas > 2:
			return fmt.Errorf("%w: 2 of %d replicas within %v", driver.ErrDurability, d.Replicas, d.Within)
		}
		return nil
	}
	bus, err := beck.New(engine, &beck.Options{Logger: silent(), MaxBody: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return bus
}

// connect opens an engine on a server.
func connect(t testing.TB, url string) *engine {
	t.Helper()
	e, err := newEngine(url, &Options{Options: beck.Options{Logger: silent()}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}
