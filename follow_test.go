package beck_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/beckmq/beck"
)

func TestFollowersShareOneRead(t *testing.T) {
	bus, engine := open(t)
	ctx := within(t)
	const followers, rounds, batch = 50, 20, 10
	var ready, done sync.WaitGroup
	ready.Add(followers)
	for range followers {
		done.Go(func() {
			want, first := 0, true
			for page, err := range bus.FollowPages(ctx, "t", beck.FromNew) {
				if err != nil {
					t.Error(err)
					return
				}
				if first {
					first = false
					ready.Done()
				}
				for _, m := range page.Messages {
					if string(m.Body) != strconv.Itoa(want) {
						t.Errorf("got %s, want %d", m.Body, want)
						return
					}
					want++
				}
				if want == rounds*batch {
					return
				}
			}
		})
	}
	ready.Wait()
	before := engine.reads.Load()
	for i := range rounds {
		publish(t, bus, "t", i*batch, batch)
		time.Sleep(time.Millisecond)
	}
	done.Wait()
	// Each publish may wake the one reader once or twice, never each follower.
	if reads := engine.reads.Load() - before; reads > 4*rounds {
		t.Errorf("%d reads for %d batches and %d followers", reads, rounds, followers)
	}
	if s := bus.Stats(); s.Followed != followers*rounds*batch {
		t.Errorf("followed %d", s.Followed)
	}
}

func TestFollowReplaysThenGoesOnLive(t *testing.T) {
	bus, _ := open(t)
	ctx := within(t)
	const before, after = 5000, 2000
	publish(t, bus, "t", 0, before)
	go func() {
		for i := before; i < before+after; i += 10 {
			publish(t, bus, "t", i, 10)
		}
	}()
	want := 0
	for m, err := range bus.Follow(ctx, "t", beck.FromStart) {
		if err != nil {
			t.Fatal(err)
		}
		if string(m.Body) != strconv.Itoa(want) || m.Topic != "t" || m.Attempt != 0 {
			t.Fatalf("got %+v, want %d", m, want)
		}
		if want++; want == before+after {
			break
		}
	}
}

func TestFollowTellsOfGaps(t *testing.T) {
	bus, _ := open(t)
	ctx := within(t)
	ids := publish(t, bus, "t", 0, 10)
	if _, err := bus.Trim(ctx, "t", beck.FromID(ids[5])); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		from  beck.Position
		gap   bool
		first string
	}{
		{beck.FromID(ids[2]), true, "5"},
		{beck.FromID(ids[4]), true, "5"},
		{beck.FromID(ids[5]), false, "6"},
		{beck.AtID(ids[6]), false, "6"},
		{beck.AtID(ids[1]), false, "5"},
		{beck.FromStart, false, "5"},
	} {
		var gap *beck.Gap
		for m, err := range bus.Follow(ctx, "t", c.from) {
			if errors.As(err, &gap) {
				continue
			}
			if err != nil || string(m.Body) != c.first {
				t.Errorf("from %s: got %v, %v, want %s", c.from, m, err, c.first)
			}
			break
		}
		if (gap != nil) != c.gap {
			t.Errorf("from %s: gap %v, want one: %v", c.from, gap, c.gap)
		}
		if gap != nil && gap.After != c.from {
			t.Errorf("from %s: gap behind %s", c.from, gap.After)
		}
	}
	// At the newest id, with nothing stored any more, nothing was missed.
	if _, err := bus.Trim(ctx, "t", beck.FromNew); err != nil {
		t.Fatal(err)
	}
	page, err := bus.Read(ctx, "t", beck.FromID(ids[9]), 10)
	if err != nil || page.Gap != nil || page.Next != beck.FromID(ids[9]) {
		t.Errorf("at the newest id: %+v, %v", page, err)
	}
	// One id before it, the newest message itself was.
	page, err = bus.Read(ctx, "t", beck.FromID(ids[8]), 10)
	if err != nil || page.Gap == nil || page.Gap.Resume != beck.FromID(ids[9]) {
		t.Errorf("before the newest id: %+v, %v", page, err)
	}
}

func TestDeletedTopicIsAGapForItsFollowers(t *testing.T) {
	bus, _ := open(t)
	ctx := within(t)
	publish(t, bus, "t", 0, 3)
	seen, gaps := 0, 0
	for m, err := range bus.Follow(ctx, "t", beck.FromStart) {
		var gap *beck.Gap
		if errors.As(err, &gap) {
			gaps++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if seen++; seen == 3 {
			if err := bus.DeleteTopic(ctx, "t"); err != nil {
				t.Fatal(err)
			}
			publish(t, bus, "t", 3, 1)
		}
		if seen == 4 {
			if string(m.Body) != "3" {
				t.Errorf("got %s", m.Body)
			}
			break
		}
	}
	if gaps == 0 {
		t.Error("no gap")
	}
}

func TestFollowGoesOnAfterAnOutage(t *testing.T) {
	bus, engine := open(t)
	ctx := within(t)
	want := 0
	publish(t, bus, "t", 0, 1)
	for m, err := range bus.Follow(ctx, "t", beck.FromStart) {
		if err != nil || string(m.Body) != strconv.Itoa(want) {
			t.Fatalf("got %v, %v, want %d", m, err, want)
		}
		if want++; want == 3 {
			break
		}
		engine.down.Store(true)
		publish(t, bus, "t", want, 1)
		time.AfterFunc(100*time.Millisecond, func() { engine.down.Store(false) })
	}
}

func TestFollowEnds(t *testing.T) {
	bus, engine := open(t)
	ctx, cancel := context.WithCancel(within(t))
	ended := make(chan error)
	follow := func(ctx context.Context) {
		for _, err := range bus.Follow(ctx, "t", beck.FromStart) {
			if err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}
	go follow(ctx)
	time.Sleep(10 * time.Millisecond)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled follow ends with %v", err)
	}
	go follow(within(t))
	time.Sleep(10 * time.Millisecond)
	if err := bus.Close(within(t)); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, beck.ErrClosed) {
		t.Errorf("a follow of a closed bus ends with %v", err)
	}
	engine.down.Store(true)
	other, engine := open(t)
	engine.down.Store(true)
	bus = other
	go follow(within(t))
	if err := <-ended; !errors.Is(err, beck.ErrUnavailable) {
		t.Errorf("a follow that can't begin ends with %v", err)
	}
}

func TestPagesAreEncodedOnce(t *testing.T) {
	bus, _ := open(t)
	publish(t, bus, "t", 0, 3)
	page, err := bus.Read(within(t), "t", beck.FromStart, 10)
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	for range 3 {
		got := page.Encoded("x", func(p *beck.Page) []byte {
			calls++
			return []byte(p.Messages[2].Body)
		})
		if string(got) != "2" {
			t.Errorf("got %s", got)
		}
	}
	if calls != 1 {
		t.Errorf("encoded %d times", calls)
	}
}
