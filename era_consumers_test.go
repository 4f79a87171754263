package beck_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beckmq/beck"
)

func TestPagesTellTheirEra(t *testing.T) {
	bus, engine := openChanging(t)
	publish(t, bus, "t", 0, 100)
	first, err := bus.Read(t.Context(), "t", beck.FromStart, 20)
	if err != nil || !strings.HasSuffix(first.Era, ".e0") {
		t.Fatalf("%+v, %v", first, err)
	}
	engine.change("e1")
	second, err := bus.Read(t.Context(), "t", first.Next, 20)
	if err != nil || !strings.HasSuffix(second.Era, ".e1") || second.Gap != nil {
		t.Fatalf("%+v, %v", second, err)
	}
}

func TestConsumersAreToldOfAnotherEra(t *testing.T) {
	bus, engine := openChanging(t)
	ctx, cancel := context.WithCancel(within(t))
	told, handled := make(chan string, 10), make(chan string, 10)
	var done sync.WaitGroup
	done.Go(func() {
		err := bus.Subscribe(ctx, "t", "s", func(_ context.Context, m *beck.Message) error {
			handled <- string(m.Body)
			return nil
		}, &beck.SubscribeOptions{OnGap: func(topic string) {
			told <- topic
			panic("must not harm")
		}})
		if err != nil {
			t.Error(err)
		}
	})
	publish(t, bus, "t", 0, 1)
	<-handled
	for n := 1; n <= 3; n++ {
		engine.change("e" + strconv.Itoa(n))
		select {
		case topic := <-told:
			if topic != "t" {
				t.Errorf("told of topic %q", topic)
			}
		case <-ctx.Done():
			t.Fatal("not told")
		}
		publish(t, bus, "t", n, 1)
		if got := <-handled; got != strconv.Itoa(n) {
			t.Errorf("handled %s, want %d", got, n)
		}
	}
	cancel()
	done.Wait()
	if got := bus.Stats().Gaps; got != 3 || len(told) > 0 {
		t.Errorf("%d gaps are counted, want 3; told %d times too often", got, len(told))
	}
}

func TestFetchTellsOfAnotherEra(t *testing.T) {
	bus, engine := openChanging(t)
	ctx := within(t)
	if _, err := bus.Join(ctx, "t", "s", nil); err != nil {
		t.Fatal(err)
	}
	fetch := func(o beck.FetchOptions) *beck.Fetched {
		t.Helper()
		got, err := bus.Fetch(ctx, "t", "s", &o)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	want := func(what string, got *beck.Fetched, gap bool, era string) {
		t.Helper()
		if got.Gap != gap || !strings.HasSuffix(got.Era, "."+era) {
			t.Errorf("%s: gap %v in %s, want %v in %s", what, got.Gap, got.Era, gap, era)
		}
	}
	a, b := beck.FetchOptions{Consumer: "a"}, beck.FetchOptions{Consumer: "b"}
	want("first", fetch(a), false, "e0")
	want("of another", fetch(b), false, "e0")
	engine.change("e1")
	want("changed", fetch(a), true, "e1")
	want("told", fetch(a), false, "e1")
	want("changed for another", fetch(b), true, "e1")

	// A fetch that waits is told at once.
	waiting := make(chan *beck.Fetched)
	go func() {
		got, err := bus.Fetch(ctx, "t", "s", &beck.FetchOptions{Consumer: "a", Wait: time.Minute})
		if err != nil {
			t.Error(err)
			got = &beck.Fetched{}
		}
		waiting <- got
	}()
	time.Sleep(10 * time.Millisecond)
	engine.change("e2")
	want("while waiting", <-waiting, true, "e2")

	// What the caller says counts, and not what the bus remembers, unless another bus
	// has said it: of that it can't tell.
	old := fetch(a).Era
	engine.change("e3")
	now := fetch(b).Era
	want("era given", fetch(beck.FetchOptions{Consumer: "a", Era: now}), false, "e3")
	want("old era given", fetch(beck.FetchOptions{Consumer: "a", Era: old}), true, "e3")
	want("old era given by a new consumer", fetch(beck.FetchOptions{Consumer: "c", Era: old}), true, "e3")
	want("another bus's era given", fetch(beck.FetchOptions{Consumer: "a", Era: "other.e3"}), false, "e3")
	want("another bus's era given by a new consumer", fetch(beck.FetchOptions{Consumer: "d", Era: "other.e3"}), true, "e3")

	// Without a change, nothing is lost to a caller that goes away.
	gone, cancel := context.WithCancel(ctx)
	cancel()
	engine.change("e4")
	if _, err := bus.Fetch(gone, "t", "s", &a); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	want("after one that nobody got", fetch(a), true, "e4")
}
