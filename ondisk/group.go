package ondisk

import (
	"slices"
	"sort"

	"github.com/beckmq/beck/internal/streamid"
)

// group is the messages that one Fetch delivered for the first time. A message
// is in it until it is settled, or something else comes of it that needs an entry
// of its own. The groups of a subscription are in topic order, and no message is
// in two.
type group struct {
	deadline
	first   uint64 // number of the first message; those of the others follow
	owner   string
	since   int64 // when they were leased, ms since 1970
	members []member
	gone    []bool // which members the group has no longer
	left    int    // how many it still has
	front   int    // all before this one are gone
	next    int    // the place that is looked for next, in all likelihood
	key     []byte // of its record
	touched bool   // by the transaction that is being decided
}

// newGroup makes a group of the messages from one on, which all are in it.
func (s *subscription) newGroup(id streamid.ID, first uint64, owner string, members []member) *group {
	g := &group{
		first: first, owner: owner, members: members, gone: make([]bool, len(members)), left: len(members),
		key: idKey(id, tagGroup, s.topic, s.name),
	}
	g.deadline = deadline{id: id, group: g}
	return g
}

// addGroup takes in a group that lies behind all others; the count of what its
// owner holds is up to the caller.
func (s *subscription) addGroup(g *group) {
	s.groups = append(s.groups, g)
	s.grouped += g.left
	s.due.add(&g.deadline)
}

// oldest is the place of the first message that a group still has; there must be
// one.
func (g *group) oldest() int {
	for g.gone[g.front] {
		g.front++
	}
	return g.front
}

// find returns the place of a message that the group still has.
func (g *group) find(id streamid.ID) (place int, ok bool) {
	place = g.next
	if place >= len(g.members) || g.members[place].id != id {
		place, ok = slices.BinarySearchFunc(g.members, id, func(m member, id streamid.ID) int { return m.id.Compare(id) })
		if !ok {
			return 0, false
		}
	}
	g.next = place + 1
	return place, !g.gone[place]
}

// groupOf returns the only group that may have a message, or nil.
func (s *subscription) groupOf(id streamid.ID) *group {
	behind := sort.Search(len(s.groups), func(i int) bool { return s.groups[i].id.Compare(id) > 0 })
	if behind == 0 {
		return nil
	}
	return s.groups[behind-1]
}

// leave takes a message out of its group. What its owner holds is up to the
// caller.
func (s *subscription) leave(tx *transaction, g *group, place int) {
	g.gone[place] = true
	g.left--
	s.grouped--
	tx.touchGroup(g)
	if g.left > 0 {
		return
	}
	s.due.remove(&g.deadline)
	g.members, g.gone = nil, nil
	s.emptied++
	// The first group is looked for often.
	for len(s.groups) > 0 && s.groups[0].left == 0 {
		s.groups[0] = nil
		s.groups = s.groups[1:]
		s.emptied--
	}
	// Other empty groups are left lying until they are so many that moving those
	// that are not together costs little for each.
	if s.emptied > len(s.groups)/2 {
		s.groups = slices.DeleteFunc(s.groups, func(g *group) bool { return g.left == 0 })
		s.emptied = 0
	}
}

// touchGroup has the group's record written, or deleted once the group is empty,
// at the end of the transaction, however many of its messages left.
func (tx *transaction) touchGroup(g *group) {
	if !g.touched {
		g.touched = true
		tx.groups = append(tx.groups, g)
	}
}

// sealGroup writes what touchGroup asked for.
func (tx *transaction) sealGroup(g *group) {
	g.touched = false
	if g.left == 0 {
		tx.delete(g.key)
		return
	}
	rec := groupRecord{first: g.first, due: g.due.UnixMilli(), since: g.since, owner: g.owner, gone: g.gone}
	tx.set(g.key, rec.encode())
}

// delivery is a message that was delivered and not settled, wherever the
// subscription keeps it: as a single entry or in a group.
type delivery struct {
	id      streamid.ID
	waiting bool
	attempt int
	owner   string

	single *pending
	group  *group
	place  int // in the group
}

func (p *pending) delivery() delivery {
	return delivery{id: p.id, waiting: p.waiting, attempt: p.attempt, owner: p.owner, single: p}
}

func (g *group) delivery(place int) delivery {
	return delivery{id: g.members[place].id, attempt: 1, owner: g.owner, group: g, place: place}
}

// copied reports whether the message is no matter of the topic's.
func (d delivery) copied() bool { return d.single != nil && d.single.copied }

// find returns what was delivered and not settled.
func (s *subscription) find(id streamid.ID) (delivery, bool) {
	if p := s.pending[id]; p != nil {
		return p.delivery(), true
	}
	if g := s.groupOf(id); g != nil {
		if place, ok := g.find(id); ok {
			return g.delivery(place), true
		}
	}
	return delivery{}, false
}

// heldBy returns what a consumer holds, in topic order.
func (s *subscription) heldBy(consumer string) []delivery {
	var held []delivery
	for _, p := range s.pending {
		if !p.waiting && p.owner == consumer {
			held = append(held, p.delivery())
		}
	}
	for _, g := range s.groups {
		if g.owner != consumer {
			continue
		}
		for place, gone := range g.gone {
			if !gone {
				held = append(held, g.delivery(place))
			}
		}
	}
	slices.SortFunc(held, func(a, b delivery) int { return a.id.Compare(b.id) })
	return held
}

// single returns the delivery's own entry, which it gets if it has none. Then
// the caller must write it.
func (s *subscription) single(tx *transaction, d delivery) *pending {
	if d.single != nil {
		return d.single
	}
	p := &pending{attempt: d.attempt, size: int(d.group.members[d.place].size), owner: d.owner, since: d.group.since}
	p.deadline = deadline{due: d.group.due, id: d.id}
	s.leave(tx, d.group, d.place)
	s.add(p)
	return p
}

// end ends a delivery.
func (s *subscription) end(tx *transaction, d delivery) {
	if d.single != nil {
		s.remove(d.single)
		tx.deletePending(s, d.single)
		return
	}
	s.hold(d.owner, -1)
	s.leave(tx, d.group, d.place)
}
