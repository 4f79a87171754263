package ondisk

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/beckmq/beck/internal/streamid"
)

// Every record begins with a byte for its format: 1 unless a later one is named
// with the record. Older formats can be read for ever.
const (
	format1 = 1
	format2 = 2
)

var errRecord = errors.New("the record can't be read")

// globalRecord is about the whole directory.
type globalRecord struct {
	// commits counts the batches written.
	commits uint64
	// floor is behind the ids of all deleted topics: a topic that is made again
	// gives out higher ones.
	floor streamid.ID
}

// pendingRecord is a message that was delivered and not yet settled.
type pendingRecord struct {
	waiting bool // for its retry; otherwise it is leased to owner
	attempt uint64
	due     int64 // end of the lease or of the delay, ms since 1970
	size    uint64
	owner   string
	reason  string // of the last retry
}

// groupRecord is messages that were delivered by one Fetch, for the first time.
type groupRecord struct {
	first uint64 // number of the first message; those of the others follow
	due   int64  // end of the lease, ms since 1970
	owner string
	gone  []bool // of each message: settled, or pending by itself
}

// deadRecord is a dead letter; message is the stored form of the message.
type deadRecord struct {
	attempt uint64
	at      int64 // ms since 1970
	reason  string
	message []byte
}

func (r *globalRecord) encode() []byte {
	b := binary.AppendUvarint([]byte{format1}, r.commits)
	return r.floor.Append(b)
}

func (r *globalRecord) decode(b []byte) error {
	d := decode(b)
	*r = globalRecord{commits: d.number(), floor: d.id()}
	return d.finish()
}

func (r *pendingRecord) encode() []byte {
	b := make([]byte, 0, 24+len(r.owner)+len(r.reason))
	b = append(b, format1, flag(r.waiting))
	b = binary.AppendUvarint(b, r.attempt)
	b = binary.AppendUvarint(b, uint64(max(0, r.due)))
	b = binary.AppendUvarint(b, r.size)
	b = appendString(b, r.owner)
	return appendString(b, r.reason)
}

func (r *pendingRecord) decode(b []byte) error {
	d := decode(b)
	*r = pendingRecord{
		waiting: d.flag(), attempt: d.number(), due: int64(d.number()), size: d.number(),
		owner: d.string(), reason: d.string(),
	}
	return d.finish()
}

func (r *groupRecord) last() uint64 { return r.first + uint64(len(r.gone)) - 1 }

// encode writes a bit for each message, the lowest of a byte first.
func (r *groupRecord) encode() []byte {
	b := make([]byte, 0, 32+len(r.owner)+len(r.gone)/8)
	b = binary.AppendUvarint(append(b, format1), r.first)
	b = binary.AppendUvarint(b, uint64(max(0, r.due)))
	b = appendString(b, r.owner)
	b = binary.AppendUvarint(b, uint64(len(r.gone)))
	for some := range slices.Chunk(r.gone, 8) {
		var bits byte
		for i, gone := range some {
			bits |= flag(gone) << i
		}
		b = append(b, bits)
	}
	return b
}

func (r *groupRecord) decode(b []byte) error {
	d := decode(b)
	*r = groupRecord{first: d.number(), due: int64(d.number()), owner: d.string()}
	count := d.number()
	bits := d.rest()
	if d.err == nil && (count+7)/8 != uint64(len(bits)) {
		d.err = errRecord
	}
	if d.err != nil {
		return d.err
	}
	r.gone = make([]bool, count)
	for i := range r.gone {
		r.gone[i] = bits[i/8]>>(i%8)&1 == 1
	}
	// A group that has no message left is not stored, and no bit is left over.
	if !slices.Contains(r.gone, false) || count%8 > 0 && bits[len(bits)-1]>>(count%8) > 0 {
		d.err = errRecord
	}
	return d.err
}

func (r *deadRecord) encode() []byte {
	b := make([]byte, 0, 32+len(r.reason)+len(r.message))
	b = binary.AppendUvarint(append(b, format1), r.attempt)
	b = binary.AppendUvarint(b, uint64(max(0, r.at)))
	b = appendString(b, r.reason)
	return append(b, r.message...)
}

func (r *deadRecord) decode(b []byte) error {
	d := decode(b)
	*r = deadRecord{attempt: d.number(), at: int64(d.number()), reason: d.string(), message: d.rest()}
	return d.finish()
}
