package beck_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/beckmq/beck"
)

func TestFetchGivesBackWhatNobodyWaitsFor(t *testing.T) {
	bus, engine := open(t)
	if _, err := bus.Join(within(t), "t", "s", &beck.JoinOptions{Lease: time.Hour}); err != nil {
		t.Fatal(err)
	}
	publish(t, bus, "t", 0, 3)
	engine.late.Store(int64(50 * time.Millisecond))
	ctx, cancel := context.WithTimeout(within(t), 10*time.Millisecond)
	defer cancel()
	if _, err := bus.Fetch(ctx, "t", "s", &beck.FetchOptions{Consumer: "gone"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Fetch returned %v", err)
	}
	got, err := bus.Fetch(within(t), "t", "s", &beck.FetchOptions{Consumer: "next"})
	if err != nil || len(got.Messages) != 3 || got.Messages[0].Attempt != 1 {
		t.Errorf("the next one got %+v, %v", got, err)
	}
}

func TestFetchWaits(t *testing.T) {
	bus, _ := open(t)
	if _, err := bus.Join(within(t), "t", "s", nil); err != nil {
		t.Fatal(err)
	}
	fetch := func(wait time.Duration) (*beck.Fetched, error) {
		return bus.Fetch(within(t), "t", "s", &beck.FetchOptions{Consumer: "c", Wait: wait})
	}
	if got, err := fetch(10 * time.Millisecond); err != nil || len(got.Messages) != 0 {
		t.Errorf("of an empty topic: %+v, %v", got, err)
	}
	time.AfterFunc(20*time.Millisecond, func() { publish(t, bus, "t", 0, 1) })
	got, err := fetch(time.Minute)
	if err != nil || len(got.Messages) != 1 {
		t.Fatalf("while one is published: %+v, %v", got, err)
	}
	if err := bus.Settle(within(t), "t", "s", "c", beck.Retry(got.Messages[0].ID, 20*time.Millisecond, "")); err != nil {
		t.Fatal(err)
	}
	if got, err := fetch(time.Minute); err != nil || len(got.Messages) != 1 || got.Messages[0].Attempt != 2 {
		t.Errorf("while a retry becomes due: %+v, %v", got, err)
	}
}

func TestReleasedMessagesKeepTheirOrder(t *testing.T) {
	bus, _ := open(t)
	const n = 950
	publish(t, bus, "t", 0, n)
	if _, err := bus.Join(within(t), "t", "s", nil); err != nil {
		t.Fatal(err)
	}
	fetch := func() []*beck.Message {
		got, err := bus.Fetch(within(t), "t", "s", &beck.FetchOptions{Consumer: "c", Max: n})
		if err != nil || len(got.Messages) != n {
			t.Fatalf("fetched %d, %v", len(got.Messages), err)
		}
		return got.Messages
	}
	var back []beck.Settlement
	for _, m := range fetch() {
		back = append(back, beck.Release(m.ID))
	}
	if err := bus.Settle(within(t), "t", "s", "c", back...); err != nil {
		t.Fatal(err)
	}
	for i, m := range fetch() {
		if string(m.Body) != fmt.Sprint(i) || m.Attempt != 1 {
			t.Fatalf("message %d is %s, attempt %d", i, m.Body, m.Attempt)
		}
	}
}

func TestSettleNamesWhatIsNotHeld(t *testing.T) {
	bus, _ := open(t)
	ids := publish(t, bus, "t", 0, 250)
	if _, err := bus.Join(within(t), "t", "s", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := bus.Fetch(within(t), "t", "s", &beck.FetchOptions{Consumer: "c", Max: 200}); err != nil {
		t.Fatal(err)
	}
	var all []beck.Settlement
	for _, id := range ids {
		all = append(all, beck.Ack(id))
	}
	var notHeld *beck.NotHeldError
	err := bus.Settle(within(t), "t", "s", "c", all...)
	if !errors.As(err, &notHeld) || !errors.Is(err, beck.ErrNotHeld) || len(notHeld.IDs) != 50 {
		t.Fatalf("settled: %v", err)
	}
	if s := info(t, bus); s.Pending != 0 || bus.Stats().Acknowledged != 200 {
		t.Errorf("after it: %+v, %+v", s, bus.Stats())
	}
	if err := bus.Settle(within(t), "t", "s", "c", beck.Ack(ids[240]), beck.Settlement{}); !errors.Is(err, beck.ErrOption) {
		t.Errorf("an empty settlement: %v", err)
	}
}
