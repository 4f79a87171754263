package ondisk

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/beckmq/beck/internal/driver"
)

// request is something for the committer to decide.
type request struct {
	// decide is called by the committer. It changes the state in memory and
	// writes what it changes into the transaction, or returns an error and
	// changes nothing.
	decide func(*transaction) error
	// size is about how many bytes it writes.
	size int
	// alone is set if decide looks into Pebble for what other requests of the
	// same transaction might have changed.
	alone bool

	state atomic.Int32
	done  chan struct{} // closed once err is set
	err   error
}

// The states of a request.
const (
	queued int32 = iota
	taken        // by the committer
	withdrawn
)

func (r *request) answer(err error) {
	r.err = err
	close(r.done)
}

// queue holds the requests that wait for the committer. It is no longer than
// there are callers.
type queue struct {
	mu      sync.Mutex
	waiting []*request
	closed  bool
	wake    chan struct{} // has room for one
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

func (q *queue) add(r *request) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return driver.ErrClosed
	}
	q.waiting = append(q.waiting, r)
	q.signal()
	return nil
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// close lets no more requests in; those that wait are still taken.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.signal()
}

// take waits for requests and returns those that make up the next transaction;
// none once the queue is closed and empty.
func (q *queue) take(maxBytes int) []*request {
	for {
		if batch, closed := q.next(maxBytes); len(batch) > 0 || closed {
			return batch
		}
		<-q.wake
	}
}

func (q *queue) next(maxBytes int) (batch []*request, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	size, used := 0, 0
	for _, r := range q.waiting {
		if r.state.Load() != withdrawn {
			if len(batch) > 0 && (r.alone || size+r.size > maxBytes) {
				break
			}
			if r.state.CompareAndSwap(queued, taken) {
				batch = append(batch, r)
				size += r.size
			}
		}
		used++
		if r.alone && len(batch) > 0 {
			break
		}
	}
	rest := copy(q.waiting, q.waiting[used:])
	clear(q.waiting[rest:])
	q.waiting = q.waiting[:rest]
	return batch, q.closed && len(batch) == 0 && rest == 0
}

// submit has the committer decide something and returns once the disk holds what
// it changed. If the context ends before the committer has begun, nothing is
// done; if it ends later, nobody knows.
func (e *engine) submit(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	r.done = make(chan struct{})
	if err := e.queue.add(r); err != nil {
		return err
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
	}
	if r.state.CompareAndSwap(queued, withdrawn) {
		return context.Cause(ctx)
	}
	select {
	case <-r.done:
		return r.err
	default:
		return fmt.Errorf("%w: %w", driver.ErrUncertain, context.Cause(ctx))
	}
}
