package ondisk

import (
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/beckmq/beck/internal/streamid"
)

// loadDelivered reads what a subscription has been delivered and not settled.
func (e *engine) loadDelivered(t *topic, s *subscription) error {
	if s.rec.delivered > t.rec.appended || s.rec.cursor.Compare(t.rec.last) > 0 {
		return e.corruptTopic(t, "subscription %s is ahead of it", s.name)
	}
	now := e.now()
	s.reset()
	if err := e.loadGroups(t, s, now); err != nil {
		return err
	}
	if err := e.loadPending(t, s, now); err != nil {
		return err
	}
	return e.loadBurials(s)
}

func (e *engine) loadPending(t *topic, s *subscription, now time.Time) error {
	return e.scan(tableKey(tagPending, t.name, s.name), func(key, value []byte) error {
		id, ok := idOf(key)
		var rec pendingRecord
		if err := rec.decode(value); err != nil {
			return err
		}
		if !ok || id.Compare(s.rec.cursor) > 0 && !rec.copied {
			return errRecord
		}
		if _, twice := s.find(id); twice {
			return errRecord
		}
		p := &pending{
			waiting: rec.waiting, copied: rec.copied, attempt: int(rec.attempt), size: int(rec.size),
			owner: rec.owner, reason: rec.reason, since: rec.since,
		}
		p.deadline = deadline{id: id, due: dueFrom(rec.due, s.rec.lease, !rec.waiting, now)}
		s.add(p)
		if !p.waiting {
			s.consumer(p.owner, now).held++
		}
		return nil
	})
}

// storedGroup is a group whose messages have not been looked for yet.
type storedGroup struct {
	id  streamid.ID // of its first message
	rec groupRecord
}

// loadGroups reads the records of groups, and where their messages are.
func (e *engine) loadGroups(t *topic, s *subscription, now time.Time) error {
	var stored []storedGroup
	behind := uint64(0) // number of the last message of the groups so far
	err := e.scan(tableKey(tagGroup, t.name, s.name), func(key, value []byte) error {
		id, ok := idOf(key)
		g := storedGroup{id: id}
		if err := g.rec.decode(value); err != nil {
			return err
		}
		if !ok || id.Compare(s.rec.cursor) > 0 || g.rec.first <= behind || g.rec.last() > s.rec.delivered {
			return errRecord
		}
		behind = g.rec.last()
		stored = append(stored, g)
		return nil
	})
	if err != nil || len(stored) == 0 {
		return err
	}
	iter, err := e.messages(t.name, streamid.ID{}, streamid.Max)
	if err != nil {
		return err
	}
	defer iter.Close()
	for _, g := range stored {
		members, err := e.findMembers(iter, t, g)
		if err != nil {
			return err
		}
		loaded := s.newGroup(g.id, g.rec.first, g.rec.owner, members)
		loaded.due, loaded.since = dueFrom(g.rec.due, s.rec.lease, true, now), g.rec.since
		for place, gone := range g.rec.gone {
			if gone {
				loaded.gone[place] = true
				loaded.left--
			}
		}
		s.addGroup(loaded)
		s.consumer(loaded.owner, now).held += loaded.left
	}
	return nil
}

// findMembers finds a group's messages in the topic, but for those that are gone
// and were trimmed, or removed one by one. Those get an id that nobody has, in its
// place.
func (e *engine) findMembers(iter *pebble.Iterator, t *topic, g storedGroup) ([]member, error) {
	members := make([]member, 0, len(g.rec.gone))
	last, gone := g.rec.last(), max(t.rec.trimmed, t.rec.dense)
	// skip goes on to a number, if what is between may be missing.
	skip := func(number uint64) error {
		for next := g.rec.first + uint64(len(members)); next < number; next++ {
			if !g.rec.gone[len(members)] || next > gone {
				return e.missing(t, next)
			}
			id := g.id
			if n := len(members); n > 0 {
				id = members[n-1].id.Next()
			}
			members = append(members, member{id: id})
		}
		return nil
	}
	for ok := iter.SeekGE(idKey(g.id, tagMessage, t.name)); ok && len(members) < cap(members); ok = iter.Next() {
		f, err := e.locate(iter)
		if err != nil {
			return nil, err
		}
		if f.number < g.rec.first+uint64(len(members)) || f.number == g.rec.first && f.id != g.id {
			return nil, e.missing(t, g.rec.first)
		}
		if err := skip(min(f.number, last+1)); err != nil {
			return nil, err
		}
		if f.number > last {
			break
		}
		members = append(members, member{id: f.id, size: uint32(f.size)})
	}
	if err := iter.Error(); err != nil {
		return nil, e.problem(err)
	}
	return members, skip(last + 1)
}

// dueFrom turns a stored due time into one of the running process, whose clock
// is monotonic. No lease lasts longer than the subscription's, whatever the
// clock did since.
func dueFrom(stored int64, lease time.Duration, leased bool, now time.Time) time.Time {
	left := time.UnixMilli(stored).Sub(now)
	if leased {
		left = min(left, lease)
	}
	return now.Add(left)
}
