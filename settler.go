package beck

import (
	"context"
	"errors"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// settleBatch is the most settlements sent at once.
const settleBatch = 1000

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
	n := min(len(c.outcomes), settleBatch)
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
			if len(notHeld) > 0 && trouble.attempt == 0 {
				c.log.Debug("beck: settled too late", "messages", len(notHeld), "first", notHeld[0])
			}
			trouble.over(c.log, what)
			c.bus.stats.count(settlements, len(notHeld))
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
		batch[i].of.again = nil
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

// renewLoop renews leases when a third of their time has passed, so that two
// attempts can fail.
func (c *consumer) renewLoop(ctx context.Context) {
	for {
		c.mu.Lock()
		lease := c.lease
		c.mu.Unlock()
		select {
		case <-time.After(lease / 3):
		case <-c.leased:
			continue
		case <-ctx.Done():
			return
		}
		due := c.due(time.Now().Add(-lease / 4))
		for len(due) > 0 {
			n := min(len(due), settleBatch)
			c.renew(ctx, due[:n], lease)
			due = due[n:]
		}
	}
}

// due returns renewals for the leases that began before a time.
func (c *consumer) due(before time.Time) []driver.Settlement {
	c.mu.Lock()
	defer c.mu.Unlock()
	var due []driver.Settlement
	for id, d := range c.held {
		if d.decided == 0 && !d.lost && d.leased.Before(before) {
			due = append(due, driver.Settlement{ID: id, Do: driver.Renew})
		}
	}
	return due
}

func (c *consumer) renew(ctx context.Context, due []driver.Settlement, lease time.Duration) {
	asked := time.Now()
	bounded, cancel := context.WithTimeout(ctx, max(lease/3, time.Second))
	defer cancel()
	notHeld, err := c.bus.engine.Settle(bounded, c.topic, c.name, c.options.Consumer, due)
	if err != nil {
		c.log.Debug("beck: renewing leases", "error", err)
	}
	gone := make(map[string]bool, len(notHeld))
	for _, id := range notHeld {
		gone[id] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range due {
		d := c.held[due[i].ID]
		switch {
		case d == nil || d.decided != 0 || d.lost:
		case err == nil && !gone[due[i].ID]:
			d.leased = asked
		case err == nil || time.Since(d.leased) >= lease:
			c.lose(d)
		}
	}
}

// lose gives up a delivery that another consumer may have.
func (c *consumer) lose(d *delivery) {
	c.log.Warn("beck: lease lost; another consumer may handle this message as well", "id", d.message.ID, "attempt", d.message.Attempt)
	d.lost = true
	if d.cancel != nil {
		d.cancel(ErrNotHeld)
	}
	delete(c.held, d.message.ID)
	signal(c.freed)
}
