package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
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
	// MaxSize bounds a file, in bytes on disk. A file is larger only if one message
	// is; with Gzip, what is compressed at a time, about a quarter of a MiB, may
	// come on top. Defaults to 128 MiB.
	MaxSize int64

	// MaxAge is the time after its first message from which on a file is complete.
	// After a crash it is counted from what was last written. Defaults to 1 hour.
	MaxAge time.Duration

	// Gzip has the files compressed. Defaults to false.
	Gzip bool

	// From is where a new subscription begins; an existing one goes on where it is.
	// Defaults to beck.FromStart.
	From beck.Position

	// Consumer names this reader among those of the subscription. Defaults to
	// "archive-" and what stands for the host and the directory: the same at each
	// start, so that what was leased before a crash is written at once.
	Consumer string

	// UntilEnd has Run return nil once there is nothing more to write. What waits
	// for a retry, or is held by another consumer, is not waited for. Defaults to
	// false: it waits for more.
	UntilEnd bool

	// Logger gets what a program can't be told by an error: files that are complete,
	// outages of the engine, what was repaired after a crash. Defaults to
	// slog.Default().
	Logger *slog.Logger

	// disk, and the most messages to take at a time, are for tests.
	disk  *disk
	batch int
}

// Run writes the messages of a subscription to files in dir until ctx ends, and
// then returns nil once what it has taken is written and acknowledged; or until
// the bus is closed, and then returns an error that is beck.ErrClosed. The
// subscription and the directory are made if they don't exist. Once it has begun,
// a lost connection is no error: it goes on by itself. If a file can't be written
// it returns an error.
func Run(ctx context.Context, bus *beck.Bus, topic, subscription, dir string, o *Options) (err error) {
	options, err := o.filled(dir)
	if err != nil {
		return err
	}
	for _, name := range []string{topic, subscription} {
		if err := beck.CheckName(name); err != nil {
			return fmt.Errorf("archive: %w", err)
		}
	}
	log := options.Logger.With("topic", topic, "dir", dir)
	files, err := openDir(dir, topic, options, log)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	defer func() {
		if closed := files.close(err == nil); err == nil && closed != nil {
			err = fmt.Errorf("archive: %w", closed)
		}
	}()
	if _, err := bus.Join(ctx, topic, subscription, &beck.JoinOptions{From: options.From}); err != nil {
		return ended(ctx, err)
	}
	r := &reader{bus: bus, topic: topic, subscription: subscription, options: options, files: files, log: log, recover: true}
	err = ended(ctx, r.run(ctx))
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if left := bus.Leave(leaving, topic, subscription, options.Consumer); left != nil {
		log.Debug("archive: leaving the subscription", "error", left)
	}
	return err
}

// ended makes the end of the context no error.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))) {
		return nil
	}
	return err
}

// filled checks the options and puts in the defaults.
func (o *Options) filled(dir string) (Options, error) {
	f := Options{}
	if o != nil {
		f = *o
	}
	switch {
	case dir == "":
		return f, fmt.Errorf("archive: %w: no directory", beck.ErrOption)
	case f.MaxSize < 0:
		return f, fmt.Errorf("archive: %w: MaxSize is %d", beck.ErrOption, f.MaxSize)
	case f.MaxAge < 0:
		return f, fmt.Errorf("archive: %w: MaxAge is %v", beck.ErrOption, f.MaxAge)
	}
	if f.MaxSize == 0 {
		f.MaxSize = DefaultMaxSize
	}
	if f.MaxAge == 0 {
		f.MaxAge = DefaultMaxAge
	}
	if f.Logger == nil {
		f.Logger = slog.Default()
	}
	if f.From == "" {
		f.From = beck.FromStart
	}
	if f.batch == 0 {
		f.batch = beck.MaxFetch
	}
	if f.disk == nil {
		f.disk = realDisk()
	}
	if f.Consumer == "" {
		f.Consumer = consumerName(dir)
	}
	if err := beck.CheckName(f.Consumer); err != nil {
		return f, fmt.Errorf("archive: consumer: %w", err)
	}
	return f, nil
}

// consumerName is the same for the same directory of the same host.
func consumerName(dir string) string {
	host, _ := os.Hostname()
	if whole, err := filepath.Abs(dir); err == nil {
		dir = whole
	}
	sum := sha256.Sum256([]byte(host + "\x00" + dir))
	return "archive-" + hex.EncodeToString(sum[:8])
}
