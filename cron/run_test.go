package cron

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/drivertest/model"
)

// faulty is the reference engine, with outages, and clients that die.
type faulty struct {
	*model.Engine
	down atomic.Bool
	// ticked, if not nil, is called before or after a tick.
	ticked func(after bool)
}

func (f *faulty) Schedules(ctx context.Context) ([]driver.Schedule, error) {
	if f.down.Load() {
		return nil, fmt.Errorf("test: %w", driver.ErrUnavailable)
	}
	return f.Engine.Schedules(ctx)
}

func (f *faulty) Tick(ctx context.Context, s driver.Schedule, tick time.Time, m driver.Message) (string, bool, error) {
	if f.down.Load() {
		return "", false, fmt.Errorf("test: %w", driver.ErrUnavailable)
	}
	if f.ticked != nil {
		f.ticked(false)
	}
	if ctx.Err() != nil {
		return "", false, ctx.Err()
	}
	id, done, err := f.Engine.Tick(ctx, s, tick, m)
	if f.ticked != nil {
		f.ticked(true)
	}
	return id, done, err
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// open returns a bus on an engine that is shared, as if by another process.
func open(t testing.TB, engine driver.Engine) *beck.Bus {
	t.Helper()
	bus, err := beck.New(engine, &beck.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return bus
}

// ticks lists the ticks whose messages are in a topic, in the topic's order.
func ticksIn(t testing.TB, bus *beck.Bus, topic string) (all []time.Time) {
	t.Helper()
	for from := beck.FromStart; ; {
		page, err := bus.Read(t.Context(), topic, from, beck.MaxFetch)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range page.Messages {
			tick, err := time.Parse(time.RFC3339Nano, m.Headers[TickHeader])
			if err != nil || m.Headers[ScheduleHeader] == "" {
				t.Fatalf("headers %v: %v", m.Headers, err)
			}
			all = append(all, tick)
		}
		if !page.More {
			return all
		}
		from = page.Next
	}
}

// expect compares the ticks of a topic with those from first to last.
func expect(t testing.TB, bus *beck.Bus, topic string, first, last time.Time, step time.Duration) {
	t.Helper()
	var want []time.Time
	for at := first; !at.After(last); at = at.Add(step) {
		want = append(want, at)
	}
	if got := ticksIn(t, bus, topic); !slices.EqualFunc(got, want, time.Time.Equal) {
		t.Errorf("%d ticks are published, not %d:\n got %v\nwant %v", len(got), len(want), got, want)
	}
}

func add(t testing.TB, bus *beck.Bus, s beck.Schedule) {
	t.Helper()
	s.Message.Body = []byte("x")
	if err := Add(t.Context(), bus, s); err != nil {
		t.Fatal(err)
	}
}

// runs starts n Runs that are as many processes, and returns what stops one.
func runs(t testing.TB, engine driver.Engine, n int, now ...func() time.Time) (stop []func()) {
	for i := range n {
		ctx, cancel := context.WithCancel(context.Background())
		o := &Options{Logger: quiet}
		if i < len(now) {
			o.now = now[i]
		}
		var running sync.WaitGroup
		running.Go(func() {
			if err := Run(ctx, open(t, engine), o); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		stop = append(stop, func() { cancel(); running.Wait() })
	}
	return stop
}

// start is on a full minute, in the bubble's time.
func start() time.Time {
	begin := time.Now().Truncate(time.Minute).Add(time.Minute)
	time.Sleep(time.Until(begin))
	return begin
}

func TestEachTickIsPublishedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &faulty{Engine: model.New(time.Now)}
		bus := open(t, engine)
		begin := start()
		add(t, bus, beck.Schedule{Name: "each", Topic: "seconds", Spec: "* * * * * *"})
		add(t, bus, beck.Schedule{Name: "every", Topic: "every", Spec: "@every 7s"})
		behind := func() time.Time { return time.Now().Add(-300 * time.Millisecond) }
		stop := runs(t, engine, 3, time.Now, behind)
		time.Sleep(20 * time.Second)
		stop[0]() // only slow ones are left
		time.Sleep(20 * time.Second)
		stop[1]()
		time.Sleep(20*time.Second + 500*time.Millisecond)
		stop[2]()
		expect(t, bus, "seconds", begin.Add(time.Second), begin.Add(time.Minute), time.Second)
		expect(t, bus, "every", begin.Add(7*time.Second), begin.Add(56*time.Second), 7*time.Second)
		early(t, bus, "seconds", 0)
	})
}

// early checks that messages entered their topic no earlier than at their tick,
// and soon after it.
func early(t testing.TB, bus *beck.Bus, topic string, latest time.Duration) {
	t.Helper()
	page, err := bus.Read(t.Context(), topic, beck.FromStart, beck.MaxFetch)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range page.Messages {
		tick, _ := time.Parse(time.RFC3339Nano, m.Headers[TickHeader])
		if late := m.Time.Sub(tick); late < 0 || latest > 0 && late > latest {
			t.Errorf("the tick of %v is %v late", tick, late)
		}
	}
}

func TestOneThatDiesLeavesTheTickToOthers(t *testing.T) {
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("after=%v", after), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				shared := model.New(time.Now)
				bus := open(t, shared)
				begin := start()
				add(t, bus, beck.Schedule{Name: "each", Topic: "seconds", Spec: "* * * * * *"})

				// The first one is ahead of the others, so that it comes first, and
				// dies with its fifth tick.
				ctx, die := context.WithCancel(context.Background())
				dying := &faulty{Engine: shared}
				count := 0
				dying.ticked = func(isAfter bool) {
					if isAfter != after {
						return
					}
					if count++; count == 5 {
						die()
					}
				}
				var running sync.WaitGroup
				running.Go(func() {
					_ = Run(ctx, open(t, dying), &Options{Logger: quiet, now: func() time.Time { return time.Now().Add(time.Millisecond) }})
				})
				stop := runs(t, shared, 2)
				time.Sleep(10*time.Second + 500*time.Millisecond)
				stop[0]()
				stop[1]()
				running.Wait()
				if count < 5 {
					t.Errorf("it never died: %d ticks", count)
				}
				expect(t, bus, "seconds", begin.Add(time.Second), begin.Add(10*time.Second), time.Second)
			})
		})
	}
}

func TestOutagesAreSurvived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &faulty{Engine: model.New(time.Now)}
		bus := open(t, engine)
		begin := start()
		add(t, bus, beck.Schedule{Name: "each", Topic: "seconds", Spec: "* * * * * *"})
		add(t, bus, beck.Schedule{Name: "minutes", Topic: "minutes", Spec: "* * * * *"})
		stop := runs(t, engine, 2)
		time.Sleep(5*time.Second + 500*time.Millisecond)
		engine.down.Store(true)
		time.Sleep(20 * time.Second)
		engine.down.Store(false)
		time.Sleep(4 * time.Second)
		// Nothing was more than Late late, so nothing is missed.
		expect(t, bus, "seconds", begin.Add(time.Second), begin.Add(29*time.Second), time.Second)
		engine.down.Store(true)
		time.Sleep(10 * time.Minute)
		engine.down.Store(false)
		time.Sleep(3 * time.Second)
		stop[0]()
		stop[1]()
		got := ticksIn(t, bus, "minutes")
		if len(got) != 1 || !got[0].Equal(begin.Add(10*time.Minute)) {
			t.Errorf("of ten missed ticks %v are published; want the newest", got)
		}
	})
}

func TestSchedulesAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := model.New(time.Now)
		bus := open(t, engine)
		begin := start()
		stop := runs(t, engine, 2)
		time.Sleep(10*time.Second - 100*time.Millisecond)
		add(t, bus, beck.Schedule{Name: "s", Topic: "one", Spec: "* * * * * *"})
		// One that nobody has checked must not disturb the others.
		if err := bus.PutSchedule(t.Context(), beck.Schedule{Name: "bad", Topic: "bad", Spec: "?", Message: beck.Message{Body: []byte{}}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		add(t, bus, beck.Schedule{Name: "s", Topic: "two", Spec: "*/2 * * * * *"})
		time.Sleep(5 * time.Second)
		if err := bus.DeleteSchedule(t.Context(), "s"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		stop[0]()
		stop[1]()
		expect(t, bus, "one", begin.Add(10*time.Second), begin.Add(14*time.Second), time.Second)
		expect(t, bus, "two", begin.Add(16*time.Second), begin.Add(18*time.Second), 2*time.Second)
	})
}

func TestRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &faulty{Engine: model.New(time.Now)}
		bus := open(t, engine)
		engine.down.Store(true)
		if err := Run(t.Context(), bus, nil); !errors.Is(err, beck.ErrUnavailable) {
			t.Errorf("without an engine: %v", err)
		}
		engine.down.Store(false)
		ended := make(chan error)
		go func() { ended <- Run(t.Context(), bus, nil) }()
		time.Sleep(time.Second)
		if err := bus.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, beck.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := Run(ctx, open(t, &faulty{Engine: model.New(time.Now)}), nil); err != nil {
			t.Errorf("after its context ended: %v", err)
		}
	})
}

func TestAddChecks(t *testing.T) {
	bus := open(t, model.New(time.Now))
	good := beck.Schedule{Name: "s", Topic: "t", Spec: "@daily", Message: beck.Message{Body: []byte("x")}}
	for _, c := range []struct {
		change func(*beck.Schedule)
		want   error
	}{
		{func(s *beck.Schedule) {}, nil},
		{func(s *beck.Schedule) { s.Spec = "now" }, beck.ErrOption},
		{func(s *beck.Schedule) { s.Zone = "Nowhere" }, beck.ErrOption},
		{func(s *beck.Schedule) { s.Missed = "some" }, beck.ErrOption},
		{func(s *beck.Schedule) { s.Name = "a b" }, beck.ErrName},
		{func(s *beck.Schedule) { s.Topic = "" }, beck.ErrName},
		{func(s *beck.Schedule) { s.Message.Body = nil }, beck.ErrMessage},
		{func(s *beck.Schedule) { s.Message.Delay = time.Second }, beck.ErrMessage},
		{func(s *beck.Schedule) {
			s.Message.Headers = map[string]string{"h": string(make([]byte, beck.MaxHeaderBytes-100))}
		}, beck.ErrTooLarge},
	} {
		s := good
		c.change(&s)
		if err := Add(t.Context(), bus, s); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v; want %v", s, err, c.want)
		}
	}
	list, err := bus.Schedules(t.Context())
	if err != nil || len(list) != 1 {
		t.Errorf("%d schedules: %v", len(list), err)
	}
}
