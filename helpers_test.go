package beck_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/drivertest/model"
)

// faulty is the reference engine, with an outage that can be switched on.
type faulty struct {
	*model.Engine
	down  atomic.Bool
	reads atomic.Int64
	late  atomic.Int64 // nanoseconds by which answers to Fetch and Settle are late
}

func (f *faulty) Read(ctx context.Context, topic string, from driver.Position, max int) (driver.Page, error) {
	if f.down.Load() {
		return driver.Page{}, fmt.Errorf("test: %w", driver.ErrUnavailable)
	}
	f.reads.Add(1)
	return f.Engine.Read(ctx, topic, from, max)
}

func (f *faulty) Fetch(ctx context.Context, topic, subscription string, req driver.FetchRequest) (driver.Fetched, error) {
	got, err := f.Engine.Fetch(ctx, topic, subscription, req)
	time.Sleep(time.Duration(f.late.Load()))
	if f.down.Load() {
		// As bad as it gets: the messages are leased, and the answer is lost.
		return driver.Fetched{}, fmt.Errorf("test: %w", driver.ErrUncertain)
	}
	return got, err
}

func (f *faulty) Settle(ctx context.Context, topic, subscription, consumer string, s []driver.Settlement) ([]string, error) {
	if f.down.Load() {
		return nil, fmt.Errorf("test: %w", driver.ErrUnavailable)
	}
	notHeld, err := f.Engine.Settle(ctx, topic, subscription, consumer, s)
	time.Sleep(time.Duration(f.late.Load()))
	return notHeld, err
}

func (f *faulty) Outstanding(ctx context.Context, topic, subscription string, ids []string) (map[string]driver.State, error) {
	if f.down.Load() {
		return nil, fmt.Errorf("test: %w", driver.ErrUnavailable)
	}
	return f.Engine.Outstanding(ctx, topic, subscription, ids)
}

func open(t testing.TB) (*beck.Bus, *faulty) {
	t.Helper()
	engine := &faulty{Engine: model.New(time.Now)}
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

// publish publishes n messages whose bodies are numbers from first on.
func publish(t testing.TB, bus *beck.Bus, topic string, first, n int) []string {
	t.Helper()
	messages := make([]beck.Message, n)
	for i := range messages {
		messages[i].Body = fmt.Append(nil, first+i)
	}
	ids, err := bus.Publish(context.Background(), topic, messages...)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// within bounds a test's waiting.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}
