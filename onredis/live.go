package onredis

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
)

// live is what is not stored: broadcasts, requests and answers. All that comes in
// comes on one connection of the process, which is made when it is first needed,
// see live_session.go; all that goes out goes through the engine's client. What the
// connection's reader hands over is passed on at once, or dropped: no function
// that is called for it may block.
type live struct {
	*engine
	inbox string        // the channel for requests and answers to this process
	wake  chan struct{} // something else is wanted

	mu      sync.RWMutex // held while listeners and repliers are called
	wanted  map[channel]*wanted
	attempt *attempt
	running sync.WaitGroup
	began   bool
	closed  bool

	askers   askers
	services services
}

// channel is what one subscribes to: by SUBSCRIBE, PSUBSCRIBE or SSUBSCRIBE.
type channel struct {
	kind channelKind
	name string
}

type channelKind int

const (
	exact channelKind = iota
	pattern
	sharded
)

// wanted is a channel that somebody needs.
type wanted struct {
	listeners []*listener
	asked     bool          // on the connection that there is
	ready     bool          // and confirmed
	confirmed chan struct{} // closed once it is ready, or refused
	err       error         // why it was refused
}

type listener struct {
	driver.Listener
	at     int  // its place in wanted.listeners
	missed bool // to be told that something may not have come
}

// attempt is one to connect. Whoever waits is told when it fails.
type attempt struct {
	failed chan struct{}
	err    error
}

func newLive(e *engine) *live {
	return &live{
		engine: e, inbox: e.names.prefix + inboxPart + rand.Text(), wake: make(chan struct{}, 1),
		wanted: map[channel]*wanted{}, attempt: &attempt{failed: make(chan struct{})},
		askers:   askers{waiting: map[uint64]chan answer{}, known: map[string]*repliers{}},
		services: newServices(),
	}
}

// Broadcast implements driver.Live: it is one PUBLISH. Redis counts connections,
// and one that listens to a subject and to a pattern as two. The nodes of a cluster
// hand it on to each other, and each counts its own alone; all of a process goes to
// the same node, so that it stays in order.
func (e *engine) Broadcast(ctx context.Context, subject string, body []byte) (int, error) {
	channel := e.names.prefix + subject
	reply, err := e.work.at(e.live.inbox).do(ctx, e.b.Publish().Channel(channel).Message(rueidis.BinaryString(body)).Build())
	if err != nil {
		return 0, e.explain(ctx, err, "", writing)
	}
	if e.cluster != nil {
		return -1, nil
	}
	n, err := reply.ToInt64()
	return int(n), err
}

// Listen implements driver.Live. A user who may listen to all subjects may do so by
// that one pattern only, as Redis has it, so what is more than he wants is left out
// here.
func (e *engine) Listen(ctx context.Context, subjects string, with driver.Listener) (stop func(), err error) {
	c, x := channel{exact, e.names.prefix + subjects}, &listener{Listener: with}
	prefix, isPattern := strings.CutSuffix(subjects, "*")
	if isPattern {
		c = channel{pattern, globEscaper.Replace(e.names.prefix+prefix) + "*"}
	}
	err = e.live.want(ctx, c, x)
	if isPattern && prefix != "" && errors.Is(err, driver.ErrDenied) {
		c.name = globEscaper.Replace(e.names.prefix) + "*"
		x.Receive = func(subject string, body []byte) {
			if strings.HasPrefix(subject, prefix) {
				with.Receive(subject, body)
			}
		}
		err = e.live.want(ctx, c, x)
	}
	if err != nil {
		return nil, err
	}
	return func() { e.live.leave(c, x) }, nil
}

// want has a channel subscribed to, for a listener or for the inbox, and returns
// when Redis has confirmed it.
func (l *live) want(ctx context.Context, c channel, x *listener) error {
	if ctx.Err() != nil {
		return l.explain(ctx, &notSent{ctx.Err()}, "", reading)
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return l.explain(ctx, &notSent{driver.ErrClosed}, "", reading)
	}
	if !l.began {
		l.began = true
		l.running.Go(l.run)
	}
	w := l.wanted[c]
	if w == nil {
		w = &wanted{confirmed: make(chan struct{})}
		l.wanted[c] = w
	}
	if x != nil {
		x.at = len(w.listeners)
		w.listeners = append(w.listeners, x)
	}
	ready, confirmed, attempt := w.ready, w.confirmed, l.attempt
	l.mu.Unlock()
	if ready {
		return nil
	}
	l.signal()
	var err error
	select {
	case <-confirmed:
		err = w.err
	case <-attempt.failed:
		err = attempt.err
	case <-ctx.Done():
		err = &notSent{ctx.Err()}
	case <-l.stop:
		err = &notSent{driver.ErrClosed}
	}
	if err != nil && x != nil {
		l.leave(c, x)
	}
	return l.explain(ctx, err, "", reading)
}

// wantInbox is want for the inbox, which most often is there.
func (l *live) wantInbox(ctx context.Context) error {
	l.mu.RLock()
	w := l.wanted[channel{sharded, l.inbox}]
	ready := w != nil && w.ready
	l.mu.RUnlock()
	if ready {
		return nil
	}
	return l.want(ctx, channel{sharded, l.inbox}, nil)
}

// leave takes a listener off. No call of it is under way when it returns.
func (l *live) leave(c channel, x *listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.wanted[c]
	if w == nil || x.at >= len(w.listeners) || w.listeners[x.at] != x {
		return // it has left before
	}
	last := len(w.listeners) - 1
	w.listeners[x.at] = w.listeners[last]
	w.listeners[x.at].at = x.at
	w.listeners[last] = nil
	w.listeners = w.listeners[:last]
	if last == 0 {
		delete(l.wanted, c)
		l.signal()
	}
}

func (l *live) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// heard is called by rueidis on the goroutine that reads the connection.
func (l *live) heard(m rueidis.PubSubMessage) {
	if m.Pattern == "" && m.Channel == l.inbox {
		l.open(m.Message)
		return
	}
	subject, ok := strings.CutPrefix(m.Channel, l.names.prefix)
	if !ok || beck.CheckName(subject) != nil {
		return // without a prefix, "*" is everything that anybody says
	}
	c := channel{exact, m.Channel}
	if m.Pattern != "" {
		c = channel{pattern, m.Pattern}
	}
	body := append([]byte{}, m.Message...)
	l.mu.RLock()
	defer l.mu.RUnlock()
	if w := l.wanted[c]; w != nil {
		for _, x := range w.listeners {
			x.Receive(subject, body)
		}
	}
}

// open takes what has come into the inbox.
func (l *live) open(frame string) {
	if frame == "" {
		return
	}
	kind := frame[0]
	switch kind {
	case frameRequest:
		if q, err := decodeRequest(frame[1:]); err == nil {
			l.serve(q)
		}
	case frameAnswer, frameFailure, frameNobody:
		r := &frameReader{rest: frame[1:]}
		if number := r.number(); r.err == nil {
			l.askers.answer(number, answer{kind: kind, rest: r.rest})
		}
	}
}

// close ends all. It may take as long as Redis takes to answer.
func (l *live) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.running.Wait()
}
