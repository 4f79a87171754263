package beck_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/drivertest/model"
)

// changing is an engine whose era can be changed, and which then may have lost
// messages.
type changing struct {
	*model.Engine
	mu      sync.Mutex
	era     string
	lost    map[string]bool
	watches map[chan struct{}]bool
	slow    atomic.Int64                  // nanoseconds that answers to Read need, with the era they began in
	hold    atomic.Pointer[chan struct{}] // what the answer to the next Read waits for
	refuse  atomic.Bool                   // Reads of a single message, for ever
	refused atomic.Int64                  // how many were
}

func openChanging(t testing.TB) (*beck.Bus, *changing) {
	t.Helper()
	engine := &changing{Engine: model.New(time.Now), era: "e0", lost: map[string]bool{}, watches: map[chan struct{}]bool{}}
	bus, err := beck.New(engine, &beck.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bus.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return bus, engine
}

func (c *changing) of() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.era
}

// change begins another era, in which some messages aren't there any more, and hints
// at it as an engine does that has found its connection again.
func (c *changing) change(era string, lost ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.era = era
	for _, id := range lost {
		c.lost[id] = true
	}
	for w := range c.watches {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

// changeQuietly is change, without a hint.
func (c *changing) changeQuietly(era string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.era = era
}

func (c *changing) Watch(topic string) (<-chan struct{}, func()) {
	hints, stop := c.Engine.Watch(topic)
	out, done := make(chan struct{}, 1), make(chan struct{})
	c.mu.Lock()
	c.watches[out] = true
	c.mu.Unlock()
	go func() {
		for {
			select {
			case <-hints:
				select {
				case out <- struct{}{}:
				default:
				}
			case <-done:
				return
			}
		}
	}()
	return out, func() {
		stop()
		close(done)
		c.mu.Lock()
		delete(c.watches, out)
		c.mu.Unlock()
	}
}

func (c *changing) Read(ctx context.Context, topic string, from driver.Position, max int) (driver.Page, error) {
	if max == 1 && c.refuse.Load() {
		c.refused.Add(1)
		return driver.Page{}, driver.ErrUnavailable
	}
	began := c.of()
	page, err := c.Engine.Read(ctx, topic, from, max)
	if held := c.hold.Swap(nil); held != nil {
		*held <- struct{}{} // it is under way
		<-*held
	}
	time.Sleep(time.Duration(c.slow.Load()))
	page.Era = began
	c.mu.Lock()
	defer c.mu.Unlock()
	var kept []driver.Message
	for _, m := range page.Messages {
		if !c.lost[m.ID] {
			kept = append(kept, m)
		}
	}
	if len(kept) == 0 && len(page.Messages) > 0 {
		page.Last = page.Messages[len(page.Messages)-1].ID
	}
	page.Messages = kept
	for c.lost[page.Last] { // ids of the model are numbers
		n, _ := strconv.Atoi(page.Last[1:])
		page.Last = fmt.Sprintf("m%012d", n-1)
	}
	return page, err
}

func (c *changing) Fetch(ctx context.Context, topic, subscription string, req driver.FetchRequest) (driver.Fetched, error) {
	got, err := c.Engine.Fetch(ctx, topic, subscription, req)
	got.Era = c.of()
	return got, err
}
