package cron

import (
	"context"
	"errors"
	"log/slog"

	"github.com/beckmq/beck"
)

// Options are for Run. The zero value works.
type Options struct {
	// Logger gets what a program can't be told by an error: schedules that make no
	// sense, ticks that were missed, outages of the engine. Defaults to
	// slog.Default().
	Logger *slog.Logger
}

// Run publishes what is due of all schedules until ctx ends, and then returns nil;
// or until the bus is closed, and then returns an error that is beck.ErrClosed.
// Any number of processes may run it at a time. It returns an error if the
// schedules can't be listed at the beginning; later, it goes on trying through
// outages of the engine.
func Run(ctx context.Context, bus *beck.Bus, o *Options) error {
	return errors.New("cron: not built yet")
}
