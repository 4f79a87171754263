package ondisk

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// rank is where an entry stands among those of its state: by when it is due, by
// its place among the dead letters, or, if at is zero, by its id alone.
type rank struct{ at, id streamid.ID }

func (r rank) compare(other rank) int { return cmp.Or(r.at.Compare(other.at), r.id.Compare(other.id)) }

// dueRank is a time as the first part of a rank.
func dueRank(due time.Time) streamid.ID { return streamid.ID{Millis: uint64(max(0, due.UnixNano()))} }

// rank is that of a delivery.
func (d delivery) rank() rank {
	if d.waiting {
		return rank{dueRank(d.single.due), d.id}
	}
	return rank{id: d.id}
}

// still is the delivery with a single entry of its own that changes no more.
func (d delivery) still() delivery {
	p := pending{owner: d.owner, attempt: d.attempt}
	if d.single != nil {
		p = *d.single
	} else {
		p.due, p.since = d.group.due, d.group.since
	}
	d.single, d.group = &p, nil
	return d
}

// inState returns the first deliveries behind a rank that are held, or that wait,
// at most limit.
func (s *subscription) inState(state driver.State, behind rank, limit int) []delivery {
	var first []delivery
	inOrder := func(a, b delivery) int { return a.rank().compare(b.rank()) }
	add := func(d delivery) {
		if d.rank().compare(behind) <= 0 {
			return
		}
		if first = append(first, d); len(first) >= 4*limit {
			slices.SortFunc(first, inOrder)
			first = first[:limit]
			// Whatever comes behind these is of no interest.
		}
	}
	for _, p := range s.pending {
		if p.waiting == (state == driver.Waiting) {
			add(p.delivery())
		}
	}
	if state == driver.Held {
		s.groupedBehind(behind.id, limit, add)
	}
	slices.SortFunc(first, inOrder)
	return first[:min(limit, len(first))]
}

// groupedBehind visits the first messages of groups behind an id.
func (s *subscription) groupedBehind(id streamid.ID, limit int, visit func(delivery)) {
	from, _ := slices.BinarySearchFunc(s.groups, id, func(g *group, id streamid.ID) int { return g.id.Compare(id) })
	for _, g := range s.groups[max(0, from-1):] {
		for place, gone := range g.gone {
			if gone || g.members[place].id.Compare(id) <= 0 {
				continue
			}
			if limit--; limit < 0 {
				return
			}
			visit(g.delivery(place))
		}
	}
}

// seenPlaces remembers where the entries stood that were the last ones of a Peek,
// so that the next Peek can go on behind their places should they have gone. It
// need not remember for ever.
type seenPlaces struct {
	mu     sync.Mutex
	places map[seenPlace]streamid.ID
}

type seenPlace struct {
	state driver.State
	id    streamid.ID
}

// maxSeen bounds what is remembered for a subscription.
const maxSeen = 256

func (s *seenPlaces) add(state driver.State, r rank) {
	if r.at.IsZero() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.places == nil || len(s.places) >= maxSeen {
		s.places = map[seenPlace]streamid.ID{}
	}
	s.places[seenPlace{state, r.id}] = r.at
}

// find returns the zero rank if it is not known.
func (s *seenPlaces) find(state driver.State, id streamid.ID) rank {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, known := s.places[seenPlace{state, id}]
	if !known {
		return rank{}
	}
	return rank{at, id}
}
