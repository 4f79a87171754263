package model

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// Fetch implements driver.Subscriber.
func (e *Engine) Fetch(ctx context.Context, name, subscriptionName string, req driver.FetchRequest) (driver.Fetched, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, s, err := e.find(ctx, name, subscriptionName)
	if err != nil {
		return driver.Fetched{}, err
	}
	now := e.now()
	s.fetched, s.consumers[req.Consumer] = now, now
	f := driver.Fetched{Lease: s.lease, Lost: s.lost - s.told}
	s.told = s.lost
	if s.paused {
		return f, nil
	}
	ready := s.ready(t, req, now)
	f.More = len(ready) > req.Max
	for _, m := range ready[:min(req.Max, len(ready))] {
		f.Messages = append(f.Messages, s.deliver(m, req.Consumer, now))
	}
	f.Next = s.next(now)
	return f, nil
}

// deliver leases a message that is ready.
func (s *subscription) deliver(m driver.Message, consumer string, now time.Time) driver.Message {
	m.Attempt++
	s.delivered = max(s.delivered, m.ID)
	var reason string
	for _, open := range []map[string]*delivery{s.pending, s.waiting} {
		if d, ok := open[m.ID]; ok {
			reason = d.reason
		}
	}
	delete(s.waiting, m.ID)
	s.pending[m.ID] = &delivery{message: m, consumer: consumer, since: now, until: now.Add(s.lease), reason: reason}
	return m
}

// ready lists what a fetch may be given, in the order in which it is given: what
// the consumer holds if it recovers, retries that are due, leases that have
// ended, and what was never delivered.
func (s *subscription) ready(t *topic, req driver.FetchRequest, now time.Time) []driver.Message {
	if s.paused {
		return nil
	}
	var held, due, over []driver.Message
	for _, d := range s.pending {
		switch {
		case req.Recover && d.consumer == req.Consumer:
			held = append(held, d.message)
		case !d.until.After(now):
			over = append(over, d.message)
		}
	}
	for _, d := range s.waiting {
		if !d.until.After(now) {
			due = append(due, d.message)
		}
	}
	return slices.Concat(sorted(held), sorted(due), sorted(over), s.fresh(t))
}

// fresh lists what was never delivered.
func (s *subscription) fresh(t *topic) []driver.Message {
	return t.messages[t.firstAfter(s.delivered):]
}

func sorted(messages []driver.Message) []driver.Message {
	slices.SortFunc(messages, func(a, b driver.Message) int { return cmp.Compare(a.ID, b.ID) })
	return messages
}

// next returns the time to the next end of a lease or delay, 0 if there is none.
func (s *subscription) next(now time.Time) (next time.Duration) {
	for _, open := range []map[string]*delivery{s.pending, s.waiting} {
		for _, d := range open {
			left := max(d.until.Sub(now), time.Millisecond)
			if next == 0 || left < next {
				next = left
			}
		}
	}
	return next
}

// needs returns the index of the first message that the subscription has yet to
// be delivered or holds in a lease.
func (s *subscription) needs(t *topic) int {
	first := t.firstAfter(s.delivered)
	for id := range s.pending {
		first = min(first, t.index(driver.Position{Kind: driver.AtID, ID: id}))
	}
	return first
}

// Settle implements driver.Subscriber.
func (e *Engine) Settle(ctx context.Context, name, subscriptionName, consumer string, settlements []driver.Settlement) ([]string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, s, err := e.find(ctx, name, subscriptionName)
	if err != nil {
		return nil, err
	}
	now := e.now()
	s.consumers[consumer] = now
	var notHeld []string
	for _, c := range settlements {
		d, ok := s.pending[c.ID]
		if !ok || c.Do != driver.Acknowledge && d.consumer != consumer {
			notHeld = append(notHeld, c.ID)
			continue
		}
		s.settle(d, c, now)
		if gone := c.Do == driver.Acknowledge || c.Do == driver.DeadLetter; gone && t.queue {
			t.remove(c.ID)
		}
	}
	e.hint(name)
	return notHeld, nil
}

// settle does one thing to a message that is held.
func (s *subscription) settle(d *delivery, c driver.Settlement, now time.Time) {
	if c.Do == driver.Renew {
		d.until = now.Add(s.lease)
		return
	}
	delete(s.pending, c.ID)
	d.since = now
	switch c.Do {
	case driver.Retry:
		d.until, d.reason = now.Add(c.After), c.Reason
		s.wait(d)
	case driver.Release:
		d.until = now
		d.message.Attempt--
		s.wait(d)
	case driver.DeadLetter:
		s.bury(c.ID)
		d.until, d.reason = time.Time{}, c.Reason
		s.dead = append(s.dead, d)
	}
}

func (s *subscription) wait(d *delivery) {
	s.waiting[d.message.ID] = d
	s.places[d.message.ID] = d.until
}

// bury takes a dead letter away, and returns it if it was there.
func (s *subscription) bury(id string) (d *delivery, found bool) {
	i := slices.IndexFunc(s.dead, func(d *delivery) bool { return d.message.ID == id })
	if i < 0 {
		return nil, false
	}
	d = s.dead[i]
	s.dead = slices.Delete(slices.Clone(s.dead), i, i+1)
	return d, true
}
