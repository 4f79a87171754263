package ondisk

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/beckmq/beck/internal/driver"
)

// air knows who listens to what. What is broadcast goes straight from the one who
// broadcasts to the listeners, in memory: there is no goroutine between them, and
// nothing is locked while a listener is called.
type air struct {
	mu        sync.Mutex
	closed    bool
	audiences map[pattern]*audience
}

// pattern is a subject, or what subjects begin with: "a." of "a.*", nothing of
// "*".
type pattern struct {
	text   string
	prefix bool
}

func newPattern(s string) pattern {
	text, prefix := strings.CutSuffix(s, "*")
	return pattern{text, prefix}
}

// audience is all who listen to one pattern.
type audience struct {
	members map[*listener]struct{}
	list    []*listener // the same; nil if it has to be made anew
}

// listener is one Listen.
type listener struct {
	driver.Listener
	mu      sync.Mutex
	busy    bool          // somebody calls it
	idle    chan struct{} // closed once nobody does, if there is one who waits for that
	stopped bool
	next    []airing // what came while it was busy, for whoever calls it
	missed  bool     // there was more than that
}

// airing is something that was broadcast.
type airing struct {
	subject string
	body    []byte
}

// listenerRoom is how much waits for a listener that is busy. A call of a
// listener takes no time to speak of, so that it is seldom used at all.
const listenerRoom = 1024

// Broadcast calls all listeners, and returns how many there are.
func (e *engine) Broadcast(ctx context.Context, subject string, body []byte) (listeners int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, context.Cause(ctx)
	}
	var room [4][]*listener
	audiences, err := e.air.who(subject, room[:0])
	if err != nil || len(audiences) == 0 {
		return 0, err
	}
	// The caller may use the body for something else; all listeners share one.
	a := airing{subject, append(make([]byte, 0, len(body)), body...)}
	for _, list := range audiences {
		for _, l := range list {
			if l.hear(a) {
				listeners++
			}
		}
	}
	return listeners, nil
}

// who adds the audiences that a subject has to a list.
func (r *air) who(subject string, list [][]*listener) ([][]*listener, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, driver.ErrClosed
	}
	if len(r.audiences) == 0 {
		return nil, nil
	}
	list = r.audiences[pattern{text: subject}].all(list)
	list = r.audiences[pattern{prefix: true}].all(list)
	for i := range len(subject) {
		if subject[i] == '.' {
			list = r.audiences[pattern{subject[:i+1], true}].all(list)
		}
	}
	return list, nil
}

// all adds everybody to a list. Whoever came or went since the last time costs
// another slice, which is no more than calling all of them does.
func (a *audience) all(list [][]*listener) [][]*listener {
	if a == nil {
		return list
	}
	if a.list == nil {
		a.list = slices.Collect(maps.Keys(a.members))
	}
	return append(list, a.list)
}

// hear calls a listener. If somebody else does so already, he is left to do this
// as well: so it gets everything in order, and one at a time.
func (l *listener) hear(a airing) (heard bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return false
	}
	if l.busy {
		if len(l.next) < listenerRoom {
			l.next = append(l.next, a)
		} else {
			l.missed = true
		}
		return true
	}
	l.busy = true
	l.call(func() { l.Receive(a.subject, a.body) })
	for !l.stopped && (len(l.next) > 0 || l.missed) {
		next, missed := l.next, l.missed
		l.next, l.missed = nil, false
		l.call(func() {
			for _, a := range next {
				l.Receive(a.subject, a.body)
			}
			if missed && l.Missed != nil {
				l.Missed()
			}
		})
	}
	l.busy = false
	if l.idle != nil {
		close(l.idle)
	}
	return true
}

// call does something without the lock, which its caller holds.
func (l *listener) call(do func()) {
	l.mu.Unlock()
	defer l.mu.Lock()
	do()
}

// stop returns once nobody calls the listener any more.
func (l *listener) stop() {
	l.mu.Lock()
	l.stopped, l.next = true, nil
	idle := l.idle
	if l.busy && idle == nil {
		idle = make(chan struct{})
		l.idle = idle
	}
	l.mu.Unlock()
	if idle != nil {
		<-idle
	}
}

// Listen adds a listener.
func (e *engine) Listen(ctx context.Context, to string, l driver.Listener) (stop func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	one, where := &listener{Listener: l}, newPattern(to)
	if err := e.air.add(where, one); err != nil {
		return nil, err
	}
	return func() {
		e.air.remove(where, one)
		one.stop()
	}, nil
}

func (r *air) add(where pattern, l *listener) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return driver.ErrClosed
	}
	if r.audiences == nil {
		r.audiences = map[pattern]*audience{}
	}
	a := r.audiences[where]
	if a == nil {
		a = &audience{members: map[*listener]struct{}{}}
		r.audiences[where] = a
	}
	a.members[l], a.list = struct{}{}, nil
	return nil
}

func (r *air) remove(where pattern, l *listener) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.audiences[where]
	if a == nil {
		return
	}
	delete(a.members, l)
	a.list = nil
	if len(a.members) == 0 {
		delete(r.audiences, where)
	}
}

// close stops all listeners.
func (r *air) close() {
	r.mu.Lock()
	r.closed = true
	audiences := r.audiences
	r.audiences = nil
	r.mu.Unlock()
	for _, a := range audiences {
		for l := range a.members {
			l.stop()
		}
	}
}
