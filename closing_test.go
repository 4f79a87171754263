package beck_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beckmq/beck"
)

// A Confirm that waits out an outage must not keep the bus from being closed.
func TestConfirmEndsWithTheBus(t *testing.T) {
	bus, engine := open(t)
	join(t, bus, "t", "s")
	ids := publish(t, bus, "t", 0, 1)
	engine.down.Store(true)
	ended := make(chan error, 1)
	go func() { ended <- bus.Confirm(context.Background(), "t", ids, "s") }()
	time.Sleep(20 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := bus.Close(ctx); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, beck.ErrClosed) {
		t.Errorf("Confirm ended with %v", err)
	}
}

// A Reply that is to end takes no more requests, though all its functions run.
func TestBusyReplyStops(t *testing.T) {
	bus, _ := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	var running atomic.Int64
	ended := make(chan error, 1)
	go func() {
		ended <- bus.Reply(ctx, "busy", func(context.Context, *beck.Message) ([]byte, error) {
			running.Add(1)
			<-release
			return []byte("done"), nil
		})
	}()
	var asking sync.WaitGroup
	const n = 300
	for range n {
		asking.Go(func() {
			for {
				answer, err := bus.Request(within(t), "busy", beck.Message{Body: []byte("?")})
				if errors.Is(err, beck.ErrNoReplier) {
					time.Sleep(time.Millisecond)
					continue
				}
				if string(answer) != "done" || err != nil {
					t.Errorf("%q, %v", answer, err)
				}
				return
			}
		})
	}
	eventually(t, "as many run as may", func() bool { return running.Load() == 256 && bus.Stats().Requests >= n })
	time.Sleep(20 * time.Millisecond)
	cancel()
	eventually(t, "nobody replies", func() bool {
		soon, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, err := bus.Request(soon, "busy", beck.Message{Body: []byte("late")})
		return errors.Is(err, beck.ErrNoReplier)
	})
	close(release)
	asking.Wait()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A program that is stopped while it starts has not failed.
func TestWhatIsToEndBeforeItBeginsIsNoError(t *testing.T) {
	bus, _ := open(t)
	cause := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	handle := func(context.Context, *beck.Message) error { return nil }
	for what, err := range map[string]error{
		"Subscribe":      bus.Subscribe(ctx, "t", "s", handle, nil),
		"Work":           bus.Work(ctx, "q", handle, nil),
		"WorkAll":        bus.WorkAll(ctx, map[string]int{"q": 1, "p": 2}, handle, nil),
		"SubscribeBatch": bus.SubscribeBatch(ctx, "t", "s", func(context.Context, []*beck.Message) error { return nil }, nil),
		"Reply":          bus.Reply(ctx, "s", func(context.Context, *beck.Message) ([]byte, error) { return nil, nil }),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := bus.Subscribe(ctx, "t", "s", nil, nil); !errors.Is(err, beck.ErrOption) {
		t.Errorf("without a handler: %v", err)
	}
}
