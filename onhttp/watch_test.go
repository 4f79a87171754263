package onhttp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
)

// Following and subscribing go on by themselves when the server was away, and
// nothing that got an id is missing.
func TestServerComesBack(t *testing.T) {
	dir := t.TempDir()
	first := serve(t, onDisk(t, dir), "127.0.0.1:0")
	address := strings.TrimPrefix(first.url, "http://")
	remote, err := Open(first.url, &Options{Options: beck.Options{Logger: silent()}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	const messages = 300
	var wg sync.WaitGroup
	var ids []string
	wg.Go(func() { ids = publishAll(ctx, t, remote, messages) })
	var followed []string
	wg.Go(func() {
		for m, err := range remote.Follow(ctx, "orders", beck.FromStart) {
			if err != nil {
				t.Errorf("follow: %v", err)
				return
			}
			if followed = append(followed, m.ID); string(m.Body) == fmt.Sprint(messages-1) {
				return
			}
		}
	})
	handled := map[string]int{}
	wg.Go(func() {
		subscribed, stop := context.WithCancel(ctx)
		defer stop()
		err := remote.Subscribe(subscribed, "orders", "billing", func(_ context.Context, m *beck.Message) error {
			if handled[m.ID]++; string(m.Body) == fmt.Sprint(messages-1) {
				stop()
			}
			return nil
		}, nil)
		if err != nil {
			t.Errorf("subscribe: %v", err)
		}
	})
	time.Sleep(100 * time.Millisecond)
	if err := first.stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
	time.Sleep(300 * time.Millisecond)
	second := serve(t, onDisk(t, dir), address)
	wg.Wait()
	for _, id := range ids {
		if handled[id] == 0 {
			t.Errorf("message %s was not handled", id)
		}
		for len(followed) > 0 && followed[0] < id {
			followed = followed[1:] // one whose answer was lost
		}
		if len(followed) == 0 || followed[0] != id {
			t.Fatalf("message %s was not followed in order", id)
		}
	}
	if err := errors.Join(remote.Close(ctx), second.stop(ctx)); err != nil {
		t.Error(err)
	}
}

// publishAll publishes numbers, each until it is stored.
func publishAll(ctx context.Context, t *testing.T, bus *beck.Bus, n int) (ids []string) {
	for i := range n {
		for {
			got, err := bus.Publish(ctx, "orders", beck.Message{Body: fmt.Append(nil, i)})
			if err == nil {
				ids = append(ids, got[0])
				break
			}
			if !errors.Is(err, beck.ErrUnavailable) && !errors.Is(err, beck.ErrUncertain) {
				t.Errorf("publish: %v", err)
				return ids
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return ids
}

// Many watches of a topic share a stream, which outlives short pauses.
func TestWatchesShareAStream(t *testing.T) {
	r := serve(t, onModel(t), "127.0.0.1:0")
	e := connect(t, r.url)
	var stops []func()
	for range 50 {
		_, stop := e.Watch("orders")
		stops = append(stops, stop)
	}
	for _, stop := range stops {
		stop()
		stop()
	}
	if n := len(e.watches.byTopic); n != 1 {
		t.Errorf("%d streams, want 1", n)
	}
	hints, stop := e.Watch("orders")
	defer stop()
	if _, err := e.Append(t.Context(), "orders", []driver.Message{{Body: []byte("x")}}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-hints:
	case <-time.After(5 * time.Second):
		t.Error("no hint")
	}
	shut(t, e)
	if err := r.stop(t.Context()); err != nil {
		t.Error(err)
	}
}
