package ondisk

import (
	"github.com/cockroachdb/pebble/v2"

	"github.com/beckmq/beck/internal/streamid"
)

// cutting is some of the oldest messages of a topic, about to be removed.
type cutting struct {
	// How the topic was when it was looked at.
	trimmed, removals uint64

	first, last streamid.ID
	number      uint64 // of the last one
	count       uint64
	bytes       int64
	more        bool // there are others behind them, before the limit
}

// maxSurvey is how many messages are looked at and removed at a time.
const maxSurvey = 20_000

// survey looks at the messages before a limit, most at once. What is not on disk
// for certain must lie behind the limit, but for the committer, in a transaction
// that has not changed the topic.
func (e *engine) survey(t *topic, limit streamid.ID, most uint64) (cutting, error) {
	c := cutting{trimmed: t.trimmed.Load(), removals: t.removals.Load()}
	from := *t.floor.Load()
	if from.Compare(limit) >= 0 {
		return c, nil
	}
	iter, err := e.db.NewIter(&pebble.IterOptions{
		LowerBound: idKey(from, tagMessage, t.name), UpperBound: idKey(limit, tagMessage, t.name),
	})
	if err != nil {
		return c, e.problem(err)
	}
	defer iter.Close()
	for ok := iter.First(); ok; ok = iter.Next() {
		if c.more = c.count == most; c.more {
			break
		}
		id, value, err := e.stored(iter)
		if err != nil {
			return c, err
		}
		if c.number, err = messageNumber(value); err != nil {
			return c, e.corrupt(iter.Key(), err)
		}
		if c.count == 0 {
			c.first = id
		}
		c.last = id
		c.count++
		c.bytes += int64(len(value))
	}
	return c, e.problem(iter.Error())
}

// behind is the first id that stays.
func (c *cutting) behind() streamid.ID { return c.last.Next() }

// holds reports whether the topic's front is still as it was.
func (c *cutting) holds(t *topic) bool {
	return c.trimmed == t.rec.trimmed && c.removals == t.removals.Load()
}

// cut removes messages, of which there must be some, as a range.
func (e *engine) cut(tx *transaction, t *topic, c cutting) error {
	if err := e.cutRecord(tx, t, c); err != nil {
		return err
	}
	tx.deleteRange(idKey(c.first, tagMessage, t.name), idKey(c.behind(), tagMessage, t.name))
	return nil
}

// cutRecord does all of cut but the removal itself.
func (e *engine) cutRecord(tx *transaction, t *topic, c cutting) error {
	rec := &t.rec
	if c.number <= rec.trimmed || c.number > rec.appended || c.number-rec.trimmed < c.count ||
		c.number-rec.trimmed-c.count > rec.holes {
		return e.corruptTopic(t, "%d messages up to number %d don't fit behind number %d", c.count, c.number, rec.trimmed)
	}
	rec.holes -= c.number - rec.trimmed - c.count
	rec.trimmed = c.number
	rec.bytes -= c.bytes
	if rec.length() == 0 {
		rec.trimmed, rec.holes = rec.appended, 0
	}
	t.trimmed.Store(rec.trimmed)
	floor := c.behind()
	t.floor.Store(&floor)
	tx.touch(t)
	return nil
}
