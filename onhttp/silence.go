package onhttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// patience is how long a server may take nothing of a request, or send nothing
// of its answer, before it counts as lost.
const patience = 30 * time.Second

// errSilent is the cause of a call's end that its server's silence brought.
var errSilent = errors.New("the server is silent")

// A silence ends the context of a call when nothing has moved for a while,
// however long the call takes as a whole.
type silence struct {
	cancel  context.CancelCauseFunc
	longest time.Duration
	timer   *time.Timer
}

func newSilence(ctx context.Context, longest time.Duration) (context.Context, *silence) {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &silence{cancel: cancel, longest: longest}
	s.timer = time.AfterFunc(longest, func() { cancel(fmt.Errorf("%w: nothing moved for %v", errSilent, longest)) })
	return ctx, s
}

// broken begins the silence anew.
func (s *silence) broken() { s.timer.Reset(s.longest) }

func (s *silence) end() {
	s.timer.Stop()
	s.cancel(nil)
}

// listened is a body whose reads break a silence.
type listened struct {
	io.Reader
	*silence
}

func (l listened) Read(b []byte) (int, error) {
	n, err := l.Reader.Read(b)
	l.broken()
	return n, err
}

// Close lets net/http close a request's body, which is memory.
func (listened) Close() error { return nil }
