package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/beckmq/beck"
)

const (
	// fetchMost is how many messages are leased at a time: enough to be fast,
	// few enough to leave some to others.
	fetchMost = 250
	// fetchWait is how long one fetch waits for the first message.
	fetchWait = 20 * time.Second
	// settleGrace is how long settling may go on after ctrl-C.
	settleGrace = 5 * time.Second
)

// consumer prints the messages of a subscription and acknowledges them.
type consumer struct {
	bus             *beck.Bus
	to              *printer
	topic, as, name string
	note            func(format string, args ...any)
	noWait          bool
	// lost says that the connection failed, so that messages may have been
	// leased without being received.
	lost bool
}

// consume reads through the subscription f.as.
func (p *program) consume(ctx context.Context, bus *beck.Bus, to *printer, topic string, f *subFlags) error {
	existed, err := bus.Join(ctx, topic, f.as, &beck.JoinOptions{From: beck.Position(f.from), Lease: f.lease})
	switch {
	case err != nil:
		return err
	case !existed:
		p.note("subscription %s is new; it begins at %s", f.as, cmp.Or(f.from, string(beck.FromStart)))
	case f.from != "":
		p.note("subscription %s was there already and goes on where it is; --from is for a new one", f.as)
	default:
		p.note("subscription %s was there already; it goes on where it is", f.as)
	}
	c := &consumer{bus: bus, to: to, topic: topic, as: f.as, name: consumerName(), note: p.note, noWait: f.noWait}
	err = c.run(ctx)
	leaving, cancel := outlive(ctx, settleGrace)
	defer cancel()
	if left := bus.Leave(leaving, topic, f.as, c.name); err == nil && !errors.Is(left, beck.ErrUnavailable) {
		err = left
	}
	return err
}

// consumerName names this process among the consumers of a subscription.
func consumerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	host = strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-') {
			return r
		}
		return -1
	}, host)
	host = strings.TrimLeft(host[:min(len(host), 64)], ".-")
	return fmt.Sprintf("%s-%d-%04x", cmp.Or(host, "beck"), os.Getpid(), rand.N(1<<16))
}

func (c *consumer) run(ctx context.Context) error {
	for !c.to.enough() {
		got, err := c.fetch(ctx)
		if err != nil {
			return err
		}
		if len(got.Messages) > 0 {
			if err := c.printAndAcknowledge(ctx, got.Messages, got.Lease); err != nil {
				return err
			}
		} else if c.noWait && !got.More {
			return nil
		}
	}
	return nil
}

// fetch leases messages, however often the connection fails meanwhile.
func (c *consumer) fetch(ctx context.Context) (*beck.Fetched, error) {
	o := beck.FetchOptions{Consumer: c.name, Max: c.to.want(fetchMost), Recover: c.lost}
	if !c.noWait {
		o.Wait = fetchWait
	}
	var got *beck.Fetched
	err := c.persist(ctx, func() (err error) {
		// A fetch that failed may have leased messages all the same.
		o.Recover = o.Recover || c.lost
		got, err = c.bus.Fetch(ctx, c.topic, c.as, &o)
		return err
	})
	c.lost = false
	if err != nil && ctx.Err() != nil {
		c.giveBack(ctx)
	}
	return got, err
}

// giveBack releases what a fetch may have leased that ctrl-C cut off. It does
// its best: what it can't reach, others get when the lease ends.
func (c *consumer) giveBack(ctx context.Context) {
	ending, cancel := outlive(ctx, settleGrace)
	defer cancel()
	got, err := c.bus.Fetch(ending, c.topic, c.as, &beck.FetchOptions{Consumer: c.name, Max: fetchMost, Recover: true})
	if err == nil && len(got.Messages) > 0 {
		c.release(ending, got.Messages)
	}
}

// release gives messages back that were not printed.
func (c *consumer) release(ctx context.Context, messages []*beck.Message) {
	err := c.settle(ctx, messages, beck.Release)
	if err != nil && !errors.Is(err, beck.ErrNotHeld) {
		c.note("%s; what was not printed is delivered again when its lease ends", oneLine(err))
	}
}

// printAndAcknowledge prints messages and acknowledges them once they are
// written. What could not be written is released for others.
func (c *consumer) printAndAcknowledge(ctx context.Context, messages []*beck.Message, lease time.Duration) error {
	stop := c.keepLeased(ctx, messages, lease)
	err := c.to.print(ctx, nil, messages)
	stop()
	if err != nil {
		ending, cancel := outlive(ctx, settleGrace)
		defer cancel()
		c.release(ending, messages)
		return err
	}

	ending, cancel := outlive(ctx, settleGrace)
	defer cancel()
	tries := 0
	err = c.persist(ending, func() error {
		tries++
		return c.settle(ending, messages, beck.Ack)
	})
	if held, ok := errors.AsType[*beck.NotHeldError](err); ok {
		// Where the answer of an earlier try was lost, that try may have
		// acknowledged them.
		if tries == 1 {
			c.note("%d of the messages printed had gone to another reader as well: their lease had ended", len(held.IDs))
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w (what was printed last is not acknowledged, and is delivered again)", err)
	}
	return nil
}

func (c *consumer) settle(ctx context.Context, messages []*beck.Message, do func(id string) beck.Settlement) error {
	settlements := make([]beck.Settlement, len(messages))
	for i, m := range messages {
		settlements[i] = do(m.ID)
	}
	return c.bus.Settle(ctx, c.topic, c.as, c.name, settlements...)
}

// keepLeased renews leases while messages are being written, which lasts as
// long as the reader of standard output likes.
func (c *consumer) keepLeased(ctx context.Context, messages []*beck.Message, lease time.Duration) (stop func()) {
	if lease <= 0 {
		return func() {}
	}
	renewing, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(lease / 3)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if err := c.settle(renewing, messages, beck.Renew); err != nil && renewing.Err() == nil {
					c.note("%s", oneLine(err))
				}
			case <-renewing.Done():
				return
			}
		}
	}()
	return func() { cancel(); <-done }
}

// persist repeats what fails because the connection does.
func (c *consumer) persist(ctx context.Context, try func() error) error {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := try()
		if !errors.Is(err, beck.ErrUnavailable) && !errors.Is(err, beck.ErrUncertain) {
			if c.lost && err == nil && pause > firstPause {
				c.note("connected again")
			}
			return err
		}
		if !c.lost {
			c.note("%s; trying again", oneLine(err))
			c.lost = true
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
