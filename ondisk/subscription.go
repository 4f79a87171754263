package ondisk

import (
	"sync/atomic"
	"time"

	"github.com/beckmq/beck/internal/streamid"
)

// subscription is a subscription in memory. It belongs to the committer.
type subscription struct {
	topic, name string
	queue       bool // rec.queue, for readers
	lastRead    time.Time
	rec         subscriptionRecord
	consumers   map[string]*consumer
	crowd       int // so many consumers are reason to forget idle ones

	// What was delivered and not settled is in a group, or has an entry of its
	// own.
	pending map[streamid.ID]*pending
	waiting int      // how many of them wait for their retry
	groups  []*group // in topic order
	grouped int      // how many messages they have
	emptied int      // how many groups have none
	due     deadlines
	// singles has the ids of those of pending whose messages are in the topic, for
	// the oldest of them, see oldestSingle.
	singles idHeap

	// died is the place of the newest dead letter; unplaced says that there are
	// some that have none.
	died     streamid.ID
	unplaced bool
	// requeued counts the calls that have taken dead letters back.
	requeued atomic.Uint64

	// cursor and paused are those of rec, for those who read ahead of the
	// committer.
	cursor atomic.Pointer[streamid.ID]
	paused atomic.Bool
	// seen are entries that a Peek ended with.
	seen seenPlaces
}

// pending is the entry of a message that was delivered and not yet settled. Its
// deadline is the end of the lease or of the delay.
type pending struct {
	deadline
	waiting bool // for its retry; otherwise owner holds it
	copied  bool // the message is no matter of the topic's, see tagCopy
	attempt int
	size    int
	owner   string
	reason  string // of the last retry
	since   int64  // when it was leased or began to wait, ms since 1970
}

// consumer is a reader of the subscription that was heard of.
type consumer struct {
	seen time.Time
	held int
}

// forgetAfter is how long a consumer that holds nothing is remembered, or longer
// if there are few.
const (
	forgetAfter = time.Hour
	minCrowd    = 64
)

func newSubscription(topic, name string, rec subscriptionRecord) *subscription {
	s := &subscription{topic: topic, name: name, queue: rec.queue, rec: rec}
	s.reset()
	s.cursor.Store(&rec.cursor)
	s.paused.Store(rec.paused)
	return s
}

// reset forgets what is pending, and all consumers.
func (s *subscription) reset() {
	s.consumers = map[string]*consumer{}
	s.pending, s.waiting = map[streamid.ID]*pending{}, 0
	s.groups, s.grouped, s.emptied = nil, 0, 0
	s.due, s.singles = nil, nil
}

// advance moves the cursor.
func (s *subscription) advance(cursor streamid.ID, delivered uint64) {
	s.rec.cursor, s.rec.delivered = cursor, delivered
	s.cursor.Store(&cursor)
}

// consumer returns a consumer, known or new.
func (s *subscription) consumer(name string, now time.Time) *consumer {
	c := s.consumers[name]
	if c == nil {
		if len(s.consumers) >= s.crowd {
			s.forgetIdle(now)
			s.crowd = max(minCrowd, 2*len(s.consumers))
		}
		c = &consumer{}
		s.consumers[name] = c
	}
	c.seen = now
	return c
}

// add takes in an entry; the count of what its owner holds is up to the caller.
func (s *subscription) add(p *pending) {
	s.pending[p.id] = p
	p.single = p
	if !p.copied {
		s.singles.add(p.id, s.pending)
	}
	s.due.add(&p.deadline)
	if p.waiting {
		s.waiting++
	}
}

// lease gives a message to a consumer from now on.
func (s *subscription) lease(p *pending, owner string, now time.Time) {
	s.letGo(p)
	p.waiting, p.owner, p.since = false, owner, now.UnixMilli()
	s.consumer(owner, now).held++
	s.setDue(p, now.Add(s.rec.lease))
}

// wait keeps a message back until a time.
func (s *subscription) wait(p *pending, now, due time.Time, reason string) {
	s.letGo(p)
	p.waiting, p.owner, p.reason, p.since = true, "", reason, now.UnixMilli()
	s.waiting++
	s.setDue(p, due)
}

// remove ends a delivery.
func (s *subscription) remove(p *pending) {
	s.letGo(p)
	delete(s.pending, p.id)
	s.due.remove(&p.deadline)
}

// letGo takes a message off the count of its owner, or of those that wait.
func (s *subscription) letGo(p *pending) {
	if p.waiting {
		s.waiting--
	} else {
		s.hold(p.owner, -1)
	}
}

// hold changes how many messages a consumer holds.
func (s *subscription) hold(owner string, more int) {
	if c := s.consumers[owner]; c != nil {
		c.held += more
	}
}

func (s *subscription) setDue(p *pending, due time.Time) {
	p.due = due
	s.due.moved(&p.deadline)
}

// next is after what time something becomes due; 0 if nothing will.
func (s *subscription) next(now time.Time) time.Duration {
	if len(s.due) == 0 {
		return 0
	}
	return max(time.Millisecond, s.due[0].due.Sub(now))
}

// forgetIdle forgets consumers that hold nothing and were not heard of lately.
func (s *subscription) forgetIdle(now time.Time) {
	for name, c := range s.consumers {
		if c.held == 0 && now.Sub(c.seen) > forgetAfter {
			delete(s.consumers, name)
		}
	}
}

// record is the entry's stored form.
func (p *pending) record() *pendingRecord {
	return &pendingRecord{
		waiting: p.waiting, copied: p.copied, attempt: uint64(p.attempt), due: p.due.UnixMilli(), since: p.since,
		size: uint64(p.size), owner: p.owner, reason: p.reason,
	}
}

// setPending and deletePending write an entry, and its end.
func (tx *transaction) setPending(s *subscription, p *pending) {
	tx.set(idKey(p.id, tagPending, s.topic, s.name), p.record().encode())
}

func (tx *transaction) deletePending(s *subscription, p *pending) {
	tx.delete(idKey(p.id, tagPending, s.topic, s.name))
	if p.copied {
		tx.delete(idKey(p.id, tagCopy, s.topic, s.name))
	}
}
