package ondisk

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// desk hands requests to those who serve. It is all in memory: an answer goes
// through a channel to the goroutine that asked.
type desk struct {
	mu       sync.Mutex
	services map[string]*service
	closed   chan struct{}
}

func newDesk() *desk {
	return &desk{services: map[string]*service{}, closed: make(chan struct{})}
}

// service is what several repliers offer, in turn.
type service struct {
	repliers []*replier
	turn     int // of the next one
}

// replier is one Serve.
type replier struct {
	handle func(driver.Request)
	// calls of handle; it grows only while the replier is in its service.
	calls sync.WaitGroup
}

// requestTime bounds a request whose context has no deadline.
const requestTime = 30 * time.Second

// Request calls a replier and waits for the answer.
func (e *engine) Request(ctx context.Context, service string, m driver.Message) (driver.Answer, error) {
	if err := ctx.Err(); err != nil {
		return driver.Answer{}, context.Cause(ctx)
	}
	deadline, bounded := ctx.Deadline()
	if !bounded {
		limited, cancel := context.WithTimeout(ctx, requestTime)
		defer cancel()
		ctx = limited
		deadline, _ = ctx.Deadline()
	}
	r, err := e.desk.next(service)
	if err != nil {
		return driver.Answer{}, err
	}
	answers := make(chan driver.Answer, 1)
	func() {
		defer r.calls.Done()
		r.handle(driver.Request{Message: e.requested(m), Deadline: deadline, Answer: func(_ context.Context, a driver.Answer) error {
			// The one who asked may change what he gets.
			a.Body = slices.Clone(a.Body)
			select {
			case answers <- a:
			default: // there was one
			}
			return nil
		}})
	}()
	select {
	case a := <-answers:
		return a, nil
	case <-ctx.Done():
		return driver.Answer{}, context.Cause(ctx)
	case <-e.desk.closed:
		return driver.Answer{}, driver.ErrClosed
	}
}

// requested is what the replier gets of a message: copies, since the one who asks
// may give up and use his own for something else.
func (e *engine) requested(m driver.Message) driver.Message {
	return driver.Message{
		Key: m.Key, Headers: maps.Clone(m.Headers), Body: append(make([]byte, 0, len(m.Body)), m.Body...),
		Time: e.now().Truncate(time.Millisecond).UTC(),
	}
}

// next returns the replier whose turn it is; the caller must say when his call is
// over.
func (d *desk) next(name string) (*replier, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.services[name]
	switch {
	case d.isClosed():
		return nil, driver.ErrClosed
	case s == nil:
		return nil, driver.ErrNoReplier
	}
	s.turn %= len(s.repliers)
	r := s.repliers[s.turn]
	s.turn++
	r.calls.Add(1)
	return r, nil
}

func (d *desk) isClosed() bool {
	select {
	case <-d.closed:
		return true
	default:
		return false
	}
}

// Serve adds a replier.
func (e *engine) Serve(ctx context.Context, service string, handle func(driver.Request)) (stop func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	r := &replier{handle: handle}
	if err := e.desk.add(service, r); err != nil {
		return nil, err
	}
	return func() {
		e.desk.remove(service, r)
		r.calls.Wait()
	}, nil
}

func (d *desk) add(name string, r *replier) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isClosed() {
		return driver.ErrClosed
	}
	if d.services[name] == nil {
		d.services[name] = &service{}
	}
	s := d.services[name]
	s.repliers = append(s.repliers, r)
	return nil
}

func (d *desk) remove(name string, r *replier) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.services[name]
	if s == nil {
		return
	}
	i := slices.Index(s.repliers, r)
	if i < 0 {
		return
	}
	s.repliers = slices.Delete(s.repliers, i, i+1)
	if i < s.turn {
		s.turn-- // it is still the same one's turn
	}
	if len(s.repliers) == 0 {
		delete(d.services, name)
	}
}

// close has everybody who waits give up, and nobody called any more.
func (d *desk) close() {
	d.mu.Lock()
	if !d.isClosed() {
		close(d.closed)
	}
	services := d.services
	d.services = map[string]*service{}
	d.mu.Unlock()
	for _, s := range services {
		for _, r := range s.repliers {
			r.calls.Wait()
		}
	}
}
