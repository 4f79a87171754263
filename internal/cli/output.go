package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/term"
)

// errOutputClosed says that nobody reads standard output any more.
var errOutputClosed = errors.New("output closed")

// interruptGrace is how long a write that has begun may go on after ctrl-C.
const interruptGrace = 500 * time.Millisecond

// output is standard output. A write to a pipe can block for as long as its
// reader likes, and nothing can call it back, so writes run beside the command,
// one at a time, and the command can end without them.
type output struct {
	w  io.Writer
	mu sync.Mutex
}

// write writes all of b, which the caller must leave alone until it returns
// without an error. With an error, any part of b may be written.
func (o *output) write(ctx context.Context, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	done := make(chan error, 1)
	go func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		_, err := o.w.Write(b)
		done <- err
	}()
	select {
	case err := <-done:
		return outputError(err)
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return outputError(err)
	case <-time.After(interruptGrace):
		return context.Cause(ctx)
	}
}

func outputError(err error) error {
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) {
		return errOutputClosed
	}
	return err
}

// isTerminal reports whether a person sits at the other end of a stream.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
