package onredis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/beckmq/beck/internal/driver"
)

// A subject and a service are at the instance that a topic of that name is at. While
// the set changes, listeners and repliers are at both places, and those who send go to
// the next one only once all processes know of it. A pattern is listened to at all.

// shardsLive are the listeners and repliers of this process.
type shardsLive struct {
	mu  sync.Mutex
	all map[*hearing]struct{}
}

// hearing is one Listen or Serve.
type hearing struct {
	subject string
	pattern bool
	begin   func(context.Context, *engine) (stop func(), err error)
	missed  func()

	mu      sync.Mutex
	stopped bool
	at      map[*engine]func()
}

// Broadcast implements driver.Live.
func (s *shards) Broadcast(ctx context.Context, subject string, body []byte) (int, error) {
	e, err := s.engineOf(ctx, placeOf(s.set.Load().Instances, subject))
	if err != nil {
		return 0, err
	}
	return e.Broadcast(ctx, subject, body)
}

// Listen implements driver.Live. An instance that can't be reached holds up nobody but
// who listens to a subject of its own; a pattern is listened to there, and something
// said to be missed, as soon as it can.
func (s *shards) Listen(ctx context.Context, pattern string, l driver.Listener) (stop func(), err error) {
	var mu sync.Mutex
	one := driver.Listener{
		Receive: func(subject string, body []byte) {
			mu.Lock()
			defer mu.Unlock()
			l.Receive(subject, body)
		},
		Missed: func() {
			mu.Lock()
			defer mu.Unlock()
			l.Missed()
		},
	}
	return s.hear(ctx, &hearing{
		subject: pattern, pattern: strings.HasSuffix(pattern, "*"), missed: one.Missed,
		begin: func(ctx context.Context, e *engine) (func(), error) { return e.Listen(ctx, pattern, one) },
	})
}

// Serve implements driver.Live.
func (s *shards) Serve(ctx context.Context, service string, handle func(driver.Request)) (stop func(), err error) {
	return s.hear(ctx, &hearing{
		subject: service, missed: func() {},
		begin: func(ctx context.Context, e *engine) (func(), error) { return e.Serve(ctx, service, handle) },
	})
}

// hear begins to listen where it is needed.
func (s *shards) hear(ctx context.Context, h *hearing) (stop func(), err error) {
	h.at = map[*engine]func(){}
	need, more := s.hearAt(h)
	var errs []error
	heard := false
	for _, name := range need {
		if err := s.hearOne(ctx, h, name); err != nil {
			errs = append(errs, err)
		} else {
			heard = true
		}
	}
	for _, err := range errs {
		if !heard || !h.pattern || !errors.Is(err, driver.ErrUnavailable) {
			h.stop()
			return nil, err
		}
	}
	for _, name := range more {
		_ = s.hearOne(ctx, h, name) // tried again by reconcile
	}
	s.live.mu.Lock()
	s.live.all[h] = struct{}{}
	s.live.mu.Unlock()
	return func() {
		s.live.mu.Lock()
		delete(s.live.all, h)
		s.live.mu.Unlock()
		h.stop()
	}, nil
}

// hearAt are the instances that must be listened at, and those that will be needed.
func (s *shards) hearAt(h *hearing) (need, more []string) {
	set := s.set.Load()
	if h.pattern {
		return set.Instances, set.Next
	}
	now, next := set.places(h.subject)
	if now == next {
		return []string{now}, nil
	}
	return []string{now}, []string{next}
}

func (s *shards) hearOne(ctx context.Context, h *hearing, name string) error {
	e, err := s.engineOf(ctx, name)
	if err != nil {
		return err
	}
	h.mu.Lock()
	_, there := h.at[e]
	h.mu.Unlock()
	if there {
		return nil
	}
	stop, err := h.begin(ctx, e)
	if err != nil {
		return err
	}
	h.mu.Lock()
	_, there = h.at[e]
	if !there && !h.stopped {
		h.at[e] = stop
		stop = nil
	}
	h.mu.Unlock()
	if stop != nil {
		stop()
	}
	return nil
}

func (h *hearing) stop() {
	h.mu.Lock()
	h.stopped = true
	all := h.at
	h.at = map[*engine]func(){}
	h.mu.Unlock()
	for _, stop := range all {
		stop()
	}
}

// reconcile listens where it is needed since the set has changed, or an instance could
// not be reached. What is not needed any more ends with its instance.
func (l *shardsLive) reconcile(s *shards) {
	l.mu.Lock()
	list := make([]*hearing, 0, len(l.all))
	for h := range l.all {
		list = append(list, h)
	}
	l.mu.Unlock()
	up := s.up()
	failed := map[string]bool{} // one that hangs is tried once, not to hold up what follow does
	for _, h := range list {
		need, more := s.hearAt(h)
		for _, name := range slices.Concat(need, more) {
			e := up[name]
			h.mu.Lock()
			_, there := h.at[e]
			h.mu.Unlock()
			if e == nil || there || failed[name] {
				continue
			}
			ctx, cancel := context.WithTimeout(s.ctx, beatTimeout)
			err := s.hearOne(ctx, h, name)
			cancel()
			failed[name] = errors.Is(err, driver.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
			if err == nil && slices.Contains(need, name) {
				h.mu.Lock()
				if !h.stopped {
					h.missed()
				}
				h.mu.Unlock()
			}
		}
	}
}

// leaveEngine ends all listening at an engine that is about to be closed.
func (l *shardsLive) leaveEngine(e *engine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for h := range l.all {
		h.mu.Lock()
		stop := h.at[e]
		delete(h.at, e)
		h.mu.Unlock()
		if stop != nil {
			stop()
		}
	}
}

// Request implements driver.Live.
func (s *shards) Request(ctx context.Context, service string, m driver.Message) (driver.Answer, error) {
	now, next := s.set.Load().places(service)
	places := []string{now}
	if next != now {
		places = append(places, next)
	}
	var answer driver.Answer
	err := fmt.Errorf("%w: service %s", driver.ErrNoReplier, service)
	for _, name := range places {
		if !errors.Is(err, driver.ErrNoReplier) {
			break
		}
		var e *engine
		if e, err = s.engineOf(ctx, name); err == nil {
			answer, err = e.Request(ctx, service, m)
		}
	}
	return answer, err
}
