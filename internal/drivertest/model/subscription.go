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
	expires   time.Duration
	fetched   time.Time // when it was last read, or made
	paused    bool
	delivered string // the newest id delivered, or where the subscription began
	pending   map[string]*delivery
	waiting   map[string]*delivery
	dead      []*delivery          // as they died
	places    map[string]time.Time // of all that ever waited: when it was due
	lost      int64
	told      int64                // of those lost
	consumers map[string]time.Time // when each was last heard of
}

// delivery is a message on its way: leased to a consumer, waiting for a retry, or
// dead.
type delivery struct {
	message  driver.Message
	consumer string
	since    time.Time
	until    time.Time // the end of the lease, or of the delay
	reason   string
}

// Join implements driver.Subscriber.
func (e *Engine) Join(ctx context.Context, name, subscriptionName string, config driver.JoinConfig) (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.enter(ctx); err != nil {
		return false, err
	}
	t, ok := e.topics[name]
	if ok {
		if err := t.checkKind(subscriptionName, config.Queue); err != nil {
			return false, fmt.Errorf("%s: %w", name, err)
		}
		if s, ok := t.subscriptions[subscriptionName]; ok {
			s.lease = cmp.Or(config.Lease, s.lease)
			s.expires = cmp.Or(config.Expires, s.expires)
			t.queue = t.queue || config.Queue
			return true, nil
		}
	} else {
		t = &topic{} // to look at; it isn't made if the position is wrong
	}
	if err := t.checkBeginning(config.From); err != nil {
		return false, fmt.Errorf("%s: %w", name, err)
	}
	t = e.make(name)
	t.queue = t.queue || config.Queue
	t.subscriptions[subscriptionName] = &subscription{
		lease: cmp.Or(config.Lease, driver.DefaultLease), expires: config.Expires, fetched: e.now(),
		delivered: t.behind(config.From), pending: map[string]*delivery{}, waiting: map[string]*delivery{},
		places: map[string]time.Time{}, consumers: map[string]time.Time{},
	}
	e.hint(name)
	return false, nil
}

// checkKind keeps queues and topics apart.
func (t *topic) checkKind(subscriptionName string, queue bool) error {
	for other := range t.subscriptions {
		if other != subscriptionName && (queue || t.queue) {
			return fmt.Errorf("%w: a queue has no subscription but %s", driver.ErrWrongType, driver.QueueSubscription)
		}
	}
	return nil
}

// checkBeginning says whether a subscription may begin behind a position.
func (t *topic) checkBeginning(p driver.Position) error {
	if err := checkPosition(p); err != nil {
		return err
	}
	if p.Kind == driver.AtID && p.ID > t.last {
		return fmt.Errorf("%w: %s lies ahead of the topic", driver.ErrPosition, p.ID)
	}
	return nil
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

// findTopic returns a topic that must exist. e.mu is held.
func (e *Engine) findTopic(name string) (*topic, error) {
	t, ok := e.topics[name]
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, driver.ErrTopicNotFound)
	}
	return t, nil
}

// find returns a subscription. e.mu is held.
func (e *Engine) find(ctx context.Context, name, subscriptionName string) (*topic, *subscription, error) {
	if err := e.enter(ctx); err != nil {
		return nil, nil, err
	}
	if t, ok := e.topics[name]; ok {
		if s, ok := t.subscriptions[subscriptionName]; ok {
			return t, s, nil
		}
	}
	return nil, nil, fmt.Errorf("%s of %s: %w", subscriptionName, name, driver.ErrSubscriptionNotFound)
}

// expire removes subscriptions that nobody has read for too long.
func (t *topic) expire(now time.Time) (gone bool) {
	for name, s := range t.subscriptions {
		if s.expires > 0 && now.Sub(s.fetched) > s.expires {
			t.forget(name)
			gone = true
		}
	}
	return gone
}

// forget removes a subscription. What was a queue is a topic again.
func (t *topic) forget(name string) {
	delete(t.subscriptions, name)
	t.queue = false
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
		Lost: s.lost, Paused: s.paused, Expires: s.expires, Unread: now.Sub(s.fetched),
	}
	for _, c := range slices.Sorted(maps.Keys(s.consumers)) {
		info.Consumers = append(info.Consumers, driver.ConsumerInfo{
			Name: c, Pending: s.held(c), Idle: now.Sub(s.consumers[c]),
		})
	}
	return info
}
