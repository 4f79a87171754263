package archive

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/beckmq/beck"
)

// Defaults of Options.
const (
	DefaultMaxSize = 128 << 20
	DefaultMaxAge  = time.Hour
)

// Options say how files are written. The zero value works.
type Options struct {
	// MaxSize is the size in bytes, on disk, from which on a file is complete; a
	// batch of messages and one message may come on top. Defaults to 128 MiB.
	MaxSize int64

	// MaxAge is the time after its first message from which on a file is complete.
	// Defaults to 1 hour.
	MaxAge time.Duration

	// Gzip has the files compressed. Defaults to false.
	Gzip bool

	// From is where a new subscription begins; an existing one goes on where it is.
	// Defaults to beck.FromStart.
	From beck.Position

	// Consumer names this reader among those of the subscription. Defaults to
	// "archive-" and a name for the directory, the same at each start, so that what
	// was leased before a crash is written at once.
	Consumer string

	// UntilEnd has Run return nil once there is nothing more to write. Defaults to
	// false: it waits for more.
	UntilEnd bool

	// Logger gets what a program can't be told by an error. Defaults to
	// slog.Default().
	Logger *slog.Logger
}

// Run writes the messages of a subscription to files in dir until ctx ends, and
// then returns nil once what was written is acknowledged.
func Run(ctx context.Context, bus *beck.Bus, topic, subscription, dir string, o *Options) error {
	return errors.New("archive: not built yet")
}
