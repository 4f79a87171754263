package ondisk

import (
	"slices"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// run is a part of a topic without holes.
type run struct {
	first    uint64 // number of the first message; those of the others follow
	members  []member
	messages []driver.Message // as many
	full     bool             // there was no room for more
}

// member is what a subscription keeps of a message.
type member struct {
	id   streamid.ID
	size uint32
}

// last is the number of the last message.
func (r *run) last() uint64 { return r.first + uint64(len(r.members)) - 1 }

// behind is what follows the message with a number; follows is false if there is
// a gap between.
func (r *run) behind(number uint64) (members []member, messages []driver.Message, follows bool) {
	if len(r.members) == 0 || r.last() <= number {
		return nil, nil, true
	}
	if r.first > number+1 {
		return nil, nil, false
	}
	skip := number + 1 - r.first
	return r.members[skip:], r.messages[skip:], true
}

// gathering makes a run of messages, whose texts and bodies it copies into few
// pieces of memory. That is faster than one for each.
type gathering struct {
	run
	bytes int
	ids   idTexts
	slab  []byte // room for bodies
}

// begin makes room for as many messages as there may be from the first one on.
func (g *gathering) begin(first []byte, appended uint64, limit int) {
	// What can't be read is found out by add.
	g.first, _ = messageNumber(first)
	most := int(min(uint64(limit), appended-min(appended, g.first)+1))
	g.members = make([]member, 0, most)
	g.messages = make([]driver.Message, 0, most)
	g.ids.grow(most)
}

// add copies the next message and returns its number.
func (g *gathering) add(id streamid.ID, stored []byte) (number uint64, err error) {
	g.members = append(g.members, member{id: id, size: uint32(len(stored))})
	g.messages = append(g.messages, driver.Message{Time: id.Time(), ID: g.ids.add(id)})
	g.bytes += len(stored)
	m := &g.messages[len(g.messages)-1]
	number, err = decodeContent(m, stored)
	m.Body = g.keep(m.Body)
	return number, err
}

// A message that is kept keeps a slab from being freed, so that slabs are small,
// and large bodies have their own memory.
const (
	slabSize  = 32 << 10
	smallBody = 4 << 10
)

// keep returns a copy of a body.
func (g *gathering) keep(body []byte) []byte {
	if len(body) > smallBody {
		return slices.Clone(body)
	}
	if g.slab == nil || len(body) > cap(g.slab)-len(g.slab) {
		// The others are perhaps as large as this one.
		left := cap(g.messages) - len(g.messages) + 1
		g.slab = make([]byte, 0, min(slabSize, left*len(body)))
	}
	start := len(g.slab)
	g.slab = append(g.slab, body...)
	return g.slab[start:len(g.slab):len(g.slab)]
}
