package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/beckmq/beck"
)

const (
	// fetchFirst is how many messages are leased at a time: enough to be fast,
	// few enough to leave some to others. Of small ones it takes more.
	fetchFirst = 250
	// fetchBytes is about how large the bodies are for which it takes more.
	fetchBytes = 1 << 20
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
	// most is how many messages to lease at a time.
	most int
	// lost says that the connection failed, so that messages may have been
	// leased without being received.
	lost atomic.Bool
	// held are the messages that commands handle. It may be nil.
	held *held
}

// consume reads through the subscription f.as.
func (p *program) consume(ctx context.Context, bus *beck.Bus, to *printer, topic string, f *subFlags) error {
	existed, err := bus.Join(ctx, topic, f.as, &beck.JoinOptions{From: beck.Position(f.from), Lease: f.lease, Expires: f.expires})
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
	c := p.newConsumer(bus, to, topic, f.as, f.noWait)
	return firstError(c.run(ctx), c.leave(ctx))
}

func (p *program) newConsumer(bus *beck.Bus, to *printer, topic, as string, noWait bool) *consumer {
	return &consumer{bus: bus, to: to, topic: topic, as: as, name: consumerName(), note: p.note, noWait: noWait, most: fetchFirst}
}

// leave takes this reader off the list. What can't be reached will forget it by
// itself.
func (c *consumer) leave(ctx context.Context) error {
	leaving, cancel := outlive(ctx, settleGrace)
	defer cancel()
	if err := c.bus.Leave(leaving, c.topic, c.as, c.name); !errors.Is(err, beck.ErrUnavailable) {
		return err
	}
	return nil
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
	var next *ahead
	for !c.to.enough() {
		got, err := c.fetch(ctx, next)
		if err != nil {
			return err
		}
		next = nil
		if len(got.Messages) > 0 {
			if next, err = c.printAndAcknowledge(ctx, got); err != nil {
				return err
			}
		} else if c.noWait && !got.More {
			return nil
		}
	}
	return nil
}

func (c *consumer) fetchOptions() beck.FetchOptions {
	o := beck.FetchOptions{Consumer: c.name, Max: c.to.want(c.most)}
	if !c.noWait {
		o.Wait = fetchWait
	}
	return o
}

// fetch leases messages, however often the connection fails meanwhile. If they
// are being fetched ahead, it waits for those.
func (c *consumer) fetch(ctx context.Context, next *ahead) (got leased, err error) {
	o := c.fetchOptions()
	err = c.persist(ctx, func() (err error) {
		if next != nil {
			got, err = next.wait()
			next = nil
			return err
		}
		// A fetch that failed may have leased messages all the same.
		o.Recover = o.Recover || c.lost.Load()
		got, err = c.fetchOnce(ctx, o)
		return err
	})
	c.lost.Store(false)
	if err != nil && ctx.Err() != nil {
		c.giveBack(ctx)
	}
	return got, err
}

// fetchSurely is fetch for o, which doesn't wait, while messages may be held.
func (c *consumer) fetchSurely(ctx context.Context, o beck.FetchOptions) (got leased, err error) {
	err = c.persist(ctx, func() (err error) {
		asking := o
		if c.lost.Load() {
			asking.Recover, asking.Max = true, min(o.Max+c.held.len(), beck.MaxFetch)
		}
		got, err = c.fetchOnce(ctx, asking)
		return err
	})
	c.lost.Store(false)
	if err != nil {
		if ctx.Err() != nil {
			c.giveBack(ctx)
		}
		return got, err
	}
	got.Messages = c.held.others(got.Messages)
	if len(got.Messages) > o.Max {
		c.release(ctx, got.Messages[o.Max:])
		got.Messages = got.Messages[:o.Max]
	}
	return got, nil
}

// giveBack releases what a fetch may have leased that ctrl-C cut off. It does
// its best: what it can't reach, others get when the lease ends.
func (c *consumer) giveBack(ctx context.Context) {
	ending, cancel := outlive(ctx, settleGrace)
	defer cancel()
	got, err := c.bus.Fetch(ending, c.topic, c.as, &beck.FetchOptions{Consumer: c.name, Max: beck.MaxFetch, Recover: true})
	if err != nil {
		return
	}
	if unknown := c.held.others(got.Messages); len(unknown) > 0 {
		c.release(ending, unknown)
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
// written, while it fetches the next ones. What could not be written is released
// for others.
func (c *consumer) printAndAcknowledge(ctx context.Context, got leased) (next *ahead, err error) {
	stop := c.keepLeased(ctx, got)
	err = c.to.print(ctx, nil, got.Messages)
	stop()
	if err != nil {
		ending, cancel := outlive(ctx, settleGrace)
		defer cancel()
		c.release(ending, got.Messages)
		return nil, err
	}
	c.most = fitting(got.Messages)
	next = c.fetchAhead(ctx, got.Lease)
	if err := c.acknowledge(ctx, got.Messages); err != nil {
		c.drop(ctx, next)
		return nil, err
	}
	return next, nil
}

// fitting is how many messages of the size of these to lease at a time.
func fitting(messages []*beck.Message) int {
	size := len(messages) // at least a byte each
	for _, m := range messages {
		size += len(m.Body)
	}
	return min(max(fetchBytes/(size/len(messages)), fetchFirst), beck.MaxFetch)
}

// acknowledge acknowledges messages that are written.
func (c *consumer) acknowledge(ctx context.Context, messages []*beck.Message) error {
	ending, cancel := outlive(ctx, settleGrace)
	defer cancel()
	tries := 0
	err := c.persist(ending, func() error {
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

// persist repeats what fails because the connection does.
func (c *consumer) persist(ctx context.Context, try func() error) error {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := try()
		if !errors.Is(err, beck.ErrUnavailable) && !errors.Is(err, beck.ErrUncertain) {
			if err == nil && pause > firstPause && c.lost.Load() {
				c.note("connected again")
			}
			return err
		}
		if !c.lost.Swap(true) {
			c.note("%s; trying again", oneLine(err))
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
