package model

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// live is who listens and who serves. Its lock is held while they are called, so
// that no call is under way when one of them has stopped.
type live struct {
	mu        sync.Mutex
	listeners []*listener
	repliers  map[string][]*replier // by service; the first one's turn is next
	closed    chan struct{}
}

type listener struct {
	pattern string
	receive func(subject string, body []byte)
}

type replier struct{ handle func(driver.Request) }

func newLive() *live {
	return &live{repliers: map[string][]*replier{}, closed: make(chan struct{})}
}

func (l *live) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	l.listeners = nil
	clear(l.repliers)
}

// matches reports whether a subject is one of those that a pattern names.
func matches(pattern, subject string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(subject, prefix)
	}
	return pattern == subject
}

// check says why a call can't be made.
func (e *Engine) check(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ended(ctx)
}

// Broadcast implements driver.Live.
func (e *Engine) Broadcast(ctx context.Context, subject string, body []byte) (listeners int, err error) {
	if err := e.check(ctx); err != nil {
		return 0, err
	}
	e.live.mu.Lock()
	defer e.live.mu.Unlock()
	for _, l := range e.live.listeners {
		if matches(l.pattern, subject) {
			l.receive(subject, body)
			listeners++
		}
	}
	return listeners, nil
}

// Listen implements driver.Live.
func (e *Engine) Listen(ctx context.Context, pattern string, with driver.Listener) (stop func(), err error) {
	if err := e.check(ctx); err != nil {
		return nil, err
	}
	e.live.mu.Lock()
	defer e.live.mu.Unlock()
	l := &listener{pattern: pattern, receive: with.Receive}
	e.live.listeners = append(e.live.listeners, l)
	return func() {
		e.live.mu.Lock()
		defer e.live.mu.Unlock()
		e.live.listeners = slices.DeleteFunc(e.live.listeners, func(o *listener) bool { return o == l })
	}, nil
}

// Serve implements driver.Live.
func (e *Engine) Serve(ctx context.Context, service string, handle func(driver.Request)) (stop func(), err error) {
	if err := e.check(ctx); err != nil {
		return nil, err
	}
	e.live.mu.Lock()
	defer e.live.mu.Unlock()
	r := &replier{handle: handle}
	e.live.repliers[service] = append(e.live.repliers[service], r)
	return func() {
		e.live.mu.Lock()
		defer e.live.mu.Unlock()
		all := e.live.repliers[service]
		e.live.repliers[service] = slices.DeleteFunc(all, func(o *replier) bool { return o == r })
	}, nil
}

// Request implements driver.Live.
func (e *Engine) Request(ctx context.Context, service string, m driver.Message) (driver.Answer, error) {
	if err := e.check(ctx); err != nil {
		return driver.Answer{}, err
	}
	answers := make(chan driver.Answer, 1)
	deadline, _ := ctx.Deadline()
	request := driver.Request{
		Message: driver.Message{
			Key: m.Key, Headers: m.Headers, Body: m.Body, Time: e.now().Truncate(time.Millisecond).UTC(),
		},
		Deadline: deadline,
		Answer: func(_ context.Context, a driver.Answer) error {
			select {
			case answers <- a:
			default: // nobody waits for a second one
			}
			return nil
		},
	}
	if !e.live.hand(service, request) {
		return driver.Answer{}, fmt.Errorf("%s: %w", service, driver.ErrNoReplier)
	}
	select {
	case a := <-answers:
		return a, nil
	case <-ctx.Done():
		return driver.Answer{}, fmt.Errorf("model: %w", context.Cause(ctx))
	case <-e.live.closed:
		return driver.Answer{}, fmt.Errorf("model: %w", driver.ErrClosed)
	}
}

// hand gives a request to the one whose turn it is, if there is one.
func (l *live) hand(service string, request driver.Request) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.repliers[service]
	if len(all) == 0 {
		return false
	}
	l.repliers[service] = append(slices.Clone(all[1:]), all[0])
	all[0].handle(request)
	return true
}
