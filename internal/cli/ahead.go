package cli

import (
	"context"
	"time"

	"github.com/beckmq/beck"
)

// leased is what a fetch returned.
type leased struct {
	*beck.Fetched
	at time.Time // when it returned
}

func (c *consumer) fetchOnce(ctx context.Context, o beck.FetchOptions) (leased, error) {
	got, err := c.bus.Fetch(ctx, c.topic, c.as, &o)
	if err == nil && got.Lost > 0 {
		c.note("%s of %s as %s: removed from the topic before they were acknowledged", counted(got.Lost, "message"), c.topic, c.as)
	}
	if err == nil && got.Gap {
		c.note("%s as %s: messages that were stored, and never delivered, may be lost", c.topic, c.as)
	}
	return leased{got, time.Now()}, err
}

// ahead is a fetch that runs while the messages before are acknowledged.
type ahead struct {
	cancel context.CancelFunc
	done   chan struct{}
	got    leased
	err    error
}

// aheadLease is the shortest lease with which messages are fetched ahead. A
// shorter one could end while the messages before are still being acknowledged;
// the fetch would return those again.
const aheadLease = 10 * time.Second

// fetchAhead begins to fetch the next messages. It returns nil where that has to
// wait for the acknowledgement: after a lost connection, asking for what may have
// been leased would return what is being acknowledged.
func (c *consumer) fetchAhead(ctx context.Context, lease time.Duration) *ahead {
	if c.lost.Load() || lease < aheadLease || c.to.enough() {
		return nil
	}
	asking, cancel := context.WithCancel(ctx)
	a := &ahead{cancel: cancel, done: make(chan struct{})}
	o := c.fetchOptions()
	go func() {
		defer close(a.done)
		a.got, a.err = c.fetchOnce(asking, o)
	}()
	return a
}

// wait returns what was fetched.
func (a *ahead) wait() (leased, error) {
	<-a.done
	a.cancel()
	return a.got, a.err
}

// drop ends a fetch and releases what it leased. It may be nil.
func (c *consumer) drop(ctx context.Context, a *ahead) {
	if a == nil {
		return
	}
	a.cancel()
	if got, err := a.wait(); err == nil && len(got.Messages) > 0 {
		ending, cancel := outlive(ctx, settleGrace)
		defer cancel()
		c.release(ending, got.Messages)
	}
}

// keepLeased renews leases while messages are being written, which lasts as
// long as the reader of standard output likes.
func (c *consumer) keepLeased(ctx context.Context, got leased) (stop func()) {
	if got.Lease <= 0 {
		return func() {}
	}
	renewing, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		every := got.Lease / 3
		// They may have waited since they were fetched.
		due := time.NewTimer(time.Until(got.at.Add(every)))
		defer due.Stop()
		for {
			select {
			case <-due.C:
				if err := c.settle(renewing, got.Messages, beck.Renew); err != nil && renewing.Err() == nil {
					c.note("%s", oneLine(err))
				}
				due.Reset(every)
			case <-renewing.Done():
				return
			}
		}
	}()
	return func() { cancel(); <-done }
}
