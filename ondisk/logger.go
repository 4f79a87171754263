package ondisk

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
)

// logger is where Pebble writes to.
type logger struct {
	log  *slog.Logger
	fail func(error)
}

// Infof gets Pebble's chatter: every flush and compaction.
func (l *logger) Infof(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("beck: pebble: " + fmt.Sprintf(format, args...))
	}
}

// Errorf gets what went wrong in the background; Pebble tries again.
func (l *logger) Errorf(format string, args ...any) {
	l.log.Warn("beck: pebble: " + fmt.Sprintf(format, args...))
}

// Fatalf is called when Pebble can't go on, with the files in order but what it
// has in memory not, and must not return. Ending the process is not for a
// library to do, so the goroutine ends, with the engine marked as failed: then
// nothing is written any more, and the directory can be opened by a new process.
func (l *logger) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	for _, a := range args {
		if cause, ok := a.(error); ok {
			err = fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), cause)
			break
		}
	}
	l.fail(err)
	runtime.Goexit()
}
