package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/beckmq/beck"
)

// publishGrace is how long a publish that has begun may go on after ctrl-C, so
// that what was stored can be told.
const publishGrace = 5 * time.Second

// batch is a run of messages, and the input lines they come from.
type batch struct {
	messages []beck.Message
	lines    []int64 // as many, or none if the messages are no lines
	bytes    int
}

func (b *batch) slice(from, to int) *batch {
	part := &batch{messages: b.messages[from:to]}
	if b.lines != nil {
		part.lines = b.lines[from:to]
	}
	return part
}

// publisher publishes batches to a topic, one at a time, and prints the ids of
// what is stored.
type publisher struct {
	bus    *beck.Bus
	verb   string // "pub", or "push" for a queue
	topic  string
	dedupe string  // what the deduplication ids begin with; empty for none
	ids    *output // nil to print none
	retry  *retry
	// stored is told of every run of messages that is stored, before their ids
	// are printed. It may be nil.
	stored func(*batch)
}

// publish publishes a batch, in order. When it returns an error, those at the
// front that are stored have been counted and their ids printed.
func (p *publisher) publish(ctx context.Context, b *batch) error {
	attempt := p.retry.begin()
	for rest := b; ; {
		ids, err := p.send(ctx, rest)
		if failed := p.done(ctx, rest.slice(0, len(ids)), ids); failed != nil {
			return failed
		}
		if rest = rest.slice(len(ids), len(rest.messages)); len(ids) > 0 {
			attempt = p.retry.begin()
		}
		switch {
		case err == nil:
			return nil
		case attempt.again(ctx, err, rest, p.dedupe != ""):
			continue
		case refused(err) && len(rest.messages) > 1:
			// One message of the batch is to blame. Those before it must not
			// suffer, and the error should tell which it is.
			half := len(rest.messages) / 2
			if err := p.publish(ctx, rest.slice(0, half)); err != nil {
				return err
			}
			rest = rest.slice(half, len(rest.messages))
			continue
		}
		return interruptedBy(ctx, err)
	}
}

// send publishes once. It goes on for a moment after ctx has ended.
func (p *publisher) send(ctx context.Context, b *batch) (ids []string, err error) {
	sending, cancel := outlive(ctx, publishGrace)
	defer cancel()
	if p.verb == verbPush {
		return p.bus.Push(sending, p.topic, b.messages...)
	}
	return p.bus.Publish(sending, p.topic, b.messages...)
}

// interruptedBy adds to an error that the command was interrupted meanwhile.
func interruptedBy(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return err
}

// refused reports whether nothing was stored because of what was in a batch.
func refused(err error) bool {
	return errors.Is(err, beck.ErrTooLarge) || errors.Is(err, beck.ErrMessage) || errors.Is(err, beck.ErrOption)
}

// done counts and prints what is stored. If nobody reads the ids any more,
// publishing goes on without them: the messages are what matters.
func (p *publisher) done(ctx context.Context, b *batch, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	if p.stored != nil {
		p.stored(b)
	}
	if p.ids == nil {
		return nil
	}
	err := p.ids.write(ctx, []byte(strings.Join(ids, "\n")+"\n"))
	switch {
	case errors.Is(err, errOutputClosed):
		p.ids = nil
		return nil
	case err != nil && len(b.lines) == 0:
		return &unprinted{err: err, ids: ids}
	}
	return err // stoppedLines tells of lines
}

// unprinted is an error of printing the ids of messages that are stored.
type unprinted struct {
	err error
	ids []string
}

func (e *unprinted) Error() string { return e.err.Error() + "; " + e.progress() }
func (e *unprinted) Unwrap() error { return e.err }

// progress says that the messages must not be published again.
func (e *unprinted) progress() string {
	if len(e.ids) == 1 {
		return "the message is stored, with the id " + e.ids[0]
	}
	return fmt.Sprintf("%d messages are stored, up to the id %s", len(e.ids), e.ids[len(e.ids)-1])
}

// retry says whether and how to repeat what fails because a connection does.
type retry struct {
	within time.Duration // 0: not at all
	note   func(format string, args ...any)
}

const (
	firstPause = 100 * time.Millisecond
	lastPause  = 2 * time.Second
)

// attempts is a run of attempts at one thing.
type attempts struct {
	*retry
	began time.Time
	pause time.Duration
	told  bool
}

func (r *retry) begin() *attempts {
	return &attempts{retry: r, began: time.Now(), pause: firstPause}
}

// again waits and returns true if an attempt that failed with err should be
// repeated. Where the outcome is unknown it says what may be stored twice, unless
// the messages have deduplication ids: once says that.
func (a *attempts) again(ctx context.Context, err error, b *batch, once bool) bool {
	if errors.Is(err, beck.ErrDurability) {
		return false // it is stored; a second time would help nobody
	}
	uncertain := errors.Is(err, beck.ErrUncertain)
	if !uncertain && !errors.Is(err, beck.ErrUnavailable) || time.Since(a.began)+a.pause > a.within {
		return false
	}
	switch {
	case uncertain && once:
		a.note("%s; trying again; what is stored already is not stored twice", oneLine(err))
		a.told = true
	case uncertain:
		a.note("%s; trying again, so %s may be stored twice", oneLine(err), b)
		a.told = true
	case !a.told:
		a.note("%s; trying again for %v", oneLine(err), a.within)
		a.told = true
	}
	select {
	case <-time.After(a.pause):
	case <-ctx.Done():
		return false
	}
	a.pause = min(2*a.pause, lastPause)
	return true
}

// String names the messages of a batch for people.
func (b *batch) String() string {
	if b == nil || len(b.lines) == 0 {
		return "the message"
	}
	return lineRange(b.lines[0], b.lines[len(b.lines)-1])
}
