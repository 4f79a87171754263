package beck

import (
	"context"
	"slices"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// renewLoop renews leases when a third of their time has passed. It looks twice
// as often, so that two attempts can fail before a lease is lost.
func (c *consumer) renewLoop(ctx context.Context) {
	for {
		c.mu.Lock()
		lease := c.lease
		c.mu.Unlock()
		select {
		case <-time.After(lease / 6):
		case <-c.leased:
			continue
		case <-ctx.Done():
			return
		}
		for due := range slices.Chunk(c.due(time.Now().Add(-lease/3)), settleBatch) {
			c.renew(ctx, due, lease)
		}
		c.giveBack(time.Now().Add(-max(lease/3, giveBackAfter)))
	}
}

// giveBackAfter is how long messages wait for a handler, at least, before they
// are given to other consumers.
const giveBackAfter = time.Second

// due returns the deliveries whose leases began before a time and are needed.
func (c *consumer) due(before time.Time) []*delivery {
	c.mu.Lock()
	defer c.mu.Unlock()
	var due []*delivery
	for _, d := range c.held {
		if d.decided == 0 && d.leased.Before(before) {
			due = append(due, d)
		}
	}
	return due
}

// minRenewTime is how long a renewal may take, however short the lease is.
const minRenewTime = 50 * time.Millisecond

func (c *consumer) renew(ctx context.Context, due []*delivery, lease time.Duration) {
	renewals := make([]driver.Settlement, len(due))
	for i, d := range due {
		renewals[i] = driver.Settlement{ID: d.message.ID, Do: driver.Renew}
	}
	asked := time.Now()
	bounded, cancel := context.WithTimeout(ctx, max(lease/6, minRenewTime))
	defer cancel()
	notHeld, err := c.bus.engine.Settle(bounded, c.topic, c.name, c.options.Consumer, renewals)
	if err != nil {
		c.log.Debug("beck: renewing leases", "error", err)
	}
	gone := make(map[string]bool, len(notHeld))
	for _, id := range notHeld {
		gone[id] = true
	}
	if lost := c.renewed(due, gone, asked, lease, err); lost > 0 {
		c.log.Warn("beck: leases lost: another consumer may handle these messages as well", "messages", lost)
	}
}

// renewed takes in the answer to a renewal. What was decided meanwhile, or
// delivered anew, it doesn't concern.
func (c *consumer) renewed(due []*delivery, gone map[string]bool, asked time.Time, lease time.Duration, err error) (lost int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range due {
		id := d.message.ID
		switch {
		case d.decided != 0 || c.held[id] != d:
		case err == nil && !gone[id]:
			d.leased = asked
		case err == nil || time.Since(d.leased) >= lease:
			c.lose(d)
			lost++
		}
	}
	return lost
}

// lose gives up a delivery that another consumer may have.
func (c *consumer) lose(d *delivery) {
	d.lost = true
	if d.cancel != nil {
		d.cancel(ErrNotHeld)
	}
	delete(c.held, d.message.ID)
	signal(c.freed)
}

// giveBack releases messages that have waited for a handler since before a time,
// because handlers have become slow: other consumers may have nothing to do. It
// keeps enough to go on with.
func (c *consumer) giveBack(before time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	oldest := c.schedule.oldest()
	if c.stopping || c.window.fixed() || oldest == nil || !oldest.since.Before(before) {
		return
	}
	keep := c.options.Concurrency * c.work.size()
	if c.turn != nil {
		keep = 0 // other queues go first here, for how long nobody knows
	}
	back := c.schedule.giveBack(keep)
	for _, d := range back {
		if !d.lost {
			c.decide(d, driver.Settlement{ID: d.message.ID, Do: driver.Release})
		}
	}
	if len(back) > 0 {
		c.window.shrink()
	}
}
