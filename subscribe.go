package beck

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// SubscribeOptions say how a subscription is consumed. The zero value works.
type SubscribeOptions struct {
	// From is where a new subscription begins; an existing one goes on where it
	// is. Defaults to FromStart.
	From Position

	// Concurrency is how many handlers may run at a time. With one, messages are
	// handled in the order in which they are delivered; with more, only those
	// with the same key are. A slow key holds up the others once the consumer
	// holds nothing but messages of that key. Defaults to 1.
	Concurrency int

	// MaxAttempts is how many times a message is delivered to be handled before
	// it becomes a dead letter. A consumer that dies uses up an attempt, one that
	// is stopped does not, nor one that is cut off from the engine for a while and
	// goes on with its messages. Defaults to 0: there is no limit.
	MaxAttempts int

	// Backoff is the delay before a message is retried, given the attempt that
	// failed, from 1. Defaults to 1 second, doubled with each attempt up to 5
	// minutes, give or take a fifth by chance.
	Backoff func(attempt int) time.Duration

	// Lease is how long a message may stay with a consumer that is dead, from
	// MinLease to MaxLease. It is renewed while a handler runs. Defaults to that
	// of the subscription, or to 30 seconds for a new one.
	Lease time.Duration

	// Expires is after what time without a consumer the subscription is deleted,
	// from MinExpires to MaxExpires. Defaults to that of the subscription, or to
	// never for a new one.
	Expires time.Duration

	// Prefetch is how many messages the consumer may hold, those being handled
	// included. Defaults to what it handles within about a quarter of a second,
	// so that slow handlers leave work to other consumers; what it can't handle
	// soon, it gives back.
	Prefetch int

	// Consumer names this reader among those of the subscription; no two may
	// have the same name at a time. Defaults to a name made of the host's, the
	// process's number and chance.
	Consumer string

	// OnGap is called when messages may have been lost that were stored, and never
	// delivered to the subscription, as at a failover of Redis to a replica that was
	// behind: for those who can get them elsewhere. It must return soon. Defaults to
	// nil: it is logged in any case.
	OnGap func(topic string)

	// Grace is how long running handlers may go on once ctx has ended, before
	// their context is cancelled. Defaults to 10 seconds.
	Grace time.Duration
}

const (
	defaultGrace   = 10 * time.Second
	firstBackoff   = time.Second
	lastBackoff    = 5 * time.Minute
	maxConcurrency = 100_000
)

// Subscribe handles the messages of a durable subscription until ctx ends, and
// then returns nil once running handlers are done; or until the bus is closed,
// and then returns ErrClosed. The subscription is made if it doesn't exist. All
// who subscribe under the same name share its messages. Once it has begun, a lost
// connection is no error: consuming goes on by itself. It returns an error if it
// can't begin, and when the subscription is deleted. It waits for handlers to
// return, also for those that ignore that their context has ended.
func (b *Bus) Subscribe(ctx context.Context, topic, name string, handle Handler, o *SubscribeOptions) error {
	return b.doLasting("subscribe", at{topic, name}, func() error {
		return b.subscribe(ctx, topic, name, work{handle: handle}, o)
	})
}

func (b *Bus) subscribe(ctx context.Context, topic, name string, w work, o *SubscribeOptions) error {
	options, err := o.filled()
	if err != nil {
		return err
	}
	c, err := b.join(ctx, topic, name, w, options, false)
	if endedBy(ctx, err) {
		return nil
	}
	if err != nil {
		return err
	}
	c.named = o != nil && o.Consumer != ""
	return c.run(ctx)
}

// endedBy reports whether an error is no more than the end of a context.
func endedBy(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx)))
}

// join makes a subscription, if need be, and a consumer of it that is to be run.
func (b *Bus) join(ctx context.Context, topic, name string, w work, o SubscribeOptions, queue bool) (*consumer, error) {
	if w.handle == nil && w.batch == nil {
		return nil, fmt.Errorf("%w: no handler", ErrOption)
	}
	_, err := b.Join(ctx, topic, name, &JoinOptions{From: o.From, Lease: o.Lease, Expires: o.Expires, Queue: queue})
	if err != nil {
		return nil, cause(err)
	}
	return newConsumer(b, topic, name, w, o), nil
}

func defaultBackoff(attempt int) time.Duration {
	return jittered(backoff(attempt-1, firstBackoff, lastBackoff))
}

// cause takes off an *Error, so that the caller can put on its own.
func cause(err error) error {
	if e, ok := err.(*Error); ok {
		return e.Err
	}
	return err
}

// filled checks the options and puts in the defaults.
func (o *SubscribeOptions) filled() (SubscribeOptions, error) {
	f := SubscribeOptions{}
	if o != nil {
		f = *o
	}
	for _, c := range []struct {
		name  string
		value int
		most  int
	}{
		{"Concurrency", f.Concurrency, maxConcurrency},
		{"MaxAttempts", f.MaxAttempts, 1 << 30},
		{"Prefetch", f.Prefetch, 1 << 20},
	} {
		if c.value < 0 || c.value > c.most {
			return f, fmt.Errorf("%w: %s is %d; it takes 0 to %d", ErrOption, c.name, c.value, c.most)
		}
	}
	if f.Grace < 0 {
		return f, fmt.Errorf("%w: Grace is %v", ErrOption, f.Grace)
	}
	if f.Concurrency == 0 {
		f.Concurrency = 1
	}
	if f.Prefetch > 0 && f.Prefetch < f.Concurrency {
		return f, fmt.Errorf("%w: Prefetch is %d, less than Concurrency %d: handlers would have nothing to do", ErrOption, f.Prefetch, f.Concurrency)
	}
	if f.Backoff == nil {
		f.Backoff = defaultBackoff
	}
	if f.Grace == 0 {
		f.Grace = defaultGrace
	}
	if f.Consumer == "" {
		f.Consumer = consumerName()
	}
	if err := CheckName(f.Consumer); err != nil {
		return f, fmt.Errorf("consumer: %w", err)
	}
	return f, nil
}

// consumerName makes a name that tells people which process it is, and that no
// other consumer has.
func consumerName() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "host"
	}
	host = strings.Map(func(r rune) rune {
		if notInName(r) {
			return '-'
		}
		return r
	}, strings.TrimLeft(host, "-._:"))
	if len(host) > 64 {
		host = host[:64]
	}
	if host == "" || !isAlphanumeric(rune(host[0])) {
		host = "host"
	}
	return fmt.Sprintf("%s-%d-%s", host, os.Getpid(), rand.Text()[:6])
}
