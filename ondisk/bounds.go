package ondisk

import (
	"fmt"
	"slices"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// A topic with bounds has its oldest messages removed as new ones come. Which
// they are, the committer must know without searching for them: it keeps the
// front of such a topic in memory, and reads on when it has been used up.

const (
	frontPage = 1024
	frontSize = 4096 // it grows no longer by itself
	// dropSize is how many messages make room in one transaction.
	dropSize = 4096
)

func (t *topic) bounded() bool { return t.config.MaxMessages > 0 || t.config.MaxBytes > 0 }

// extendFront takes in the newest message, if the front has all before it.
func (t *topic) extendFront(f found) {
	if !t.bounded() || len(t.front) >= frontSize {
		return
	}
	if n := len(t.front); n > 0 && t.front[n-1].number == f.number-1 || t.rec.length() == 1 {
		if t.rec.length() == 1 {
			t.front = t.front[:0]
		}
		t.front = append(t.front, f)
	}
}

// removeFromFront marks a message that was removed from the middle.
func (t *topic) removeFromFront(id streamid.ID) {
	i, ok := slices.BinarySearchFunc(t.front, id, func(f found, id streamid.ID) int { return f.id.Compare(id) })
	if ok {
		t.front[i].size = -1
	}
}

// readFront makes sure that the front has a place.
func (e *engine) readFront(tx *transaction, t *topic, place int) (exists bool, err error) {
	if place < len(t.front) {
		return true, nil
	}
	from := *t.floor.Load()
	if place > 0 {
		from = t.front[place-1].id.Next()
		if t.front[place-1].number == t.rec.appended {
			return false, nil
		}
	}
	if t.rec.length() == 0 {
		return false, nil
	}
	if tx.unseen(t) {
		return false, errLater
	}
	iter, err := e.messages(t.name, from, streamid.Max)
	if err != nil {
		return false, err
	}
	defer iter.Close()
	for ok := iter.First(); ok && len(t.front) < place+frontPage; ok = iter.Next() {
		id, value, err := e.stored(iter)
		if err != nil {
			return false, err
		}
		number, err := messageNumber(value)
		if err != nil {
			return false, e.corrupt(iter.Key(), err)
		}
		t.front = append(t.front, found{id: id, number: number, size: len(value)})
	}
	return place < len(t.front), e.problem(iter.Error())
}

// roomFor is how many of some messages a topic takes, and what has to go first.
type roomFor struct {
	count int
	// full is why the others are refused; if it is nil, and there are others,
	// they have to be asked for again.
	full error
	cut  cutting
	drop int // the front up to this place goes
}

// findRoom finds room for messages, and changes nothing.
func (e *engine) findRoom(tx *transaction, t *topic, messages []*driver.Message) (roomFor, error) {
	if !t.bounded() || len(messages) == 0 {
		return roomFor{count: len(messages)}, nil
	}
	past := slices.IndexFunc(t.front, func(f found) bool { return f.number > t.rec.trimmed && f.size >= 0 })
	if past < 0 {
		past = len(t.front)
	}
	t.front = t.front[past:]
	f := finding{engine: e, tx: tx, topic: t, needed: t.neededFrom(streamid.Max), length: t.rec.length(), bytes: t.rec.bytes}
	added := int64(0)
	for i, m := range messages {
		size := int64(messageSize(m, t.rec.appended+uint64(i)+1))
		before := f.room
		ok, err := f.add(size, i == 0 || !f.exceeds(int64(i)+1, added+size))
		if err != nil {
			return roomFor{}, err
		}
		if !ok {
			switch {
			case f.room.full != nil:
				// What nobody needs goes all the same.
			case i == 0:
				// What was found must go before the rest is looked for.
				f.room = f.partly
			default:
				f.room = before
			}
			break
		}
		f.room.count++
		added += size
	}
	return f.room, nil
}

// finding is the search for room.
type finding struct {
	engine *engine
	tx     *transaction
	topic  *topic
	needed streamid.ID // the first message that is
	// length and bytes are what the topic will have.
	length, bytes int64
	room          roomFor
	partly        roomFor // what was found when too much had to go at a time
}

func (f *finding) exceeds(length, bytes int64) bool {
	c := f.topic.config
	return c.MaxMessages > 0 && length > c.MaxMessages || c.MaxBytes > 0 && bytes > c.MaxBytes && f.topic.rec.counted
}

// add finds room for one more message; first says that it fits beside those found
// room for before.
func (f *finding) add(size int64, fits bool) (ok bool, err error) {
	t := f.topic
	if c := t.config; c.MaxBytes > 0 && size > c.MaxBytes {
		f.room.full = tooLargeFor(t, size)
		return false, nil
	}
	if !fits {
		return false, nil
	}
	for f.exceeds(f.length+1, f.bytes+size) {
		if t.isQueue() && !t.config.DropOldest {
			f.room.full = f.refusal() // all that a queue has is needed
			return false, nil
		}
		exists, err := f.engine.readFront(f.tx, t, f.room.drop)
		if err != nil {
			return false, err
		}
		if !exists {
			break
		}
		oldest := t.front[f.room.drop]
		switch {
		case oldest.size < 0:
			f.room.drop++
			continue
		case oldest.id.Compare(f.needed) >= 0 && !t.config.DropOldest:
			f.room.full = f.refusal()
			return false, nil
		case f.room.cut.count == dropSize:
			f.partly = f.room
			return false, nil
		}
		f.room.drop++
		f.room.cut.add(oldest)
		f.length--
		f.bytes -= int64(oldest.size)
	}
	f.length++
	f.bytes += size
	return true, nil
}

// neverTakes says why a message that is delayed could never enter the topic, and
// would keep those behind it from entering.
func (t *topic) neverTakes(m *driver.Message) error {
	size := int64(messageSize(m, t.rec.appended) + delayedGrowth)
	if limit := t.config.MaxBytes; limit > 0 && size > limit {
		return tooLargeFor(t, size)
	}
	return nil
}

func tooLargeFor(t *topic, size int64) error {
	return fmt.Errorf("%w: topic %s takes %d bytes in all, and the message needs %d", driver.ErrTopicFull, t.name, t.config.MaxBytes, size)
}

func (f *finding) refusal() error {
	t := f.topic
	return fmt.Errorf("%w: topic %s holds %d messages of %d bytes in all, and its subscriptions need them; let them catch up, or allow more",
		driver.ErrTopicFull, t.name, t.rec.length(), t.rec.bytes)
}

// add takes in the next message to be removed.
func (c *cutting) add(f found) {
	if c.count == 0 {
		c.first = f.id
	}
	c.last, c.number = f.id, f.number
	c.count++
	c.bytes += int64(f.size)
}

// makeRoom removes what findRoom said has to go.
func (e *engine) makeRoom(tx *transaction, t *topic, room roomFor, now time.Time) error {
	if room.cut.count == 0 {
		return nil
	}
	before := t.rec.dropped
	needed := t.neededFrom(streamid.Max)
	if err := e.cutRecord(tx, t, room.cut); err != nil {
		return err
	}
	for _, f := range t.front[:room.drop] {
		if f.size < 0 {
			continue
		}
		if f.id.Compare(needed) >= 0 && t.lose(tx, f) {
			t.rec.dropped++
		}
		tx.delete(idKey(f.id, tagMessage, t.name))
	}
	for _, s := range t.subs {
		if s.rec.delivered < room.cut.number {
			s.advance(room.cut.last, room.cut.number)
			tx.touchSub(s)
		}
	}
	t.front = t.front[room.drop:]
	if t.rec.dropped > before && now.Sub(t.warned) > time.Minute {
		t.warned = now
		e.log.Warn("beck: a full topic drops messages that subscriptions still need", "topic", t.name, "dropped", t.rec.dropped)
	}
	return nil
}

// lose takes a message from the subscriptions that need it, and says whether one
// did.
func (t *topic) lose(tx *transaction, f found) (needed bool) {
	for _, s := range t.subs {
		d, delivered := s.find(f.id)
		if delivered && d.copied() {
			continue
		} else if delivered {
			s.end(tx, d)
		} else if f.number <= s.rec.delivered {
			continue
		}
		needed = true
		s.rec.lost++
		tx.touchSub(s)
	}
	return needed
}
