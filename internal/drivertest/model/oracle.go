package model

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// Ready lists what a fetch may be given right now: what the consumer holds, if
// it recovers; then retries due, leases ended, and messages never delivered.
func (e *Engine) Ready(name, subscription string, req driver.FetchRequest) ([]driver.Message, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, s, err := e.find(context.Background(), name, subscription)
	if err != nil {
		return nil, err
	}
	return s.ready(t, req, e.now()), nil
}

// Deliver does what a fetch by another engine did: it delivers the messages with
// these ids, or says why that was not allowed. Where the contract leaves an
// engine the choice, such as between a retry and a new message, any choice is
// allowed; but new messages come in topic order, without one left out.
func (e *Engine) Deliver(name, subscription string, req driver.FetchRequest, ids []string) ([]driver.Message, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, s, err := e.find(context.Background(), name, subscription)
	if err != nil {
		return nil, err
	}
	now := e.now()
	s.fetched, s.consumers[req.Consumer] = now, now
	s.told = s.lost
	ready := s.ready(t, req, now)
	var delivered []driver.Message
	for _, id := range ids {
		i := slices.IndexFunc(ready, func(m driver.Message) bool { return m.ID == id })
		if i < 0 {
			return nil, fmt.Errorf("%s may not be delivered now: it is leased, waits, is settled, or came twice in one answer", id)
		}
		if next := t.firstAfter(s.delivered); id > s.delivered && t.messages[next].ID != id {
			return nil, fmt.Errorf("%s was delivered, but %s, which comes before it, was not", id, t.messages[next].ID)
		}
		delivered = append(delivered, s.deliver(ready[i], req.Consumer, now))
		ready = slices.Delete(ready, i, i+1)
	}
	return delivered, nil
}

// Held lists the ids that a consumer holds, in order; with the empty name, those
// that anyone holds.
func (e *Engine) Held(name, subscription, consumer string) (ids []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, s, err := e.find(context.Background(), name, subscription)
	if err != nil {
		return nil
	}
	for id, d := range s.pending {
		if consumer == "" || d.consumer == consumer {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Trimmable says how many messages a Trim removes: at most, and at least if the
// engine keeps in the topic what waits for a retry or comes from one, as it may.
func (e *Engine) Trimmable(name string, before driver.Position) (least, most int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, ok := e.topics[name]
	if !ok {
		return 0, 0
	}
	n := t.index(before)
	kept := n
	for _, s := range t.subscriptions {
		fresh := t.firstAfter(s.delivered)
		n, kept = min(n, fresh), min(kept, fresh)
		for _, open := range []map[string]*delivery{s.pending, s.waiting} {
			for id := range open {
				i := t.index(driver.Position{Kind: driver.AtID, ID: id})
				kept = min(kept, i)
				if _, copied := s.places[id]; !copied {
					n = min(n, i)
				}
			}
		}
	}
	return int64(kept), int64(n)
}

// Discard removes n messages, if there are so many, from the front of a topic.
func (e *Engine) Discard(name string, n int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t, ok := e.topics[name]; ok {
		t.messages = slices.Clone(t.messages[min(int(n), len(t.messages)):])
	}
}

// EndsWithin reports whether a lease or a delay ends within d of now, so that
// another clock might see it on the other side.
func (e *Engine) EndsWithin(d time.Duration) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.now()
	for _, t := range e.topics {
		for _, s := range t.subscriptions {
			for _, open := range []map[string]*delivery{s.pending, s.waiting} {
				for _, o := range open {
					if o.until.Sub(now).Abs() < d {
						return true
					}
				}
			}
		}
	}
	return false
}

// Dead lists the dead letters of a subscription that don't come again anyhow.
func (e *Engine) Dead(name, subscription string) (ids []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, s, err := e.find(context.Background(), name, subscription)
	if err != nil {
		return nil
	}
	for _, d := range s.dead {
		if s.state(t, d.message.ID) == driver.Buried {
			ids = append(ids, d.message.ID)
		}
	}
	return ids
}

// Copied reports whether a subscription has a message that waits for a retry, or
// did. Whether such messages stay in a queue is the engine's affair.
func (e *Engine) Copied(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, ok := e.topics[name]
	if !ok {
		return false
	}
	for _, s := range t.subscriptions {
		for id := range s.places {
			_, held := s.pending[id]
			if _, waits := s.waiting[id]; held || waits {
				return true
			}
		}
	}
	return false
}
