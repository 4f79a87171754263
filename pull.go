package beck

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// Limits of the calls that pull messages.
const (
	// MaxFetch is the most messages that one Read or Fetch returns.
	MaxFetch = 1000
	// MinLease and MaxLease bound how long a consumer may hold a delivery.
	MinLease = 100 * time.Millisecond
	MaxLease = 24 * time.Hour
	// MinExpires and MaxExpires bound after what time unread a subscription is
	// deleted.
	MinExpires = time.Minute
	MaxExpires = MaxDelay
)

// JoinOptions are what a subscription begins with.
type JoinOptions struct {
	// From is where a new subscription begins; an existing one goes on where it
	// is. Defaults to FromStart.
	From Position

	// Lease is how long a consumer may hold a delivery before another gets it,
	// from MinLease to MaxLease; it changes that of an existing subscription,
	// for all its consumers. Defaults to that of the existing subscription, or
	// to 30 seconds for a new one.
	Lease time.Duration

	// Expires is after what time without a reader the subscription is deleted, so
	// that it doesn't keep its topic's messages for ever: from MinExpires to
	// MaxExpires; it changes that of an existing subscription. Defaults to that of
	// the existing subscription, or to never for a new one.
	Expires time.Duration

	// Queue makes the topic a queue, whose messages are removed once they are
	// acknowledged. It is for the subscription QueueSubscription only, and needs
	// a topic without other subscriptions; else the error is ErrWrongType.
	Queue bool
}

// Join makes a durable subscription, and its topic, where they don't exist, and
// tells whether the subscription did. Subscribe does the same by itself.
func (b *Bus) Join(ctx context.Context, topic, subscription string, o *JoinOptions) (existed bool, err error) {
	if o == nil {
		o = &JoinOptions{}
	}
	err = b.do("join", at{topic, subscription}, func() error {
		if o.Lease != 0 && (o.Lease < MinLease || o.Lease > MaxLease) {
			return fmt.Errorf("%w: a lease of %v; it takes %v to %v", ErrOption, o.Lease, MinLease, MaxLease)
		}
		if o.Expires != 0 && (o.Expires < MinExpires || o.Expires > MaxExpires) {
			return fmt.Errorf("%w: Expires is %v; it takes %v to %v", ErrOption, o.Expires, MinExpires, MaxExpires)
		}
		if o.Queue && subscription != QueueSubscription {
			return fmt.Errorf("%w: the subscription of a queue is %s, not %s", ErrOption, QueueSubscription, subscription)
		}
		from := o.From
		if from == "" {
			from = FromStart
		}
		p, err := from.resolve(time.Now())
		if err == nil && !from.resumes() {
			err = fmt.Errorf("%w %s: a subscription begins behind a message; leave out the @", ErrPosition, from)
		}
		if err == nil {
			existed, err = b.engine.Join(ctx, topic, subscription, driver.JoinConfig{From: p, Lease: o.Lease, Expires: o.Expires, Queue: o.Queue})
		}
		return err
	})
	return existed, err
}

// FetchOptions say who pulls how much.
type FetchOptions struct {
	// Consumer names the reader; what it holds, it settles under this name.
	// Required.
	Consumer string

	// Max is the most messages to return, up to MaxFetch. Defaults to 100.
	Max int

	// Wait is how long to wait for the first message. Defaults to 0: don't.
	Wait time.Duration

	// Recover asks first for what the consumer holds already: after a Fetch
	// that failed, or a restart under the same name.
	Recover bool

	// Era is that of the Fetched before, with which the new one is compared to find a
	// Gap. Defaults to what this bus remembers of the consumer, which is enough for one
	// that always asks by the same bus. One of another bus, such as that of a server
	// before it was restarted, is a Gap, since nothing is known of what was between,
	// unless this bus remembers the consumer.
	Era string
}

// Fetched is what a Fetch returned.
type Fetched struct {
	// Messages are leased to the consumer. It may be empty.
	Messages []*Message
	// Lease is how long the consumer holds them, from when they were fetched.
	Lease time.Duration
	// More says that fetching again at once pays.
	More bool
	// Next is after what time fetching again pays even if nothing is published;
	// 0 if there is no such time.
	Next time.Duration
	// Lost is how many messages the subscription has lost since the last Fetch
	// that told of any, by whomever: dropped by the topic's bounds, or removed by
	// someone else.
	Lost int64
	// Gap says that messages may be lost that were stored, and never delivered to the
	// subscription: the Era is not that of the Fetch before. It is told once.
	Gap bool
	// Era is the engine's, see [Page]. Empty if the engine can't tell, or loses none.
	Era string
}

// Fetch leases messages of a subscription to a consumer, which must settle them
// by [Bus.Settle] before the lease ends. It is for programs that pull, and for
// serving those of others; [Bus.Subscribe] does all of this by itself.
func (b *Bus) Fetch(ctx context.Context, topic, subscription string, o *FetchOptions) (*Fetched, error) {
	if o == nil {
		o = &FetchOptions{}
	}
	var got *Fetched
	err := b.do("fetch", at{topic, subscription}, func() error {
		limit := o.Max
		if limit == 0 {
			limit = 100
		}
		if err := CheckName(o.Consumer); err != nil {
			return fmt.Errorf("consumer: %w", err)
		}
		if limit < 0 || limit > MaxFetch {
			return fmt.Errorf("%w: Max %d; it takes 1 to %d", ErrOption, o.Max, MaxFetch)
		}
		if o.Wait < 0 {
			return fmt.Errorf("%w: Wait %v is negative", ErrOption, o.Wait)
		}
		var err error
		got, err = b.fetchWait(ctx, topic, subscription, o.Wait, o.Era, driver.FetchRequest{
			Consumer: o.Consumer, Max: limit, Recover: o.Recover,
		})
		return err
	})
	return got, err
}

func (b *Bus) fetchWait(ctx context.Context, topic, subscription string, wait time.Duration, last string, req driver.FetchRequest) (*Fetched, error) {
	who := [3]string{topic, subscription, req.Consumer}
	// What another bus said can't be compared: what this one remembers is better.
	if known := b.pulls.get(who); known != "" && !strings.HasPrefix(last, b.mark) {
		last = known
	}
	var seen eras
	seen.changed(last)
	var hints <-chan struct{}
	var over <-chan time.Time
	if wait > 0 {
		watch, stop := b.engine.Watch(topic)
		defer stop()
		timer := time.NewTimer(wait)
		defer timer.Stop()
		hints, over = watch, timer.C
	}
	asking, cancel := linger(ctx, b.hard, fetchGrace)
	defer cancel()
	for {
		f, err := b.engine.Fetch(asking, topic, subscription, req)
		if err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			b.release(topic, subscription, req.Consumer, f.Messages)
			return nil, context.Cause(ctx)
		}
		of := b.marked(f.Era)
		gap := seen.changed(of)
		if of != "" {
			b.pulls.set(who, of)
		}
		if gap {
			b.stats.gaps.Add(1)
		}
		if len(f.Messages) > 0 || f.Lost > 0 || gap || wait <= 0 {
			b.stats.delivered.Add(uint64(len(f.Messages)))
			return &Fetched{
				Messages: shared(topic, f.Messages), Lease: f.Lease, More: f.More, Next: f.Next,
				Lost: f.Lost, Gap: gap, Era: of,
			}, nil
		}
		req.Recover = false
		select {
		case <-hints:
		case <-after(f.Next):
		case <-over:
			wait = 0 // one last look
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-b.ctx.Done():
			return nil, ErrClosed
		}
	}
}

// release gives back what was leased to a caller that has gone, as far as that is
// possible quickly.
func (b *Bus) release(topic, subscription, consumer string, messages []driver.Message) {
	if len(messages) == 0 {
		return
	}
	list := make([]driver.Settlement, len(messages))
	for i := range messages {
		list[i] = driver.Settlement{ID: messages[i].ID, Do: driver.Release}
	}
	ctx, cancel := context.WithTimeout(b.hard, fetchGrace)
	defer cancel()
	if _, err := b.engine.Settle(ctx, topic, subscription, consumer, list); err != nil {
		b.log.Debug("beck: giving back what nobody waits for", "topic", topic, "subscription", subscription, "error", err)
	}
}

// after is time.After, but never for 0.
func after(d time.Duration) <-chan time.Time {
	if d <= 0 {
		return nil
	}
	return time.After(d)
}

// A Settlement is what a consumer decides about a message it holds. Make one
// with Ack, Retry, Release, Bury or Renew.
type Settlement struct{ s driver.Settlement }

// Ack ends the delivery: the subscription is done with the message.
func Ack(id string) Settlement {
	return Settlement{driver.Settlement{ID: id, Do: driver.Acknowledge}}
}

// Retry has the message delivered again after a delay, to any consumer. The
// reason is kept for people, up to 1000 bytes of it; it may be empty.
func Retry(id string, after time.Duration, reason string) Settlement {
	return Settlement{driver.Settlement{ID: id, Do: driver.Retry, After: max(0, after), Reason: reason}}
}

// Release gives a message back that was not handled: another consumer may have
// it at once, and the attempt does not count.
func Release(id string) Settlement {
	return Settlement{driver.Settlement{ID: id, Do: driver.Release}}
}

// Bury moves the message to the dead letters of the subscription, with a reason as
// in Retry.
func Bury(id, reason string) Settlement {
	return Settlement{driver.Settlement{ID: id, Do: driver.DeadLetter, Reason: reason}}
}

// Renew begins the lease anew.
func Renew(id string) Settlement {
	return Settlement{driver.Settlement{ID: id, Do: driver.Renew}}
}

// Settle settles deliveries that a consumer holds, at most MaxFetch in a call,
// durable once it returns. Those that it does not hold are named by a
// [*NotHeldError]; all others of the call are settled nevertheless. With any
// other error beside or instead, some may be settled; settling again does no
// harm.
func (b *Bus) Settle(ctx context.Context, topic, subscription, consumer string, settlements ...Settlement) error {
	return b.do("settle", at{topic, subscription}, func() error {
		if err := CheckName(consumer); err != nil {
			return fmt.Errorf("consumer: %w", err)
		}
		if len(settlements) > MaxFetch {
			return fmt.Errorf("%w: %d settlements, more than the %d allowed at once", ErrTooLarge, len(settlements), MaxFetch)
		}
		list := make([]driver.Settlement, len(settlements))
		for i, s := range settlements {
			if list[i] = s.s; s.s.Do == 0 || s.s.ID == "" {
				return fmt.Errorf("%w: settlement %d of %d is empty", ErrOption, i+1, len(settlements))
			}
			list[i].Reason = shortened(s.s.Reason)
		}
		notHeld, err := b.settle(ctx, topic, subscription, consumer, list)
		if len(notHeld) > 0 {
			err = errors.Join(&NotHeldError{Consumer: consumer, IDs: notHeld}, err)
		}
		return err
	})
}

// settle settles in portions that are small enough for every engine to name what
// was not held: side by side, so that they share a round trip, but for messages
// that come again, which keep their order.
func (b *Bus) settle(ctx context.Context, topic, subscription, consumer string, list []driver.Settlement) ([]string, error) {
	portions := slices.Collect(slices.Chunk(list, driver.ExactSettlements))
	notHeld := make([][]string, len(portions))
	errs := make([]error, len(portions))
	comeAgain := slices.ContainsFunc(list, func(s driver.Settlement) bool {
		return s.Do == driver.Retry || s.Do == driver.Release
	})
	var all sync.WaitGroup
	for i, portion := range portions {
		settle := func() {
			notHeld[i], errs[i] = b.engine.Settle(ctx, topic, subscription, consumer, portion)
			if errs[i] == nil {
				b.stats.count(portion, notHeld[i])
			}
		}
		if comeAgain {
			settle()
		} else {
			all.Go(settle)
		}
	}
	all.Wait()
	err := errors.Join(errs...)
	if err != nil && slices.Contains(errs, nil) {
		err = fmt.Errorf("%w: some are settled: %v", ErrUncertain, err)
	}
	return slices.Concat(notHeld...), err
}

// Leave forgets a consumer that holds nothing, so that it is not shown any more.
// One that is not known is no error.
func (b *Bus) Leave(ctx context.Context, topic, subscription, consumer string) error {
	return b.do("leave", at{topic, subscription}, func() error {
		if err := CheckName(consumer); err != nil {
			return fmt.Errorf("consumer: %w", err)
		}
		err := b.engine.Leave(ctx, topic, subscription, consumer)
		if errors.Is(err, ErrSubscriptionNotFound) || errors.Is(err, ErrTopicNotFound) {
			return nil
		}
		return err
	})
}

// Watch asks for hints that a topic or one of its subscriptions may have
// changed: the channel has room for one. stop must be called; Close waits for
// it. It is for serving others; Follow and Subscribe wait by themselves.
func (b *Bus) Watch(topic string) (hints <-chan struct{}, stop func(), err error) {
	if err := CheckName(topic); err != nil {
		return nil, nil, wrap("watch", at{topic}, err)
	}
	end, err := b.beginLasting()
	if err != nil {
		return nil, nil, wrap("watch", at{topic}, err)
	}
	hints, unwatch := b.engine.Watch(topic)
	return hints, sync.OnceFunc(func() { unwatch(); end() }), nil
}
