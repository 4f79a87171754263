package server

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/wire"
)

// memory is what all requests together may take for what they send, so that
// many large ones that come slowly don't take all there is.
type memory struct {
	limit int64
	taken atomic.Int64
}

// small is what every request may take in any case: however many large ones
// there are, small ones are served.
const small = 64 << 10

// share returns what a request takes of the memory, to be given back.
func (m *memory) share() *share { return &share{of: m, free: small} }

// A share belongs to one request.
type share struct {
	of    *memory
	free  int64 // what isn't counted
	taken int64
}

// take takes bytes, or refuses.
func (s *share) take(bytes int) error {
	n := int64(bytes)
	free := min(s.free, n)
	s.free -= free
	if n -= free; n == 0 {
		return nil
	}
	if s.of.taken.Add(n) > s.of.limit {
		s.of.taken.Add(-n)
		return &busyError{wire.NewProblem(wire.CodeUnavailable, "%v: the server is busy with other large requests; try again a little later", beck.ErrUnavailable)}
	}
	s.taken += n
	return nil
}

// giveBack ends the share.
func (s *share) giveBack() {
	s.of.taken.Add(-s.taken)
	s.taken = 0
}

// busyError is a refusal after which trying again pays soon.
type busyError struct{ problem *wire.Problem }

func (e *busyError) Error() string { return fmt.Sprint("busy: ", e.problem) }

func (e *busyError) Unwrap() error { return e.problem }

func isBusy(err error) bool {
	_, busy := errors.AsType[*busyError](err)
	return busy
}
