package ondisk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// peekDelayed looks at delayed messages. The committer answers once the disk
// holds what was seen.
func (e *engine) peekDelayed(ctx context.Context, name string, req driver.PeekRequest) (driver.Peeked, error) {
	var from streamid.ID
	if req.After != "" {
		after, ok := parseDelayed(req.After)
		if !ok {
			return driver.Peeked{}, fmt.Errorf("%w: %.40q is not the id of a delayed message", driver.ErrPosition, req.After)
		}
		from = after.Next()
	}
	var peeked driver.Peeked
	err := e.submit(ctx, &request{decide: func(tx *transaction) error {
		t, err := e.needTopic(name)
		if err != nil || t.rec.delayed == 0 {
			return err
		}
		if tx.unseen(t) {
			return errLater
		}
		peeked, err = e.readDelayed(t, later(from, t.due), req.Max)
		return err
	}})
	if err != nil {
		return driver.Peeked{}, err
	}
	return peeked, nil
}

func (e *engine) readDelayed(t *topic, from streamid.ID, limit int) (driver.Peeked, error) {
	iter, err := e.delayedFrom(t, from)
	if err != nil {
		return driver.Peeked{}, err
	}
	defer iter.Close()
	var p driver.Peeked
	size := 0
	for ok := iter.First(); ok; ok = iter.Next() {
		if p.More = len(p.Entries) == limit || size > maxPage; p.More {
			break
		}
		id, rec, m, err := e.delayedAt(iter)
		if err != nil {
			return driver.Peeked{}, err
		}
		m.Body = slices.Clone(m.Body)
		if m.Body == nil {
			m.Body = []byte{}
		}
		size += len(rec.message)
		since := time.UnixMilli(rec.since).UTC()
		m.ID, m.Time = delayedText(id), since
		p.Entries = append(p.Entries, driver.Entry{Message: m, State: driver.Delayed, Since: since, Due: id.Time()})
	}
	return p, e.problem(iter.Error())
}

// Cancel removes delayed messages. It reads them, since their deduplication ids
// are to be forgotten, too.
func (e *engine) Cancel(ctx context.Context, name string, ids []string) (missing []string, err error) {
	var not []string // belongs to the committer until it has answered
	err = e.submit(ctx, &request{decide: func(tx *transaction) error {
		t, err := e.needTopic(name)
		if err != nil {
			return err
		}
		if tx.unseen(t) {
			return errLater
		}
		removed := map[streamid.ID]delayedRecord{}
		for _, text := range ids {
			id, ok := parseDelayed(text)
			if _, twice := removed[id]; !ok || twice {
				not = append(not, text)
				continue
			}
			rec, exists, err := e.delayedRecord(t, id)
			if err != nil {
				return err
			}
			if !exists {
				not = append(not, text)
				continue
			}
			if rec.dedupe != "" {
				d, found, err := e.dedupeRecord(name, rec.dedupe)
				if err != nil {
					return err
				}
				// The id may have been forgotten and used again since.
				if rec.until = d.until; !found || d.placed != (placed{id, true}) {
					rec.dedupe = ""
				}
			}
			removed[id] = rec
		}
		return e.cancel(tx, t, removed)
	}})
	return not, err
}

func (e *engine) delayedRecord(t *topic, id streamid.ID) (rec delayedRecord, exists bool, err error) {
	key := idKey(id, tagDelayed, t.name)
	value, err := e.get(key)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return rec, false, nil
	case err != nil:
		return rec, false, e.problem(err)
	}
	if err := rec.decode(value); err != nil {
		return rec, false, e.corrupt(key, err)
	}
	return rec, true, nil
}

func (e *engine) cancel(tx *transaction, t *topic, removed map[streamid.ID]delayedRecord) error {
	if len(removed) == 0 {
		return nil
	}
	if uint64(len(removed)) > t.rec.delayed {
		return e.corruptTopic(t, "it has more delayed messages than the %d it should have", t.rec.delayed)
	}
	next := t.due
	if _, gone := removed[t.due]; gone && uint64(len(removed)) < t.rec.delayed {
		var err error
		if next, err = e.firstLeft(t, removed); err != nil {
			return err
		}
	}
	for id, rec := range removed {
		tx.delete(idKey(id, tagDelayed, t.name))
		t.rec.delayed--
		if rec.dedupe != "" {
			e.forgetID(tx, t, rec.dedupe, rec.until)
		}
	}
	tx.touch(t)
	if t.rec.delayed == 0 {
		e.noneDue(tx, t)
	} else if next != t.due {
		e.setDue(tx, t, next)
	}
	return nil
}

// firstLeft is the first delayed message but for those removed.
func (e *engine) firstLeft(t *topic, removed map[streamid.ID]delayedRecord) (streamid.ID, error) {
	iter, err := e.delayedFrom(t, t.due)
	if err != nil {
		return streamid.ID{}, err
	}
	defer iter.Close()
	for ok := iter.First(); ok; ok = iter.Next() {
		id, ok := idOf(iter.Key())
		if !ok {
			return id, e.corrupt(iter.Key(), errRecord)
		}
		if _, gone := removed[id]; !gone {
			return id, nil
		}
	}
	if err := iter.Error(); err != nil {
		return streamid.ID{}, e.problem(err)
	}
	return streamid.ID{}, e.corruptTopic(t, "there are not the %d delayed messages that it should have", t.rec.delayed)
}
