package beck

import (
	"context"
	"errors"

	"github.com/beckmq/beck/internal/driver"
)

const (
	// settleBatch is the most settlements sent at once.
	settleBatch = 1000
	// settleReasons is how many bytes of reasons are sent at once, about: a server
	// takes a MiB, in which each of them may need six.
	settleReasons = 100 << 10
)

// settleLoop sends outcomes: all that gathered while the last ones were under
// way go together. It returns when everything is sent after drained, or ctx
// ends.
func (c *consumer) settleLoop(ctx, handlers context.Context, drained <-chan struct{}) {
	var trouble retrying
	for ending := false; ; {
		select {
		case <-c.decided:
		case <-drained:
			ending, drained = true, nil
		case <-ctx.Done():
			return
		}
		for {
			batch := c.takeOutcomes()
			if len(batch) == 0 {
				break
			}
			if !c.send(ctx, batch, handlers, &trouble) {
				return
			}
		}
		if ending {
			return
		}
	}
}

func (c *consumer) takeOutcomes() []outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for bytes := 0; n < min(len(c.outcomes), settleBatch) && bytes < settleReasons; n++ {
		bytes += len(c.outcomes[n].Reason)
	}
	batch := c.outcomes[:n:n]
	if c.outcomes = c.outcomes[n:]; len(c.outcomes) == 0 {
		c.outcomes = nil
	}
	return batch
}

// send settles one batch, as often as it takes, and reports whether to go on.
func (c *consumer) send(ctx context.Context, batch []outcome, handlers context.Context, trouble *retrying) bool {
	what := "settling " + c.topic + " as " + c.name
	settlements := make([]driver.Settlement, len(batch))
	for i := range batch {
		settlements[i] = batch[i].Settlement
	}
	for call := 1; ; call++ {
		c.beginCall(batch, call)
		notHeld, err := c.bus.engine.Settle(ctx, c.topic, c.name, c.options.Consumer, settlements)
		switch {
		case err == nil:
			if len(notHeld) > 0 && call == 1 {
				c.log.Debug("beck: settled too late", "messages", len(notHeld), "first", notHeld[0])
			}
			trouble.over(c.log, what)
			c.bus.stats.count(settlements, notHeld)
			c.settled(batch, handlers)
			return true
		case transient(err):
			// Settling twice does no harm.
			c.endCall(batch)
			if trouble.wait(ctx, c.log, what, err) != nil {
				return false
			}
		default:
			if ctx.Err() != nil {
				return false
			}
			// The fetch loop will find out the same and end; or these
			// deliveries come again when their leases end.
			if !errors.Is(err, ErrSubscriptionNotFound) {
				c.log.Error("beck: "+what, "error", err)
			}
			c.settled(batch, handlers)
			return true
		}
	}
}

func (c *consumer) beginCall(batch []outcome, call int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sending = call
	for i := range batch {
		batch[i].of.sent = call
	}
}

// endCall ends a call that failed. What was delivered again meanwhile is settled
// by the next call, and comes once more after that.
func (c *consumer) endCall(batch []outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sending = 0
	for i := range batch {
		if d := batch[i].of; d.again != nil {
			c.notHeard(d, d.again)
			d.again = nil
		}
	}
}

// settled makes room for others, and has handled what the engine delivered again
// before it had answered.
func (c *consumer) settled(batch []outcome, handlers context.Context) {
	c.mu.Lock()
	c.sending = 0
	for i := range batch {
		id, d := batch[i].ID, batch[i].of
		if c.held[id] != d {
			continue // its lease was lost, and it was delivered anew
		}
		delete(c.held, id)
		if again := d.again; again != nil {
			c.held[id] = again
			if c.stopping {
				c.decide(again, driver.Settlement{ID: id, Do: driver.Release})
			} else {
				c.schedule.add(again)
			}
		}
	}
	if !c.stopping {
		c.employ(handlers)
	}
	c.mu.Unlock()
	signal(c.freed)
}
