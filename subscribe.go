package beck

import (
	"context"
	"time"
)

// SubscribeOptions say how a subscription is consumed. The zero value works.
type SubscribeOptions struct {
	// From is where a new subscription begins; an existing one goes on where it
	// is. Defaults to FromStart.
	From Position

	// Concurrency is how many handlers may run at a time. With more than one,
	// only messages with the same key are handled in order. Defaults to 1.
	Concurrency int

	// MaxAttempts is how many times a message is handled before it becomes a
	// dead letter. Defaults to 0: there is no limit.
	MaxAttempts int

	// Backoff is the delay before a message is retried, given the attempt that
	// failed, from 1. Defaults to 1 second, doubled with each attempt up to 5
	// minutes, give or take a fifth by chance.
	Backoff func(attempt int) time.Duration

	// Lease is how long a message may stay with a consumer that is dead, from
	// MinLease to MaxLease. It is renewed while a handler runs. Defaults to that
	// of the subscription, or to 30 seconds for a new one.
	Lease time.Duration

	// Prefetch is how many messages the consumer may hold, those being handled
	// included. Defaults to what it handles within about a quarter of a second,
	// so that slow handlers leave work to other consumers.
	Prefetch int

	// Consumer names this reader among those of the subscription; no two may
	// have the same name at a time. Defaults to a name made of the host's, the
	// process's number and chance.
	Consumer string

	// Grace is how long running handlers may go on once ctx has ended, before
	// their context is cancelled. Defaults to 10 seconds.
	Grace time.Duration
}

// Subscribe handles the messages of a durable subscription until ctx ends, and
// then returns nil once running handlers are done; or until the bus is closed.
// The subscription is made if it doesn't exist. All who subscribe under the same
// name share its messages. A lost connection is no error: consuming goes on by
// itself. It returns an error for options that make no sense, and when the
// subscription is deleted.
func (b *Bus) Subscribe(ctx context.Context, topic, name string, handle Handler, o *SubscribeOptions) error {
	panic("coming")
}
