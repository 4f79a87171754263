package ondisk

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/beckmq/beck/internal/driver"
)

func TestMain(m *testing.M) {
	if childDirectory() != "" {
		beChild(childDirectory())
		return
	}
	goleak.VerifyTestMain(m)
}

// open opens an engine that is closed with the test.
func open(t testing.TB, dir string, set settings) *engine {
	t.Helper()
	e := mustOpen(t, dir, set)
	t.Cleanup(func() { shut(t, e) })
	return e
}

func mustOpen(t testing.TB, dir string, set settings) *engine {
	t.Helper()
	e, err := openEngine(dir, quiet(set))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return e
}

func quiet(set settings) settings {
	if set.log == nil {
		set.log = slog.New(slog.DiscardHandler)
	}
	return set
}

func shut(t testing.TB, e *engine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := e.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

func inMemory() settings { return settings{fs: vfs.NewMem(), reserve: 1} }

// bodies makes n messages whose bodies are the numbers from first on.
func bodies(first, n int) []driver.Message {
	list := make([]driver.Message, n)
	for i := range list {
		list[i].Body = fmt.Appendf(nil, "%d", first+i)
	}
	return list
}

func publish(t testing.TB, e *engine, topic string, messages ...driver.Message) []string {
	t.Helper()
	ids, err := e.Append(context.Background(), topic, messages)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return ids
}

func join(t testing.TB, e *engine, topic, sub string, config driver.JoinConfig) {
	t.Helper()
	if _, err := e.Join(context.Background(), topic, sub, config); err != nil {
		t.Fatalf("join: %v", err)
	}
}

func fetch(t testing.TB, e *engine, topic, sub, consumer string, limit int) driver.Fetched {
	t.Helper()
	f, err := e.Fetch(context.Background(), topic, sub, driver.FetchRequest{Consumer: consumer, Max: limit})
	if err != nil {
		t.Fatalf("fetch: %v", err)
	}
	return f
}

func settle(t testing.TB, e *engine, topic, sub, consumer string, list ...driver.Settlement) []string {
	t.Helper()
	notHeld, err := e.Settle(context.Background(), topic, sub, consumer, list)
	if err != nil {
		t.Fatalf("settle: %v", err)
	}
	return notHeld
}

func read(t testing.TB, e *engine, topic string, from driver.Position, limit int) driver.Page {
	t.Helper()
	p, err := e.Read(context.Background(), topic, from, limit)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return p
}

// text shows the bodies of messages, and attempts if there are any.
func text(messages []driver.Message) string {
	s := ""
	for _, m := range messages {
		s += string(m.Body)
		if m.Attempt > 0 {
			s += fmt.Sprintf("/%d", m.Attempt)
		}
		s += " "
	}
	return s
}

// fakeClock is a clock that tests move.
type fakeClock struct{ at time.Time }

func newClock() *fakeClock { return &fakeClock{time.UnixMilli(1_800_000_000_000)} }

func (c *fakeClock) now() time.Time { return c.at }

// movingClock is a fakeClock that background goroutines may look at, too.
type movingClock struct{ millis atomic.Int64 }

func newMovingClock() *movingClock {
	c := &movingClock{}
	c.millis.Store(newClock().at.UnixMilli())
	return c
}

func (c *movingClock) now() time.Time { return time.UnixMilli(c.millis.Load()) }

func (c *movingClock) forward(d time.Duration) { c.millis.Add(d.Milliseconds()) }

func appendNumber(b []byte, n uint64) []byte { return binary.AppendUvarint(b, n) }
