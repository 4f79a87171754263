package onredis

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck/internal/driver"
)

const (
	// A process that serves says so every renewEvery, and is taken off the list if
	// it has not for serveTime.
	renewEvery = 3 * time.Second
	serveTime  = 12 * time.Second
	// registerTimeout bounds how long that, or to stop, may take.
	registerTimeout = 2 * time.Second
	// maxRefusals is how many requests are refused at a time that come for what is
	// served no more; further ones get no answer.
	maxRefusals = 64
)

// services are those that this process serves. Its maps are guarded by live.mu.
type services struct {
	handlers map[string]*handlers
	renew    chan struct{} // to renew all at once
	register chan struct{} // held, by one, while the list in Redis is changed
	refusals chan struct{}
	keeping  bool
}

// handlers take the requests to a service in turn.
type handlers struct {
	list []*handler
	turn atomic.Uint64
}

type handler struct{ handle func(driver.Request) }

func newServices() services {
	return services{
		handlers: map[string]*handlers{}, renew: make(chan struct{}, 1),
		register: make(chan struct{}, 1), refusals: make(chan struct{}, maxRefusals),
	}
}

func (s *services) renewNow() {
	select {
	case s.renew <- struct{}{}:
	default:
	}
}

// Serve implements driver.Live. The process is on the list of those who serve, in
// Redis, as long as it has a replier.
func (e *engine) Serve(ctx context.Context, service string, handle func(driver.Request)) (stop func(), err error) {
	l, h := e.live, &handler{handle}
	if err := l.wantInbox(ctx); err != nil {
		return nil, err
	}
	s := &l.services
	select {
	case s.register <- struct{}{}:
	case <-ctx.Done():
		return nil, e.explain(ctx, &notSent{ctx.Err()}, "", reading)
	}
	defer func() { <-s.register }()
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil, e.explain(ctx, &notSent{driver.ErrClosed}, "", reading)
	}
	all := s.handlers[service]
	if all == nil {
		all = &handlers{}
		s.handlers[service] = all
	}
	all.list = append(all.list, h)
	if !s.keeping {
		s.keeping = true
		l.running.Go(l.keep)
	}
	l.mu.Unlock()
	if err := l.enlist(ctx, service); err != nil {
		l.removeHandler(service, h)
		return nil, err
	}
	return func() { l.stopServing(service, h) }, nil
}

// enlist puts this process on the list of those who serve, or renews that.
func (l *live) enlist(ctx context.Context, service string) error {
	key := l.names.repliers(service)
	_, err := l.work.at(key).run(ctx, l.scripts.serve, []string{key}, l.inbox, millis(serveTime))
	return l.explain(ctx, err, key, writing)
}

// stopServing takes the process off the list first, so that as few requests as
// possible come for nothing. Those that do are refused, and asked of others.
func (l *live) stopServing(service string, h *handler) {
	s := &l.services
	ctx, cancel := context.WithTimeout(context.Background(), registerTimeout)
	defer cancel()
	select {
	case s.register <- struct{}{}:
		defer func() { <-s.register }()
	case <-ctx.Done(): // the entry ends by itself
	}
	defer l.removeHandler(service, h) // before anybody else renews what is served
	l.mu.RLock()
	all := s.handlers[service]
	last := all != nil && len(all.list) == 1 && all.list[0] == h
	l.mu.RUnlock()
	if last {
		_, _ = l.work.at(l.names.repliers(service)).run(ctx, l.scripts.unserve, []string{l.names.repliers(service)}, l.inbox, "")
	}
}

func (l *live) removeHandler(service string, h *handler) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.services.handlers[service]
	if all == nil {
		return
	}
	all.list = slices.DeleteFunc(slices.Clone(all.list), func(o *handler) bool { return o == h })
	if len(all.list) == 0 {
		delete(l.services.handlers, service)
	}
}

// keep renews what this process serves until the engine is closed.
func (l *live) keep() {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
		case <-l.services.renew:
		}
		l.renewAll()
	}
}

func (l *live) renewAll() {
	s := &l.services
	select {
	case s.register <- struct{}{}:
	case <-l.stop:
		return
	}
	defer func() { <-s.register }()
	l.mu.RLock()
	var names []string
	if w := l.wanted[channel{sharded, l.inbox}]; w != nil && w.ready {
		for name := range s.handlers {
			names = append(names, name)
		}
	}
	l.mu.RUnlock()
	ctx, cancel := context.WithTimeout(context.Background(), registerTimeout)
	defer cancel()
	for _, name := range names {
		if err := l.enlist(ctx, name); err != nil {
			select {
			case <-l.stop:
			default:
				l.log.Warn("Redis can't be told that a service is served here; trying again", "service", name, "error", err)
			}
			return
		}
	}
}

// serve hands a request to the one whose turn it is. It is called on the goroutine
// that reads the connection.
func (l *live) serve(q asking) {
	if !strings.HasPrefix(q.inbox, l.names.prefix+inboxPart) {
		return // an answer would go anywhere
	}
	now := time.Now()
	request := driver.Request{
		Message: driver.Message{
			Key: q.key, Headers: q.headers, Body: q.body, Time: now.Truncate(time.Millisecond).UTC(),
		},
		Deadline: now.Add(q.left),
		Answer: func(ctx context.Context, a driver.Answer) error {
			if a.Failure != "" {
				return l.sendAnswer(ctx, q, frameFailure, []byte(a.Failure))
			}
			return l.sendAnswer(ctx, q, frameAnswer, a.Body)
		},
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if all := l.services.handlers[q.service]; all != nil {
		all.list[all.turn.Add(1)%uint64(len(all.list))].handle(request)
		return
	}
	select {
	case l.services.refusals <- struct{}{}:
		go func() {
			defer func() { <-l.services.refusals }()
			ctx, cancel := context.WithTimeout(context.Background(), registerTimeout)
			defer cancel()
			_ = l.sendAnswer(ctx, q, frameNobody, nil)
		}()
	default:
	}
}

// sendAnswer answers a request. If nobody waits for it, it is dropped.
func (l *live) sendAnswer(ctx context.Context, q asking, kind byte, rest []byte) error {
	b := l.b
	frame := encodeAnswer(kind, q.number, rest)
	_, err := l.work.at(q.inbox).do(ctx, b.Spublish().Channel(q.inbox).Message(rueidis.BinaryString(frame)).Build())
	if err = l.explain(ctx, err, "", writing); err != nil {
		return fmt.Errorf("answering a request to %s: %w", q.service, err)
	}
	return nil
}
