package beck

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"
)

// listenRoom is how many messages wait for a listener at the most.
const listenRoom = 1024

// Broadcast hands a body to whoever listens to subject now: at most once, and
// nothing is stored. It returns how many got it as far as the engine knows, which
// on disk are listeners and on Redis processes with listeners; -1 if it can't
// tell. A subject is a name, see CheckName.
func (b *Bus) Broadcast(ctx context.Context, subject string, body []byte) (listeners int, err error) {
	err = b.do("broadcast", at{subject}, func() error {
		if len(body) > b.maxBody {
			return fmt.Errorf("%w: the body has %d bytes, more than the %d allowed", ErrTooLarge, len(body), b.maxBody)
		}
		listeners, err = b.engine.Broadcast(ctx, subject, body)
		return err
	})
	return listeners, err
}

// CheckPattern says whether s can be listened to: a name as in CheckName, a name
// with ".*" behind it for all names that begin so, or "*" for all. The error is
// ErrName.
func CheckPattern(s string) error {
	if s == "*" {
		return nil
	}
	prefix := strings.TrimSuffix(s, ".*")
	if err := CheckName(prefix); err != nil {
		return fmt.Errorf(`%w; a pattern is a name, a name and ".*", or "*"`, err)
	}
	return nil
}

// Listen hears what is broadcast to the subjects that a pattern names, see
// CheckPattern, from when Listen returns until ctx ends or the loop over what it
// returned is left. The Topic of a message is its subject; it has a Body and a
// Time, and nothing else. A [*Gap] is yielded as an error where something may be
// missing, because a connection was lost or the loop was too slow; the loop may
// go on. After any other error it ends. It must be looped over once, or ctx
// ended.
func (b *Bus) Listen(ctx context.Context, pattern string) iter.Seq2[*Message, error] {
	l, err := b.listen(ctx, pattern)
	return func(yield func(*Message, error) bool) {
		if err != nil {
			yield(nil, err)
			return
		}
		defer l.stop()
		if err := l.run(ctx, yield); err != nil {
			yield(nil, &Error{Op: "listen", Topic: pattern, Err: err})
		}
	}
}

// listener is one Listen.
type listener struct {
	bus     *Bus
	pattern string
	heard   chan *Message
	missed  chan struct{}
	stop    func()
}

func (b *Bus) listen(ctx context.Context, pattern string) (*listener, error) {
	l := &listener{bus: b, pattern: pattern, heard: make(chan *Message, listenRoom), missed: make(chan struct{}, 1)}
	stop, err := b.Hear(ctx, pattern, l.receive, func() { signal(l.missed) })
	if err != nil {
		return nil, err
	}
	// Whoever never loops listens until ctx ends; and ctx, which may go on for
	// long, must not keep what has ended.
	forget := context.AfterFunc(ctx, stop)
	l.stop = func() { forget(); stop() }
	return l, nil
}

func (l *listener) receive(subject string, body []byte) {
	select {
	case l.heard <- &Message{Topic: subject, Body: body, Time: time.Now().Truncate(time.Millisecond)}:
	default:
		l.bus.stats.missed.Add(1)
		signal(l.missed)
	}
}

// run yields until the end. A nil error means that the loop was left.
func (l *listener) run(ctx context.Context, yield func(*Message, error) bool) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-l.bus.ctx.Done():
			return ErrClosed
		case m := <-l.heard:
			if !yield(m, nil) {
				return nil
			}
		case <-l.missed:
			if !yield(nil, &Gap{Topic: l.pattern}) {
				return nil
			}
		}
	}
}
