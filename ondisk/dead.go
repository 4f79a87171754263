package ondisk

import (
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/beckmq/beck/internal/streamid"
)

// A dead letter is a record with a copy of its message, under the message's id.
// A second table, of small records, has them in the order in which they died.

// burialKey is the key in that table.
func burialKey(place, id streamid.ID, topic, subscription string) []byte {
	return id.Append(idKey(place, tagBurial, topic, subscription))
}

// burialOf reads such a key.
func burialOf(key []byte) (r rank, ok bool) {
	if len(key) < 2*streamid.Size {
		return r, false
	}
	key = key[len(key)-2*streamid.Size:]
	return rank{streamid.FromBytes(key[:streamid.Size]), streamid.FromBytes(key[streamid.Size:])}, true
}

// letter reads the dead letter with an id.
func (e *engine) letter(s *subscription, id streamid.ID) (rec deadRecord, found bool, err error) {
	key := idKey(id, tagDead, s.topic, s.name)
	value, err := e.get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return rec, false, nil
	}
	if err != nil {
		return rec, false, e.problem(err)
	}
	if err := rec.decode(value); err != nil {
		return rec, false, e.corrupt(key, err)
	}
	return rec, true, nil
}

// addLetter writes a dead letter behind all others.
func (tx *transaction) addLetter(s *subscription, id streamid.ID, rec deadRecord, now time.Time) {
	s.died = newID(s.died, now)
	rec.at, rec.place = now.UnixMilli(), s.died
	tx.set(idKey(id, tagDead, s.topic, s.name), rec.encode())
	tx.set(burialKey(rec.place, id, s.topic, s.name), []byte{format1})
	s.rec.dead++
	tx.touchSub(s)
}

// removeLetter removes a dead letter that is there.
func (tx *transaction) removeLetter(s *subscription, id streamid.ID, rec deadRecord) {
	tx.delete(idKey(id, tagDead, s.topic, s.name))
	tx.delete(burialKey(rec.place, id, s.topic, s.name))
	s.rec.dead--
	tx.touchSub(s)
}

// loadBurials finds out where the next dead letter has its place. Those that a
// program of format 1 wrote have none as long as nobody asks for it.
func (e *engine) loadBurials(s *subscription) error {
	s.died, s.unplaced = streamid.ID{}, false
	if s.rec.dead == 0 {
		return nil
	}
	prefix := tableKey(tagBurial, s.topic, s.name)
	iter, err := e.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: rangeEnd(prefix)})
	if err != nil {
		return e.problem(err)
	}
	defer iter.Close()
	if !iter.Last() {
		s.unplaced = true
		return e.problem(iter.Error())
	}
	last, ok := burialOf(iter.Key())
	if !ok {
		return e.corrupt(iter.Key(), errRecord)
	}
	s.died = last.at
	return nil
}

// placeLetters gives all dead letters a place that have none because a program of
// format 1 wrote them.
func (e *engine) placeLetters(tx *transaction, s *subscription) error {
	if !s.unplaced {
		return nil
	}
	last := s.died
	err := e.scan(tableKey(tagDead, s.topic, s.name), func(key, value []byte) error {
		id, ok := idOf(key)
		var rec deadRecord
		if err := rec.decode(value); err != nil || !ok {
			return errors.Join(errRecord, err)
		}
		if rec.place.Compare(last) > 0 {
			last = rec.place
		}
		tx.set(burialKey(rec.place, id, s.topic, s.name), []byte{format1})
		return nil
	})
	if err == nil {
		s.died, s.unplaced = last, false
	}
	return err
}

// has reports whether there is a record.
func (e *engine) has(key []byte) (bool, error) {
	_, closer, err := e.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, e.problem(err)
	}
	return true, closer.Close()
}
