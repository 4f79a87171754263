package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/examples/internal/place"
	"github.com/beckmq/beck/internal/redistest"
)

func TestServicesTalk(t *testing.T) {
	t.Run("disk", func(t *testing.T) { testServices(t, "disk:"+t.TempDir()) })
	t.Run("redis", func(t *testing.T) { testServices(t, redistest.Start(t).URL()) })
}

func testServices(t *testing.T, at string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	bus, err := place.Open(ctx, at)
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close(context.WithoutCancel(ctx))

	// Without stock, sales knows at once.
	begin := time.Now()
	if err := order(ctx, bus, Order{"tea", 1}); !errors.Is(err, beck.ErrNoReplier) {
		t.Errorf("an order without stock: %v", err)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("that took %v", took)
	}

	s := newStock()
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.run(running, bus) }()
	for errors.Is(order(ctx, bus, Order{"tea", 1}), beck.ErrNoReplier) {
		time.Sleep(10 * time.Millisecond)
	}
	var out bytes.Buffer
	if err := sales(ctx, bus, strings.NewReader("tea 4\neggs 5\nsalt 1\ntea\n"), &out); err != nil {
		t.Fatal(err)
	}
	want := "tea: 4 ordered\neggs: there are not enough\nsalt: there is no article \"salt\"\ntea: an article and a number are wanted\n"
	if out.String() != want {
		t.Errorf("sales said\n%s, not\n%s", out.String(), want)
	}
	left := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.count["tea"]
	}
	for left() != 5 && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}

	// What is ordered while stock is away, it hears of when it is back.
	if _, err := bus.Publish(ctx, ordered, beck.Message{Body: []byte(`{"article":"tea","count":2}`)}); err != nil {
		t.Fatal(err)
	}
	running, stop = context.WithCancel(ctx)
	go func() { ended <- s.run(running, bus) }()
	for left() != 3 && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	if err := <-ended; err != nil || left() != 3 {
		t.Errorf("%d are left, not 3: %v", left(), err)
	}
}

func TestBothInOne(t *testing.T) {
	bus, err := place.Open(t.Context(), "disk:"+t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close(t.Context())
	var out bytes.Buffer
	if err := both(t.Context(), bus, strings.NewReader("tea 4\n"), &out); err != nil {
		t.Error(err)
	}
	if want := "tea: 4 ordered\n"; out.String() != want {
		t.Errorf("it said %q, want %q", out.String(), want)
	}
}

// Somebody who interrupts the program need not enter another order first.
func TestSalesEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	in, typing := io.Pipe()
	defer typing.Close()
	ended := make(chan error, 1)
	go func() { ended <- sales(ctx, nil, in, io.Discard) }()
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it goes on")
	}
}
