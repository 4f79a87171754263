package ondisk

import (
	"cmp"
	"encoding/binary"
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// A deduplication id has a record under itself, with the id of its message, and a
// key under the time when it is forgotten. Publishers look their ids up in Pebble
// before they come to the committer; those that it decided on meanwhile it has in
// memory.

// dedupeRecord is a deduplication id that was used.
type dedupeRecord struct {
	until int64 // ms since 1970
	placed
}

func (r *dedupeRecord) encode() []byte {
	b := binary.AppendUvarint([]byte{format1, flag(r.delayed)}, uint64(max(0, r.until)))
	return r.id.Append(b)
}

func (r *dedupeRecord) decode(b []byte) error {
	d := decode(b)
	r.delayed = d.flag()
	r.until, r.id = int64(d.number()), d.id()
	return d.finish()
}

func dedupeKey(topic, id string) []byte { return tableKey(tagDedupe, topic, id) }

// forgetKey sorts by the time.
func forgetKey(topic, id string, until int64) []byte {
	k := binary.BigEndian.AppendUint64(tableKey(tagForget, topic), uint64(max(0, until)))
	return append(k, id...)
}

// rememberUntil is when an id is forgotten that is used now.
func (t *topic) rememberUntil(now time.Time) int64 { return now.Add(t.config.DedupeWindow).UnixMilli() }

// recentIDs are those that were decided on of late, and may not have been there
// when they were looked up.
type recentIDs struct {
	now, before map[recentKey]recentID
	// sure is a batch: all ids of later ones are here.
	sure, next uint64
}

type recentKey struct {
	topic *topic
	id    string
}

type recentID struct {
	dedupeRecord
	forgotten bool
}

// recentSize is how many ids are kept at least, and half of how many at most, but
// for those of one batch.
const recentSize = 8192

func (r *recentIDs) find(t *topic, id string) (recentID, bool) {
	key := recentKey{t, id}
	if found, ok := r.now[key]; ok {
		return found, true
	}
	found, ok := r.before[key]
	return found, ok
}

func (r *recentIDs) set(t *topic, id string, recent recentID) {
	if r.now == nil {
		r.now = map[recentKey]recentID{}
	}
	r.now[recentKey{t, id}] = recent
}

// turn drops the older ids if there are enough newer ones. It is called between
// batches, of which decided is the last.
func (r *recentIDs) turn(decided uint64) {
	if len(r.now) >= recentSize {
		r.before, r.now = r.now, nil
		r.sure, r.next = r.next, decided
	}
}

// drop forgets all, as a topic is deleted in a batch.
func (r *recentIDs) drop(batch uint64) { r.before, r.now, r.sure, r.next = nil, nil, batch, batch }

// knownIDs are deduplication ids that were looked up ahead of the committer.
type knownIDs struct {
	applied uint64 // the last batch that was seen for certain
	found   map[string]dedupeRecord
}

// lookUp finds out which ids are known.
func (a *appending) lookUp() error {
	end, err := a.engine.reading()
	if err != nil {
		return err
	}
	defer end()
	a.known.applied = a.engine.applied.Load()
	for i := range a.messages {
		id := a.messages[i].DedupeID
		if id == "" {
			continue
		}
		rec, found, err := a.engine.dedupeRecord(a.name, id)
		if err != nil {
			return err
		}
		if found {
			if a.known.found == nil {
				a.known.found = map[string]dedupeRecord{}
			}
			a.known.found[id] = rec
		}
	}
	return nil
}

func (e *engine) dedupeRecord(topic, id string) (rec dedupeRecord, found bool, err error) {
	key := dedupeKey(topic, id)
	value, closer, err := e.db.Get(key)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return rec, false, nil
	case err != nil:
		return rec, false, e.problem(err)
	}
	if err := rec.decode(value); err != nil {
		return rec, false, e.corrupt(key, errors.Join(err, closer.Close()))
	}
	return rec, true, e.problem(closer.Close())
}

// record returns what is stored of an id, or will be.
func (a *appending) record(t *topic, id string) (rec dedupeRecord, found bool, err error) {
	recent := &a.engine.state.recent
	if r, ok := recent.find(t, id); ok {
		return r.dedupeRecord, !r.forgotten, nil
	}
	if a.known.applied >= recent.sure {
		rec, found = a.known.found[id]
		return rec, found, nil
	}
	return a.engine.dedupeRecord(t.name, id)
}

// twin is what a message is a duplicate of: another one in its batch, or one
// that was published before.
type twin struct {
	inBatch bool
	place   int
	placed  placed
}

// findTwins finds the duplicates among the messages; the others get nil.
func (a *appending) findTwins(t *topic, now time.Time) ([]*twin, error) {
	twins := make([]*twin, len(a.messages))
	if !a.ids {
		return twins, nil
	}
	own := map[string]int{}
	a.over = nil
	for i := range a.messages {
		id := a.messages[i].DedupeID
		if id == "" {
			continue
		}
		if place, twice := own[id]; twice {
			twins[i] = &twin{inBatch: true, place: place}
			continue
		}
		rec, found, err := a.record(t, id)
		if err != nil {
			return nil, err
		}
		if found && rec.until > now.UnixMilli() {
			twins[i] = &twin{placed: rec.placed}
			continue
		}
		if found {
			if a.over == nil {
				a.over = map[string]int64{}
			}
			a.over[id] = rec.until
		}
		own[id] = i
	}
	return twins, nil
}

// remember writes down the id of a message that was stored.
func (a *appending) remember(tx *transaction, t *topic, id string, p placed, now time.Time) {
	if until, found := a.over[id]; found {
		tx.delete(forgetKey(t.name, id, until))
	} else {
		t.rec.remembered++
	}
	rec := dedupeRecord{until: t.rememberUntil(now), placed: p}
	tx.set(dedupeKey(t.name, id), rec.encode())
	tx.set(forgetKey(t.name, id, rec.until), []byte{format1})
	a.engine.state.recent.set(t, id, recentID{dedupeRecord: rec})
}

// forgetID removes an id that is remembered until then.
func (e *engine) forgetID(tx *transaction, t *topic, id string, until int64) {
	tx.delete(dedupeKey(t.name, id))
	tx.delete(forgetKey(t.name, id, until))
	t.rec.remembered--
	e.state.recent.set(t, id, recentID{forgotten: true})
	tx.touch(t)
}

// forgetSize is how many ids are forgotten in one transaction.
const forgetSize = 2000

// forgetSome forgets ids whose time is over, and says whether there are more.
func (e *engine) forgetSome(tx *transaction, t *topic) (more bool, err error) {
	prefix := tableKey(tagForget, t.name)
	now := e.now().UnixMilli()
	iter, err := e.db.NewIter(&pebble.IterOptions{
		LowerBound: prefix,
		UpperBound: binary.BigEndian.AppendUint64(tableKey(tagForget, t.name), uint64(max(0, now+1))),
	})
	if err != nil {
		return false, e.problem(err)
	}
	defer iter.Close()
	count := uint64(0)
	for ok := iter.First(); ok && !more; ok = iter.Next() {
		rest := iter.Key()[len(prefix):]
		d := decode(iter.Value())
		if err := d.finish(); err != nil || len(rest) < 8 || t.rec.remembered == 0 {
			return false, e.corrupt(iter.Key(), cmp.Or(err, errRecord))
		}
		e.forgetID(tx, t, string(rest[8:]), int64(binary.BigEndian.Uint64(rest)))
		count++
		more = count == forgetSize
	}
	return more, e.problem(iter.Error())
}
