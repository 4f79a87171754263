package onredis

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

const (
	// A process looks for ended leases every quarter of a lease, within these.
	minLook = 50 * time.Millisecond
	maxLook = 5 * time.Second

	// maxHeals is how often one call restores a subscription: it may be deleted
	// and made again by others all the while.
	maxHeals = 3

	listStart = "0-0" // of a list of pending messages
)

type subscriptionID struct{ topic, name string }

// subscription is what an engine remembers of one that it works with. All of it
// may be forgotten: the truth is in Redis.
type subscription struct {
	id   subscriptionID
	keys subscriptionKeys

	mu     sync.Mutex
	known  bool          // it is known to have existed
	lease  time.Duration // as last seen
	look   time.Time     // when to look for ended leases
	cursor string        // where that goes on in the list of pending messages
	due    bool          // retries that are due were left behind
}

func (e *engine) subscription(topic, name string) *subscription {
	id := subscriptionID{topic, name}
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.subscriptions[id]
	if s == nil {
		s = &subscription{
			id: id, keys: e.names.subscription(topic, name),
			lease: driver.DefaultLease, cursor: listStart,
		}
		e.subscriptions[id] = s
	}
	return s
}

func (e *engine) forget(id subscriptionID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.subscriptions, id)
}

func (e *engine) forgetTopic(topic string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id := range e.subscriptions {
		if id.topic == topic {
			delete(e.subscriptions, id)
		}
	}
}

func (s *subscription) setKnown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = true
}

// setLease takes over the lease that Redis has, which any process may change.
func (s *subscription) setLease(lease time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = true
	if lease == s.lease {
		return
	}
	s.lease = lease
	if soon := time.Now().Add(lookInterval(lease)); s.look.After(soon) {
		s.look = soon
	}
}

func lookInterval(lease time.Duration) time.Duration {
	return min(max(lease/4, minLook), maxLook)
}

// takeLook returns where to look for ended leases, if it is time to. Only one of
// those who ask at the same time is to look.
func (s *subscription) takeLook() (cursor string, now bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Now().Before(s.look) {
		return "", false
	}
	s.look = time.Now().Add(lookInterval(s.lease))
	return s.cursor, true
}

// looked tells how far a look came. One that failed or did not come to the end
// goes on at once.
func (s *subscription) looked(cursor string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cursor = cursor
	if cursor != listStart {
		s.look = time.Time{}
	}
}

func (s *subscription) lookFailed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.look = time.Time{}
}

func (s *subscription) untilLook() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(time.Until(s.look), time.Millisecond)
}

// setDue remembers whether retries that are due were left behind, and returns
// what it was.
func (s *subscription) setDue(due bool) (was bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was, s.due = s.due, due
	return was
}

// heal restores a subscription whose group is gone, unless it was deleted.
func (e *engine) heal(ctx context.Context, s *subscription) error {
	s.mu.Lock()
	known, lease := "0", s.lease
	if s.known {
		known = "1"
	}
	s.mu.Unlock()
	reply, err := e.work.run(ctx, e.scripts.heal, []string{s.keys.stream, s.keys.subs}, s.id.name, known, millis(lease))
	if err != nil {
		return e.explain(ctx, err, s.keys.stream, writing)
	}
	switch answer, _ := reply.ToString(); answer {
	case "healed":
		e.log.Warn("Redis had lost a subscription; it goes on at its last known position",
			"topic", s.id.topic, "subscription", s.id.name)
		return nil
	case "there":
		return nil
	}
	e.forget(s.id)
	return fmt.Errorf("%w: %s of topic %s", driver.ErrSubscriptionNotFound, s.id.name, s.id.topic)
}
