package ondisk

import (
	"context"
	"encoding/binary"
	"maps"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// A delayed message lies in a table of its own under an id made of the
// millisecond in which it is due and a number that its topic gives out. Of all of
// a topic's, only the first one's id is in memory.

// delayedHeader tells, in the topic, the id that a message had before.
const delayedHeader = "beck-delayed-id"

// delayedGrowth is more than a message grows by as it enters its topic: by the
// header, and a higher number.
const delayedGrowth = 64

// delayedRecord is a delayed message.
type delayedRecord struct {
	since   int64  // when it was published, ms since 1970
	dedupe  string // its deduplication id
	until   int64  // when that is forgotten
	message []byte // as it is stored in a topic, with the number 0
}

func (r *delayedRecord) encode() []byte {
	b := make([]byte, 0, 32+len(r.dedupe)+len(r.message))
	b = binary.AppendUvarint(append(b, format1), uint64(max(0, r.since)))
	b = appendString(b, r.dedupe)
	b = binary.AppendUvarint(b, uint64(max(0, r.until)))
	return append(b, r.message...)
}

// decode leaves the message in b.
func (r *delayedRecord) decode(b []byte) error {
	d := decode(b)
	*r = delayedRecord{since: int64(d.number()), dedupe: d.string(), until: int64(d.number()), message: d.rest()}
	return d.finish()
}

const delayedPrefix = "d"

func delayedText(id streamid.ID) string { return delayedPrefix + id.String() }

func parseDelayed(text string) (streamid.ID, bool) {
	rest, ok := strings.CutPrefix(text, delayedPrefix)
	id, err := streamid.Parse(rest)
	return id, ok && err == nil && delayedText(id) == text
}

// delay keeps a message until it is due.
func (tx *transaction) delay(e *engine, t *topic, m *driver.Message, now time.Time) streamid.ID {
	t.rec.delaySeq++
	t.rec.delayed++
	// Up to a millisecond late is better than early.
	due := delayedUntil(m, now).Add(time.Millisecond - 1).UnixMilli()
	id := streamid.ID{Millis: uint64(max(0, due)), Seq: t.rec.delaySeq}
	rec := delayedRecord{since: now.UnixMilli(), message: appendMessage(nil, m, 0)}
	if m.DedupeID != "" {
		rec.dedupe, rec.until = m.DedupeID, t.rememberUntil(now)
	}
	tx.set(idKey(id, tagDelayed, t.name), rec.encode())
	if t.rec.delayed == 1 || id.Compare(t.due) < 0 {
		e.setDue(tx, t, id)
	} else if due < t.moves {
		e.moveAt(tx, t, t.due, due)
	}
	tx.touch(t)
	return id
}

// setDue notes which delayed message is the first.
func (e *engine) setDue(tx *transaction, t *topic, id streamid.ID) {
	e.moveAt(tx, t, id, int64(id.Millis))
}

func (e *engine) noneDue(tx *transaction, t *topic) { e.moveAt(tx, t, streamid.ID{}, 0) }

// moveAt notes which delayed message is the first, and when it is to be moved. The
// transaction is nil if the disk holds it already.
func (e *engine) moveAt(tx *transaction, t *topic, id streamid.ID, at int64) {
	t.due, t.moves = id, at
	e.mover.set(t.name, at)
	if tx == nil {
		t.nextDue.Store(at)
		return
	}
	tx.onDurable(func() { t.nextDue.Store(at) })
}

// loadDue finds the first delayed message of a topic.
func (e *engine) loadDue(t *topic) error {
	if t.rec.delayed == 0 {
		e.noneDue(nil, t)
		return nil
	}
	iter, err := e.delayedFrom(t, t.due)
	if err != nil {
		return err
	}
	defer iter.Close()
	if !iter.First() {
		if err := iter.Error(); err != nil {
			return e.problem(err)
		}
		return e.corruptTopic(t, "all of its %d delayed messages are missing", t.rec.delayed)
	}
	id, ok := idOf(iter.Key())
	if !ok {
		return e.corrupt(iter.Key(), errRecord)
	}
	e.setDue(nil, t, id)
	return nil
}

func (e *engine) delayedFrom(t *topic, from streamid.ID) (*pebble.Iterator, error) {
	iter, err := e.db.NewIter(&pebble.IterOptions{
		LowerBound: idKey(from, tagDelayed, t.name), UpperBound: rangeEnd(tableKey(tagDelayed, t.name)),
	})
	return iter, e.problem(err)
}

// delayedAt is the delayed message under an iterator; its body stays the
// iterator's.
func (e *engine) delayedAt(iter *pebble.Iterator) (id streamid.ID, rec delayedRecord, m driver.Message, err error) {
	id, value, err := e.stored(iter)
	if err != nil {
		return id, rec, m, err
	}
	if err = rec.decode(value); err == nil {
		_, err = decodeContent(&m, rec.message)
	}
	if err != nil {
		return id, rec, m, e.corrupt(iter.Key(), err)
	}
	return id, rec, m, nil
}

const (
	moveCount = 1000 // messages that enter a topic in one transaction
	moveAgain = 100 * time.Millisecond

	// Messages that became too large for their topic are passed over, if they are
	// no more than this, and looked at again after that time, or when the topic is
	// configured.
	maxPassed   = 100
	passedAgain = time.Minute
)

// move has those delayed messages enter their topic that are due.
func (e *engine) move(ctx context.Context, name string) error {
	return e.submit(ctx, &request{size: 1 << 20, decide: func(tx *transaction) error {
		t, err := e.topic(name)
		if err != nil || t == nil || t.rec.delayed == 0 {
			return err
		}
		now := e.now()
		if t.due.Millis > uint64(max(0, now.UnixMilli())) {
			e.setDue(tx, t, t.due)
			return nil
		}
		if tx.unseen(t) {
			return errLater
		}
		return e.moveDue(tx, t, now)
	}})
}

func (e *engine) moveDue(tx *transaction, t *topic, now time.Time) error {
	iter, err := e.delayedFrom(t, t.due)
	if err != nil {
		return err
	}
	defer iter.Close()
	var ids []streamid.ID
	var messages []*driver.Message
	size, most := 0, moveCount
	if t.stuck {
		most = 1 // to see whether there is room now
	}
	next, found := streamid.ID{}, false
	var passed []streamid.ID // too large since the topic's bound was set
	for ok := iter.First(); ok; ok = iter.Next() {
		id, _, m, err := e.delayedAt(iter)
		if err != nil {
			return err
		}
		if id.Millis > uint64(now.UnixMilli()) || len(ids) == most || size > maxBatch/2 {
			next, found = id, true
			break
		}
		if len(passed) < maxPassed && t.neverTakes(&m) != nil {
			passed = append(passed, id)
			continue
		}
		m.Body = append([]byte{}, m.Body...)
		m.Headers = maps.Clone(m.Headers)
		if m.Headers == nil {
			m.Headers = map[string]string{}
		}
		m.Headers[delayedHeader] = delayedText(id)
		ids, messages = append(ids, id), append(messages, &m)
		size += messageSize(&m, 0)
	}
	if err := iter.Error(); err != nil {
		return e.problem(err)
	}
	seen := uint64(len(ids) + len(passed))
	if seen > t.rec.delayed || found != (t.rec.delayed > seen) {
		return e.corruptTopic(t, "there are not the %d delayed messages that it should have", t.rec.delayed)
	}
	room, err := e.findRoom(tx, t, messages)
	if err != nil {
		return err
	}
	if e.room.check(size) != nil {
		room = roomFor{}
	}
	if err := e.makeRoom(tx, t, room, now); err != nil {
		return err
	}
	for i, m := range messages[:room.count] {
		tx.store(t, m, newID(t.rec.last, now))
		tx.delete(idKey(ids[i], tagDelayed, t.name))
		t.rec.delayed--
	}
	if room.count > 0 || room.cut.count > 0 {
		tx.touch(t)
		tx.hint(t.name)
	}
	t.stuck = len(ids) > 0 && room.count == 0 && room.cut.count == 0
	first, at := streamid.ID{}, int64(0)
	switch {
	case room.count < len(ids):
		first, at = ids[room.count], now.UnixMilli()
		if t.stuck {
			at = now.Add(moveAgain).UnixMilli() // for room
		}
	case found:
		first, at = next, int64(next.Millis)
	case len(passed) > 0:
		first, at = passed[0], now.Add(passedAgain).UnixMilli()
	}
	if len(passed) > 0 {
		first = earlier(first, passed[0])
	}
	e.moveAt(tx, t, first, at)
	return nil
}

// moveIfDue is for those who fetch. They need not wait until all is moved that is
// due.
func (e *engine) moveIfDue(ctx context.Context, t *topic) error {
	due := t.nextDue.Load()
	if due == 0 || due > e.now().UnixMilli() {
		return nil
	}
	return e.move(ctx, t.name)
}
