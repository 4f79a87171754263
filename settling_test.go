package beck_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
)

// reasons is an engine that notes how many bytes of reasons come in one call.
type reasons struct {
	*faulty
	most atomic.Int64
}

func (r *reasons) Settle(ctx context.Context, topic, subscription, consumer string, s []driver.Settlement) ([]string, error) {
	n := 0
	for i := range s {
		n += len(s[i].Reason)
	}
	r.most.Store(max(r.most.Load(), int64(n)))
	return r.faulty.Settle(ctx, topic, subscription, consumer, s)
}

// A server takes a MiB in one request, in which each byte of a reason may need six.
func TestLongReasonsAreSettledInPortions(t *testing.T) {
	_, engine := open(t)
	noting := &reasons{faulty: engine}
	bus, err := beck.New(noting, nil)
	if err != nil {
		t.Fatal(err)
	}
	publish(t, bus, "t", 0, 1000)
	o := &beck.BatchOptions{Max: 1000, Wait: 5 * time.Second, SubscribeOptions: beck.SubscribeOptions{
		Backoff: func(int) time.Duration { return time.Hour },
	}}
	batches(t, bus, "t", o, func([]*beck.Message) (bool, error) {
		return true, errors.New(strings.Repeat("\x01", 2000))
	})
	if n := bus.Stats().Retried; n != 1000 {
		t.Errorf("%d of 1000 are retried", n)
	}
	if most := noting.most.Load(); most == 0 || 6*most > 800<<10 {
		t.Errorf("%d bytes of reasons come in one call", most)
	}
}

func TestReasonsAreShortened(t *testing.T) {
	bus, _ := open(t)
	join(t, bus, "t", "s")
	ids := publish(t, bus, "t", 0, 2)
	take(t, bus, "t", "s", 2)
	long := strings.Repeat("ä", 5000) + "\xff"
	if err := bus.Settle(t.Context(), "t", "s", "c", beck.Bury(ids[0], long), beck.Retry(ids[1], time.Hour, long)); err != nil {
		t.Fatal(err)
	}
	for _, state := range []beck.State{beck.StateDead, beck.StateWaiting} {
		entries, _, err := bus.Peek(t.Context(), "t", "s", state, nil)
		if err != nil || len(entries) != 1 {
			t.Fatalf("%d entries: %v", len(entries), err)
		}
		if reason := entries[0].Reason; reason != strings.Repeat("ä", 500)+"…" {
			t.Errorf("%s: a reason of %d bytes", state, len(reason))
		}
	}
}

func TestIDsThatAreGivenTwiceCountOnce(t *testing.T) {
	bus, _ := open(t)
	join(t, bus, "t", "s")
	ids := publish(t, bus, "t", 0, 2)
	take(t, bus, "t", "s", 2)
	if err := bus.Settle(t.Context(), "t", "s", "c", beck.Bury(ids[0], ""), beck.Bury(ids[1], "")); err != nil {
		t.Fatal(err)
	}
	if n, err := bus.Requeue(t.Context(), "t", "s", ids[0], ids[0]); n != 1 || err != nil {
		t.Errorf("requeued %d: %v", n, err)
	}
	if n, err := bus.Drop(t.Context(), "t", "s", ids[1], ids[1], ids[1]); n != 1 || err != nil {
		t.Errorf("dropped %d: %v", n, err)
	}
	n, err := bus.Drop(t.Context(), "t", "s", ids[1], ids[1])
	if n != 0 || !errors.Is(err, beck.ErrMessageNotFound) {
		t.Errorf("dropped %d that are not there: %v", n, err)
	}
}
