package beck

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

// retrying waits between attempts at what failed, longer each time, and logs the
// first failure and the end of the trouble.
type retrying struct {
	attempt int
	since   time.Time
}

const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = 2 * time.Second
)

func (r *retrying) wait(ctx context.Context, log *slog.Logger, what string, err error) error {
	if r.attempt == 0 {
		r.since = time.Now()
		log.Warn("beck: "+what+": trying again until it works", "error", err)
	}
	timer := time.NewTimer(jittered(backoff(r.attempt, firstRetry, lastRetry)))
	defer timer.Stop()
	r.attempt++
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *retrying) over(log *slog.Logger, what string) {
	if r.attempt > 0 {
		log.Info("beck: "+what+": works again", "after", time.Since(r.since).Round(time.Millisecond), "attempts", r.attempt)
		r.attempt = 0
	}
}

// backoff doubles first with each attempt before this one, up to last.
func backoff(before int, first, last time.Duration) time.Duration {
	if before > 30 {
		return last
	}
	return min(first<<before, last)
}

// jittered changes d by up to a fifth, so that many who wait don't come back
// together.
func jittered(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}
