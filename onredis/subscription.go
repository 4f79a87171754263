package onredis

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck/internal/driver"
)

const (
	// A process looks for ended leases every quarter of a lease, within these.
	minLook = 50 * time.Millisecond
	maxLook = 5 * time.Second

	// maxHeals is how often one call restores a subscription: it may be deleted
	// and made again by others all the while.
	maxHeals = 3

	// maxFetched is about how many bytes of messages one fetch takes, beyond the
	// first message; firstPortion how many while their size is not known.
	maxFetched   = 4 << 20
	firstPortion = 64
	perEntry     = 64 // bytes of a message beside its body, about

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
	queue  bool          // it is that of a queue, as last seen
	asked  bool          // whether it is that of a queue has been seen
	untold int64         // messages it lost that a Fetch which failed was to tell of
	lease  time.Duration // as last seen
	look   time.Time     // when to look for ended leases
	cursor string        // where that goes on in the list of pending messages

	// due is when the next retry is due, as far as known: the zero time for at
	// once, or not known. settled counts what may have changed it.
	due     time.Time
	settled int

	// running is the mark of the topic at which it was last seen not to be paused,
	// see hub.mark, or notRunning.
	running uint64

	// perMessage is about how many bytes a message has, 0 if not known.
	perMessage int
}

func (e *engine) subscription(topic, name string) *subscription {
	id := subscriptionID{topic, name}
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.subscriptions[id]
	if s == nil {
		s = &subscription{
			id: id, keys: e.names.subscription(topic, name),
			lease: driver.DefaultLease, cursor: listStart, running: notRunning,
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

// forgetUnknown forgets a subscription that is not known to exist, so that names
// which were merely asked for take no memory.
func (e *engine) forgetUnknown(s *subscription) {
	s.mu.Lock()
	known := s.known
	s.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !known && e.subscriptions[s.id] == s {
		delete(e.subscriptions, s.id)
	}
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

func (s *subscription) leaseTime() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lease
}

// readLease takes over the lease that a script returned, in ms.
func (s *subscription) readLease(ms *rueidis.RedisMessage) error {
	lease, err := ms.ToInt64()
	if err == nil {
		s.setLease(time.Duration(lease) * time.Millisecond)
	}
	return err
}

// readQueue takes over whether the topic is a queue, which a script returned as 0
// or 1.
func (s *subscription) readQueue(flag *rueidis.RedisMessage) error {
	n, err := flag.ToInt64()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue, s.asked = n == 1, err == nil
	return err
}

// addLost remembers how many messages were lost that nobody has been told of, and
// takeLost forgets it.
func (s *subscription) addLost(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.untold += n
}

func (s *subscription) takeLost() (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, s.untold = s.untold, 0
	return n
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

// looked tells how far a look came. One that did not come to the end goes on at
// once if it found as much as there was room for, and otherwise soon, so that a
// long list does not keep Redis busy.
func (s *subscription) looked(cursor string, full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cursor = cursor
	switch {
	case cursor == listStart:
	case full:
		s.look = time.Time{}
	default:
		s.look = time.Now().Add(minLook)
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

// retriesDue reports whether a retry may be due, and what to hand to setDue.
func (s *subscription) retriesDue() (due bool, settled int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !time.Now().Before(s.due), s.settled
}

// setDue remembers when the next retry is due, -1 for never, unless something
// was settled meanwhile.
func (s *subscription) setDue(after time.Duration, settled int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case settled != s.settled:
	case after < 0:
		s.due = time.Now().Add(driver.DefaultLease) // as good as any: others settle too
	default:
		s.due = time.Now().Add(after)
	}
}

// setSettled has the next fetch look what is due before all else.
func (s *subscription) setSettled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.due = time.Time{}
	s.settled++
}

// portion is how many messages one fetch may take.
func (s *subscription) portion() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.perMessage == 0 {
		return firstPortion
	}
	return max(1, maxFetched/s.perMessage)
}

// weigh takes over the size of messages just fetched: larger ones at once,
// smaller ones by and by.
func (s *subscription) weigh(messages []driver.Message) {
	if len(messages) == 0 {
		return
	}
	var size int
	for i := range messages {
		size += len(messages[i].Body) + perEntry
	}
	size /= len(messages)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.perMessage = max(size, (s.perMessage+size)/2)
}

// heal restores a subscription whose group is gone, unless it was deleted.
func (e *engine) heal(ctx context.Context, s *subscription) error {
	s.mu.Lock()
	known, queue, lease := "0", "0", s.lease
	if s.known {
		known = "1"
	}
	if s.queue {
		queue = "1"
	}
	s.mu.Unlock()
	reply, err := e.work.at(s.keys.stream).run(ctx, e.scripts.heal, []string{s.keys.stream, s.keys.subs}, s.id.name, known, millis(lease), queue)
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
