package ondisk

import (
	"fmt"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// A queue is a topic whose only subscription removes from it what it is done
// with. So what a queue stores is what its subscription has pending, and all
// behind the cursor.

// isQueue is for the committer.
func (t *topic) isQueue() bool {
	s := t.subs[driver.QueueSubscription]
	return s != nil && s.rec.queue
}

// checkQueue says why a subscription can't be joined. The topic may be nil.
func (t *topic) checkQueue(subscription string, queue bool) error {
	switch {
	case t == nil:
		return nil
	case queue && !t.isQueue() && len(t.subs) > 0:
		return fmt.Errorf("%w: topic %s has subscriptions of its own, and can't become a queue", driver.ErrWrongType, t.name)
	case t.isQueue() && subscription != driver.QueueSubscription:
		return fmt.Errorf("%w: %s is a queue, and takes no other subscription than %s", driver.ErrWrongType, t.name, driver.QueueSubscription)
	}
	return nil
}

// removeTask removes the message of a delivery that is about to end.
func (tx *transaction) removeTask(t *topic, s *subscription, d delivery) {
	rec := &t.rec
	tx.delete(idKey(d.id, tagMessage, t.name))
	t.removeFromFront(d.id)
	t.removals.Add(1)
	rec.holes++
	rec.bytes -= int64(d.size())
	rec.dense = max(rec.dense, s.rec.delivered)
	t.dense.Store(rec.dense)
	if rec.length() == 0 {
		rec.trimmed, rec.holes = rec.appended, 0
		t.trimmed.Store(rec.trimmed)
	}
	tx.touch(t)
}

// size is that of the stored message.
func (d delivery) size() int {
	if d.single != nil {
		return d.single.size
	}
	return int(d.group.members[d.place].size)
}

// emptyBefore removes from a topic that becomes a queue what comes before the
// cursor: nobody will ever be done with it.
func (e *engine) emptyBefore(tx *transaction, t *topic, cursor streamid.ID) error {
	if cursor.IsZero() || t.rec.length() == 0 {
		return nil
	}
	c, err := e.survey(t, cursor.Next(), maxSurvey)
	for err == nil && c.count > 0 {
		if err := e.cut(tx, t, c); err != nil {
			return err
		}
		c, err = e.survey(t, cursor.Next(), maxSurvey)
	}
	return err
}
