package ondisk

import (
	"slices"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// run is a part of a topic.
type run struct {
	first    uint64 // number of the first message; those of the others follow
	holes    uint64 // that are left out between the messages; only Read wants such a run
	members  []member
	messages []driver.Message // as many
	full     bool             // there may be more behind it
}

// member is what a subscription keeps of a message.
type member struct {
	id   streamid.ID
	size uint32
}

// last is the number of the last message.
func (r *run) last() uint64 { return r.first + r.holes + uint64(len(r.members)) - 1 }

// behind is the part of a run without holes that follows the message with a
// number. All between may be holes up to dense; follows is false if there is more
// between.
func (r *run) behind(number, dense uint64) (rest run, follows bool) {
	if len(r.members) == 0 || r.last() <= number {
		return run{first: number + 1}, true
	}
	if r.first > max(number, dense)+1 {
		return run{}, false
	}
	skip := max(number+1, r.first) - r.first
	return run{first: r.first + skip, members: r.members[skip:], messages: r.messages[skip:]}, true
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

// dropLast takes back the last add.
func (g *gathering) dropLast() {
	n := len(g.members) - 1
	g.bytes -= int(g.members[n].size)
	g.members, g.messages = g.members[:n], g.messages[:n]
}

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
