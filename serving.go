package beck

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// The calls of this file, like [Bus.Watch], are for serving others: what they
// hand over, programs of their own get elsewhere with more comfort.

// Outstanding tells which of some messages, at most MaxFetch, a subscription is
// not done with, and where they stand: StateReady, StateHeld, StateWaiting or
// StateDead. Confirm waits until there are none.
func (b *Bus) Outstanding(ctx context.Context, topic, subscription string, ids ...string) (open map[string]State, err error) {
	err = b.do("look for open messages", at{topic, subscription}, func() error {
		if err := checkIDs(ids); err != nil {
			return err
		}
		found, err := b.engine.Outstanding(ctx, topic, subscription, ids)
		open = make(map[string]State, len(found))
		for id, state := range found {
			open[id] = State(state)
		}
		return err
	})
	return open, err
}

// Hear is Listen with functions that are called, one at a time, and must not
// block: receive for what is broadcast, missed where something may not have come.
// It has begun when Hear returns, and ends with stop, which waits for a call that
// is under way, or when the bus is closed.
func (b *Bus) Hear(ctx context.Context, pattern string, receive func(subject string, body []byte), missed func()) (stop func(), err error) {
	err = CheckPattern(pattern)
	if err == nil && (receive == nil || missed == nil) {
		err = fmt.Errorf("%w: no function to listen with", ErrOption)
	}
	if err != nil {
		return nil, wrap("listen", at{pattern}, err)
	}
	end, err := b.beginLasting()
	if err != nil {
		return nil, wrap("listen", at{pattern}, err)
	}
	unlisten, err := b.engine.Listen(ctx, pattern, driver.Listener{
		Receive: func(subject string, body []byte) { b.stats.heard.Add(1); receive(subject, body) },
		Missed:  missed,
	})
	if err != nil {
		end()
		return nil, wrap("listen", at{pattern}, err)
	}
	once := sync.OnceFunc(func() { unlisten(); end() })
	forget := context.AfterFunc(b.ctx, once)
	return func() { forget(); once() }, nil
}

// Serve is Reply with a function that is given each request, with the time at
// which nobody waits for it any more, and must not block. answer sends the
// answer, or the text of what went wrong, once; it must not be called before take
// returns. Serve has begun when it returns, and takes requests until stop, which
// must be called; those taken may be answered after it.
func (b *Bus) Serve(ctx context.Context, service string, take func(m *Message, deadline time.Time, answer func(ctx context.Context, body []byte, failure string) error)) (stop func(), err error) {
	err = CheckName(service)
	if err == nil && take == nil {
		err = fmt.Errorf("%w: no function to reply with", ErrOption)
	}
	if err != nil {
		return nil, wrap("reply", at{service}, err)
	}
	end, err := b.beginLasting()
	if err != nil {
		return nil, wrap("reply", at{service}, err)
	}
	unserve, err := b.engine.Serve(ctx, service, func(q driver.Request) {
		m := Message(q.Message)
		m.Topic = service
		take(&m, q.Deadline, func(ctx context.Context, body []byte, failure string) error {
			return wrap("answer", at{service}, b.answer(ctx, q, body, failure))
		})
	})
	if err != nil {
		end()
		return nil, wrap("reply", at{service}, err)
	}
	return sync.OnceFunc(func() { unserve(); end() }), nil
}

func (b *Bus) answer(ctx context.Context, q driver.Request, body []byte, failure string) error {
	switch {
	case failure != "":
		body, failure = nil, shortened(failure)
	case len(body) > b.maxBody:
		return fmt.Errorf("%w: the answer has %d bytes, more than the %d allowed", ErrTooLarge, len(body), b.maxBody)
	}
	err := q.Answer(ctx, driver.Answer{Body: body, Failure: failure})
	if err == nil {
		b.stats.replies.Add(1)
	}
	return err
}

// missingError names what a Requeue, Drop or Cancel did not find. Who serves
// others finds the method Missing in it.
type missingError struct{ ids []string }

func (e *missingError) Error() string {
	shown, rest := e.ids, ""
	if len(shown) > 3 {
		shown, rest = shown[:3], fmt.Sprintf(" and %d more", len(e.ids)-3)
	}
	return fmt.Sprintf("%v: %s%s", ErrMessageNotFound, strings.Join(shown, ", "), rest)
}

// Missing returns the ids that were not there; all others are done.
func (e *missingError) Missing() []string { return e.ids }

// Is makes errors.Is find ErrMessageNotFound.
func (e *missingError) Is(target error) bool { return target == ErrMessageNotFound }
