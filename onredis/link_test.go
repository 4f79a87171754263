package onredis

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// TestLeftCalls leaves more calls than may be under way; once Redis answers
// again there is room for others.
func TestLeftCalls(t *testing.T) {
	e, s := start(t)
	publish(t, e, "orders", "a")
	s.Pause()
	var wg sync.WaitGroup
	for range maxCalls + 200 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			_, _ = e.Append(ctx, "orders", []driver.Message{{Body: []byte("x")}})
		})
	}
	wg.Wait()
	s.Continue()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := e.Append(ctx, "orders", []driver.Message{{Body: []byte("y")}}); err != nil {
		t.Errorf("Append after Redis went on: %v", err)
	}
}

// TestCloseWithCalls closes while a message is on its way: nobody knows whether
// it arrives. What comes later does nothing, and says so.
func TestCloseWithCalls(t *testing.T) {
	_, s := start(t)
	e := open(t, s)
	publish(t, e, "orders", "a")
	hints, stop := e.Watch("orders")
	defer stop()
	if _, err := e.Read(t.Context(), "orders", driver.Position{}, 1); err != nil {
		t.Fatal(err)
	}
	drain(hints)
	s.Pause()
	got := make(chan error, 1)
	go func() {
		_, err := e.Append(context.Background(), "orders", []driver.Message{{Body: []byte("x")}})
		got <- err
	}()
	time.Sleep(100 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_ = e.Close(ctx)
	_, late := e.Append(t.Context(), "orders", []driver.Message{{Body: []byte("x")}})
	if !errors.Is(late, driver.ErrClosed) {
		t.Errorf("Append after Close: %v, want ErrClosed", late)
	}
	s.Continue()
	select {
	case err := <-got:
		if err != nil && !errors.Is(err, driver.ErrUncertain) {
			t.Errorf("Append that was on its way: %v, want ErrUncertain", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("Append goes on after Close")
	}
	select {
	case <-hints:
		t.Error("hinted after Close")
	case <-time.After(200 * time.Millisecond):
	}
}
