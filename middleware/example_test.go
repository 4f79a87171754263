package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/middleware"
	"github.com/beckmq/beck/ondisk"
)

func ExampleChain() {
	dir, err := os.MkdirTemp("", "beck")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	bus, err := ondisk.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close(context.Background())
	ctx, stop := context.WithCancel(context.Background())
	bus.Publish(ctx, "orders", beck.Message{Body: []byte("42")})

	charge := func(ctx context.Context, m *beck.Message) error {
		if m.Attempt == 1 {
			panic("the card reader is on fire")
		}
		stop()
		return nil
	}
	// Any function of this form is a middleware.
	report := func(handle beck.Handler) beck.Handler {
		return func(ctx context.Context, m *beck.Message) error {
			err := handle(ctx, m)
			fmt.Printf("order %s, attempt %d: %v\n", m.Body, m.Attempt, err)
			if err != nil {
				return errors.Join(err, beck.RetryAfter(0))
			}
			return nil
		}
	}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	handle := middleware.Chain(charge, report, middleware.Recovery(quiet), middleware.Timeout(5*time.Second))
	if err := bus.Subscribe(ctx, "orders", "billing", handle, nil); err != nil {
		log.Fatal(err)
	}
	// Output:
	// order 42, attempt 1: handler panicked: the card reader is on fire
	// order 42, attempt 2: <nil>
}
