package archive

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/drivertest/model"
)

// failing is the reference engine, whose calls may fail.
type failing struct {
	*model.Engine
	fetch  func() error
	settle func(s []driver.Settlement) (notHeld []string, err error)
}

func (f *failing) Fetch(ctx context.Context, topic, subscription string, req driver.FetchRequest) (driver.Fetched, error) {
	if f.fetch != nil {
		if err := f.fetch(); err != nil {
			return driver.Fetched{}, err
		}
	}
	return f.Engine.Fetch(ctx, topic, subscription, req)
}

func (f *failing) Settle(ctx context.Context, topic, subscription, consumer string, s []driver.Settlement) ([]string, error) {
	if f.settle != nil {
		if notHeld, err := f.settle(s); err != nil || notHeld != nil {
			return notHeld, err
		}
	}
	return f.Engine.Settle(ctx, topic, subscription, consumer, s)
}

// Run returns nil after its context ended, also while the engine is away, and
// completes its file.
func TestItEndsInAnOutage(t *testing.T) {
	engine := &failing{Engine: model.New(time.Now)}
	bus, dir := openOn(t, engine), t.TempDir()
	ids := publish(t, bus, 0, 10)
	ctx, cancel := context.WithCancel(t.Context())
	engine.fetch = func() error {
		if lag, pending := state(t, bus); lag != 0 || pending != 0 {
			return nil
		}
		cancel()
		return fmt.Errorf("test: %w", driver.ErrUnavailable)
	}
	if err := Run(ctx, bus, "orders", "files", dir, &Options{Logger: quiet}); err != nil {
		t.Error(err)
	}
	expectWhole(t, dir, ids)
	if parts, _ := filepath.Glob(filepath.Join(dir, "*"+partSuffix)); len(parts) > 0 {
		t.Errorf("%q are not completed", parts)
	}
}

// An acknowledgement of which one part fails, and another names what is not held,
// is tried again.
func TestAcknowledgementsThatFailInPartAreTriedAgain(t *testing.T) {
	engine := &failing{Engine: model.New(time.Now)}
	bus, dir := openOn(t, engine), t.TempDir()
	ids := publish(t, bus, 0, 2*driver.ExactSettlements)
	var failed, missing atomic.Bool
	engine.settle = func(s []driver.Settlement) ([]string, error) {
		if s[0].ID == ids[0] && !failed.Swap(true) {
			return nil, fmt.Errorf("test: %w", driver.ErrUnavailable)
		}
		if s[0].ID != ids[0] && !missing.Swap(true) {
			return []string{s[0].ID}, nil
		}
		return nil, nil
	}
	if err := untilEnd(t, bus, dir, Options{}); err != nil {
		t.Error(err)
	}
	if lag, pending := state(t, bus); lag != 0 || pending != 0 {
		t.Errorf("%d are not delivered, %d not acknowledged", lag, pending)
	}
	expectWhole(t, dir, ids)
}

// An engine without room for a while is no reason to end.
func TestAFullEngineIsWaitedFor(t *testing.T) {
	engine := &failing{Engine: model.New(time.Now)}
	bus, dir := openOn(t, engine), t.TempDir()
	ids := publish(t, bus, 0, 10)
	calls := 0
	engine.fetch = func() error {
		if calls++; calls == 1 {
			return fmt.Errorf("test: %w", driver.ErrFull)
		}
		return nil
	}
	if err := untilEnd(t, bus, dir, Options{}); err != nil {
		t.Error(err)
	}
	expectWhole(t, dir, ids)
}

// What is damaged a second time does not take the place of what was kept before.
func TestDamageIsKeptAgain(t *testing.T) {
	dir := t.TempDir()
	n := name{topic: "t", number: 1, id: "a", part: true}
	path := filepath.Join(dir, n.String())
	good, damage := []byte("{\"id\":\"a\"}\n"), [][]byte{[]byte("first damage\n"), []byte("second damage\n")}
	for _, d := range damage {
		write(t, path, slices.Concat(good, d))
		if err := reopenDir(t, dir, false).close(false); err != nil {
			t.Fatal(err)
		}
	}
	n.part = false
	kept, err := readFile(filepath.Join(dir, n.String()+".damaged"))
	if want := slices.Concat(damage...); err != nil || string(kept) != string(want) {
		t.Errorf("kept is %q, %v; want %q", kept, err, want)
	}
}
