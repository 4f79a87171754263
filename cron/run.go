package cron

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/beckmq/beck"
)

// Options are for Run. The zero value works.
type Options struct {
	// Logger gets what a program can't be told by an error: schedules that make no
	// sense, ticks that were missed, outages of the engine. Defaults to
	// slog.Default().
	Logger *slog.Logger

	// now is the clock of tests.
	now func() time.Time
}

const (
	// refresh is how often the schedules are listed.
	refresh = 1500 * time.Millisecond
	// firstPause and lastPause are between attempts at what failed.
	firstPause = 50 * time.Millisecond
	lastPause  = 2 * time.Second
)

// Run publishes what is due of all schedules until ctx ends, and then returns nil;
// or until the bus is closed, and then returns an error that is beck.ErrClosed.
// Any number of processes may run it at a time. It returns an error if the
// schedules can't be listed at the beginning; later, it goes on trying through
// outages of the engine.
func Run(ctx context.Context, bus *beck.Bus, o *Options) error {
	r := &runner{bus: bus, log: slog.Default(), now: time.Now, jobs: map[string]*job{}}
	if o != nil && o.Logger != nil {
		r.log = o.Logger
	}
	if o != nil && o.now != nil {
		r.now = o.now
	}
	list, err := bus.Schedules(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer r.all.Wait()
	defer stop()
	var trouble trouble
	for {
		pause := refresh
		switch {
		case err == nil:
			trouble.over(r.log, "cron: listing schedules works again")
			r.employ(running, list)
		case errors.Is(err, beck.ErrClosed):
			return err
		default:
			pause = trouble.pause(r.log, "cron: listing schedules failed; trying again until it works", err)
		}
		if sleep(ctx, pause) != nil {
			return nil
		}
		if list, err = bus.Schedules(ctx); ctx.Err() != nil {
			return nil
		}
	}
}

// runner is one Run.
type runner struct {
	bus  *beck.Bus
	log  *slog.Logger
	now  func() time.Time
	jobs map[string]*job
	all  sync.WaitGroup
}

// employ has a job run for each schedule there is, and ends those whose schedule
// was removed or replaced.
func (r *runner) employ(ctx context.Context, list []*beck.Schedule) {
	listed := make(map[string]bool, len(list))
	for _, s := range list {
		listed[s.Name] = true
		if j := r.jobs[s.Name]; j != nil {
			if j.schedule.Version == s.Version {
				j.publishedTo(s.Last)
				continue
			}
			j.stop()
		}
		r.jobs[s.Name] = r.begin(ctx, s)
	}
	for name, j := range r.jobs {
		if !listed[name] {
			j.stop()
			delete(r.jobs, name)
		}
	}
}

func (r *runner) begin(ctx context.Context, s *beck.Schedule) *job {
	j := &job{bus: r.bus, log: r.log.With("schedule", s.Name, "topic", s.Topic), now: r.now, schedule: s, last: s.Last}
	ctx, j.stop = context.WithCancel(ctx)
	var err error
	if j.plan, err = parse(s); err != nil {
		// Somebody put it without Add. It is kept, so that this is said once.
		r.log.Error("cron: a schedule makes no sense; nothing is published for it", "error", err)
		return j
	}
	r.all.Go(func() { j.run(ctx) })
	return j
}

// sleep waits, or returns the error of a context that ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// trouble is what fails again and again, and is logged once.
type trouble struct{ attempts int }

// pause is how long to wait before the next attempt.
func (t *trouble) pause(log *slog.Logger, what string, err error) time.Duration {
	if t.attempts == 0 {
		log.Warn(what, "error", err)
	}
	pause := min(firstPause<<min(t.attempts, 10), lastPause)
	t.attempts++
	return pause
}

func (t *trouble) over(log *slog.Logger, what string) {
	if t.attempts > 0 {
		log.Info(what, "attempts", t.attempts)
		t.attempts = 0
	}
}
