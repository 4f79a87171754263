package model

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// subscription is a position and what was delivered but not ended.
type subscription struct {
	lease     time.Duration
	delivered string // the newest id delivered, or where the subscription began
	pending   map[string]*delivery
	waiting   map[string]*delivery
	dead      []driver.Message
	consumers map[string]time.Time // when each was last heard of
}

// delivery is a message on its way: leased to a consumer, or waiting for a retry.
type delivery struct {
	message  driver.Message
	consumer string
	until    time.Time // the end of the lease, or of the delay
}

// Join implements driver.Subscriber.
func (e *Engine) Join(ctx context.Context, name, subscriptionName string, config driver.JoinConfig) (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.ended(ctx); err != nil {
		return false, err
	}
	if t, ok := e.topics[name]; ok {
		if s, ok := t.subscriptions[subscriptionName]; ok {
			s.lease = cmp.Or(config.Lease, s.lease)
			return true, nil
		}
	}
	if err := checkPosition(config.From); err != nil {
		return false, err
	}
	last := ""
	if t, ok := e.topics[name]; ok {
		last = t.last
	}
	if config.From.Kind == driver.AtID && config.From.ID > last {
		return false, fmt.Errorf("%w: %s lies ahead of %s", driver.ErrPosition, config.From.ID, name)
	}
	t := e.make(name)
	t.subscriptions[subscriptionName] = &subscription{
		lease: cmp.Or(config.Lease, driver.DefaultLease), delivered: t.behind(config.From),
		pending: map[string]*delivery{}, waiting: map[string]*delivery{}, consumers: map[string]time.Time{},
	}
	e.hint(name)
	return false, nil
}

// behind returns the id behind which a subscription begins.
func (t *topic) behind(p driver.Position) string {
	switch p.Kind {
	case driver.End:
		return t.last
	case driver.AtID:
		return p.ID
	case driver.AtTime:
		if i := t.index(p); i > 0 {
			return t.messages[i-1].ID
		}
	}
	return ""
}

// find returns a subscription. e.mu is held.
func (e *Engine) find(ctx context.Context, name, subscriptionName string) (*topic, *subscription, error) {
	if err := e.ended(ctx); err != nil {
		return nil, nil, err
	}
	if t, ok := e.topics[name]; ok {
		if s, ok := t.subscriptions[subscriptionName]; ok {
			return t, s, nil
		}
	}
	return nil, nil, fmt.Errorf("%s of %s: %w", subscriptionName, name, driver.ErrSubscriptionNotFound)
}

// Fetch implements driver.Subscriber.
func (e *Engine) Fetch(ctx context.Context, name, subscriptionName string, req driver.FetchRequest) (driver.Fetched, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, s, err := e.find(ctx, name, subscriptionName)
	if err != nil {
		return driver.Fetched{}, err
	}
	now := e.now()
	s.consumers[req.Consumer] = now
	ready := s.ready(t, req, now)
	f := driver.Fetched{More: len(ready) > req.Max, Lease: s.lease}
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
	delete(s.waiting, m.ID)
	s.pending[m.ID] = &delivery{message: m, consumer: consumer, until: now.Add(s.lease)}
	return m
}

// ready lists what a fetch may be given, in the order in which it is given: what
// the consumer holds if it recovers, retries that are due, leases that have
// ended, and what was never delivered.
func (s *subscription) ready(t *topic, req driver.FetchRequest, now time.Time) []driver.Message {
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
	fresh := t.messages[t.firstAfter(s.delivered):]
	return slices.Concat(sorted(held), sorted(due), sorted(over), fresh)
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

// firstAfter returns the index of the first message behind an id.
func (t *topic) firstAfter(id string) int {
	i := t.index(driver.Position{Kind: driver.AtID, ID: id})
	if i < len(t.messages) && t.messages[i].ID == id {
		i++
	}
	return i
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
	_, s, err := e.find(ctx, name, subscriptionName)
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
		if c.Do == driver.Renew {
			d.until = now.Add(s.lease)
			continue
		}
		delete(s.pending, c.ID)
		switch c.Do {
		case driver.Retry:
			d.until = now.Add(c.After)
			s.waiting[c.ID] = d
		case driver.Release:
			d.until = now
			d.message.Attempt--
			s.waiting[c.ID] = d
		case driver.DeadLetter:
			s.dead = append(s.dead, d.message)
		}
	}
	e.hint(name)
	return notHeld, nil
}

// Leave implements driver.Subscriber.
func (e *Engine) Leave(ctx context.Context, name, subscriptionName, consumer string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, s, err := e.find(ctx, name, subscriptionName)
	if err != nil {
		return e.ended(ctx) // not known is no error
	}
	if s.held(consumer) == 0 {
		delete(s.consumers, consumer)
	}
	return nil
}

// held counts what a consumer holds.
func (s *subscription) held(consumer string) (n int64) {
	for _, d := range s.pending {
		if d.consumer == consumer {
			n++
		}
	}
	return n
}

func (s *subscription) info(name string, t *topic, now time.Time) driver.SubscriptionInfo {
	info := driver.SubscriptionInfo{
		Name: name, LastDelivered: s.delivered, Lease: s.lease,
		Lag:     int64(len(t.messages) - t.firstAfter(s.delivered)),
		Pending: int64(len(s.pending)), Waiting: int64(len(s.waiting)), Dead: int64(len(s.dead)),
	}
	for _, c := range slices.Sorted(maps.Keys(s.consumers)) {
		info.Consumers = append(info.Consumers, driver.ConsumerInfo{
			Name: c, Pending: s.held(c), Idle: now.Sub(s.consumers[c]),
		})
	}
	return info
}
