package ondisk

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

func TestContext(t *testing.T) {
	e := open(t, "db", inMemory())
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Append(ended, "a", bodies(0, 1)); !errors.Is(err, context.Canceled) || errors.Is(err, driver.ErrUncertain) {
		t.Errorf("context ended before: %v", err)
	}

	// Hold up the committer, so that one request has begun and one waits.
	hold, held := make(chan struct{}), make(chan struct{})
	slow, stopSlow := context.WithCancel(t.Context())
	errs := make(chan error, 2)
	go func() {
		errs <- e.submit(slow, &request{decide: func(*transaction) error { close(held); <-hold; return nil }})
	}()
	<-held
	stopSlow()
	if err := <-errs; !errors.Is(err, driver.ErrUncertain) || !errors.Is(err, context.Canceled) {
		t.Errorf("context ended when it had begun: %v", err)
	}
	waiting, stopWaiting := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, errors.New("out of patience"))
	defer stopWaiting()
	if _, err := e.Append(waiting, "a", bodies(0, 1)); err == nil || err.Error() != "out of patience" {
		t.Errorf("context ended while it waited: %v", err)
	}
	close(hold)
	publish(t, e, "a", bodies(1, 1)...)
	if got := text(read(t, e, "a", driver.Position{}, 10).Messages); got != "1 " {
		t.Errorf("stored: %q", got)
	}
}

// Ids grow whatever the clock does, also over restarts.
func TestClockGoesBack(t *testing.T) {
	clock := newClock()
	set := settings{fs: vfs.NewMem(), reserve: 1, now: clock.now}
	last := ""
	for _, jump := range []time.Duration{0, time.Hour, -2 * time.Hour, 0, time.Minute, -time.Hour * 24 * 365 * 60, 0} {
		clock.at = clock.at.Add(jump)
		e := mustOpen(t, "db", set)
		for _, id := range publish(t, e, "a", bodies(0, 3)...) {
			if id <= last {
				t.Errorf("after a jump of %v: %s behind %s", jump, id, last)
			}
			last = id
		}
		shut(t, e)
	}
}

// A lease never lasts longer than the subscription's, though the clock went back
// between two runs.
func TestLeaseAfterClockWentBack(t *testing.T) {
	clock := newClock()
	set := settings{fs: vfs.NewMem(), reserve: 1, now: clock.now}
	e := mustOpen(t, "db", set)
	publish(t, e, "a", bodies(0, 1)...)
	join(t, e, "a", "s", driver.JoinConfig{Lease: time.Minute})
	fetch(t, e, "a", "s", "c", 1)
	shut(t, e)
	clock.at = clock.at.Add(-24 * time.Hour)
	e = open(t, "db", set)
	if f := fetch(t, e, "a", "s", "d", 1); len(f.Messages) > 0 || f.Next > time.Minute {
		t.Errorf("next after %v", f.Next)
	}
}

func TestForgottenConsumers(t *testing.T) {
	clock := newClock()
	e := open(t, "db", settings{fs: vfs.NewMem(), reserve: 1, now: clock.now})
	publish(t, e, "a", bodies(0, 1)...)
	join(t, e, "a", "s", driver.JoinConfig{})
	fetch(t, e, "a", "s", "busy", 1)
	fetch(t, e, "a", "s", "idle", 1)
	clock.at = clock.at.Add(2 * time.Hour)
	info, err := e.Topic(t.Context(), "a")
	if c := info.Subscriptions[0].Consumers; err != nil || len(c) != 1 || c[0].Name != "busy" || c[0].Idle != 2*time.Hour {
		t.Errorf("consumers %+v, %v", c, err)
	}
}

// Consumers that come under ever new names are forgotten, though nobody asks.
func TestForgottenCrowd(t *testing.T) {
	clock := newClock()
	e := open(t, "db", settings{fs: vfs.NewMem(), reserve: 1, now: clock.now})
	publish(t, e, "a", bodies(0, 1)...)
	join(t, e, "a", "s", driver.JoinConfig{Lease: 1000 * time.Hour})
	fetch(t, e, "a", "s", "busy", 1)
	for i := range 5000 {
		clock.at = clock.at.Add(time.Minute)
		fetch(t, e, "a", "s", fmt.Sprint("c", i), 1)
	}
	err := e.submit(t.Context(), &request{decide: func(*transaction) error {
		if list := e.state.topics["a"].subs["s"].consumers; len(list) > 4*60 || list["busy"] == nil {
			t.Errorf("%d consumers, busy is %+v", len(list), list["busy"])
		}
		return nil
	}})
	if err != nil {
		t.Error(err)
	}
}

func TestAfterClose(t *testing.T) {
	e := mustOpen(t, "db", inMemory())
	publish(t, e, "a", bodies(0, 1)...)
	join(t, e, "a", "s", driver.JoinConfig{})
	shut(t, e)
	ctx := t.Context()
	calls := map[string]func() error{
		"append": func() error { _, err := e.Append(ctx, "a", bodies(0, 1)); return err },
		"read":   func() error { _, err := e.Read(ctx, "a", driver.Position{}, 1); return err },
		"fetch": func() error {
			_, err := e.Fetch(ctx, "a", "s", driver.FetchRequest{Consumer: "c", Max: 1})
			return err
		},
		"settle": func() error {
			_, err := e.Settle(ctx, "a", "s", "c", []driver.Settlement{{ID: "1-1", Do: driver.DeadLetter}})
			return err
		},
		"topics": func() error { _, err := e.Topics(ctx); return err },
		"topic":  func() error { _, err := e.Topic(ctx, "a"); return err },
		"ping":   func() error { return e.Ping(ctx) },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, driver.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	shut(t, e)
}

// A reader that keeps up never sees a message before the one in front of it.
func TestReadersSeeOrder(t *testing.T) {
	e := open(t, t.TempDir(), settings{memory: 1 << 20})
	const publishers, each = 8, 300
	var all sync.WaitGroup
	for range publishers {
		all.Go(func() {
			for i := range each {
				publish(t, e, "a", bodies(i, 1)...)
			}
		})
	}
	hints, stop := e.Watch("a")
	defer stop()
	seen, last := 0, streamid.ID{}
	for seen < publishers*each {
		p := read(t, e, "a", driver.Position{Kind: driver.AtID, ID: last.Next().String()}, 100)
		for _, m := range p.Messages {
			last, _ = streamid.Parse(m.ID)
			seen++
		}
		if p.More || seen >= publishers*each {
			continue
		}
		select {
		case <-hints:
		case <-time.After(10 * time.Second):
			t.Fatalf("no hint after %d messages", seen)
		}
	}
	all.Wait()
	if n := len(read(t, e, "a", driver.Position{Kind: driver.AtID, ID: last.Next().String()}, 100).Messages); n > 0 {
		t.Errorf("%d messages were left behind", n)
	}
}
