package cron

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/beckmq/beck"
)

// job publishes the ticks of one schedule.
type job struct {
	bus      *beck.Bus
	log      *slog.Logger
	now      func() time.Time
	schedule *beck.Schedule
	plan     plan
	stop     context.CancelFunc

	mu   sync.Mutex
	last time.Time // the newest tick that is known to be published, or given up
}

const (
	// longestSleep bounds sleeping, so that a clock that is put forward is noticed.
	longestSleep = 5 * time.Second
	// ahead is how far ahead of the clock the last tick may be without a warning.
	ahead = time.Minute
)

// publishedTo takes note of what is published.
func (j *job) publishedTo(tick time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if tick.After(j.last) {
		j.last = tick
	}
}

func (j *job) published() time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.last
}

func (j *job) run(ctx context.Context) {
	if last := j.published(); last.After(j.now().Add(ahead)) {
		j.log.Warn("cron: ticks of the future are published already, by a clock that is ahead of this one's; nothing more is until then", "until", last)
	}
	var trouble trouble
	for ctx.Err() == nil {
		now := j.now()
		found := j.plan.due(j.published(), now)
		if found.missed {
			j.log.Warn("cron: ticks were missed", "first", found.first, "policy", j.plan.missed, "given_up_to", found.givenUp)
			j.publishedTo(found.givenUp)
		}
		if found.tick.IsZero() {
			return // there will never be another one
		}
		if wait := found.tick.Sub(now); wait > 0 {
			_ = sleep(ctx, min(wait, longestSleep))
			continue
		}
		err := j.publish(ctx, found.tick)
		switch {
		case err == nil:
			trouble.over(j.log, "cron: publishing works again")
		case errors.Is(err, beck.ErrClosed) || ctx.Err() != nil:
			return
		default:
			_ = sleep(ctx, trouble.pause(j.log, "cron: a tick could not be published; trying again until it works", err))
		}
	}
}

// publish publishes one tick, unless that is done.
func (j *job) publish(ctx context.Context, tick time.Time) error {
	s := *j.schedule
	s.Message.Headers = withTick(&s, tick)
	id, done, err := j.bus.Tick(ctx, &s, tick)
	if err != nil && !done {
		return err
	}
	j.publishedTo(tick)
	if err != nil { // stored, but not as durably as asked
		j.log.Warn("cron: a tick was published, but", "tick", tick, "id", id, "error", err)
	}
	if done {
		j.log.Debug("cron: published", "tick", tick, "id", id)
	}
	return nil
}

// withTick returns a schedule's headers and those that tell of the tick.
func withTick(s *beck.Schedule, tick time.Time) map[string]string {
	headers := make(map[string]string, len(s.Message.Headers)+2)
	maps.Copy(headers, s.Message.Headers)
	headers[ScheduleHeader] = s.Name
	headers[TickHeader] = tick.Format(time.RFC3339Nano)
	return headers
}
