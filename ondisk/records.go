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

	// What follows is not in format 1.

	copied bool  // the message is in a record of its own, see tagCopy
	since  int64 // when it was leased or began to wait, ms since 1970; 0 if unknown
}

const (
	pendingWaiting = 1 << iota
	pendingCopied
	pendingFlags // all flags are below
)

// groupRecord is messages that were delivered by one Fetch, for the first time.
type groupRecord struct {
	first uint64 // number of the first message; those of the others follow
	due   int64  // end of the lease, ms since 1970
	owner string
	gone  []bool // of each message: settled, or pending by itself

	// What follows is not in format 1.

	since int64 // when they were leased, ms since 1970; 0 if unknown
}

// deadRecord is a dead letter; message is the stored form of the message.
type deadRecord struct {
	attempt uint64
	at      int64 // ms since 1970
	reason  string
	message []byte

	// What follows is not in format 1.

	// place is where it stands among the subscription's dead letters, in the
	// order in which they died.
	place streamid.ID
	owner string // of the last delivery
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
	b := make([]byte, 0, 32+len(r.owner)+len(r.reason))
	b = append(b, format2, flag(r.waiting)*pendingWaiting|flag(r.copied)*pendingCopied)
	for _, n := range []uint64{r.attempt, uint64(max(0, r.due)), uint64(max(0, r.since)), r.size} {
		b = binary.AppendUvarint(b, n)
	}
	b = appendString(b, r.owner)
	return appendString(b, r.reason)
}

func (r *pendingRecord) decode(b []byte) error {
	d, format := decodeUpTo(b, format2)
	flags := d.byte()
	if flags >= pendingFlags || format == format1 && flags > pendingWaiting {
		d.fail()
	}
	*r = pendingRecord{
		waiting: flags&pendingWaiting > 0, copied: flags&pendingCopied > 0,
		attempt: d.number(), due: int64(d.number()),
	}
	if format != format1 {
		r.since = int64(d.number())
	}
	r.size, r.owner, r.reason = d.number(), d.string(), d.string()
	return d.finish()
}

func (r *groupRecord) last() uint64 { return r.first + uint64(len(r.gone)) - 1 }

// encode writes a bit for each message, the lowest of a byte first.
func (r *groupRecord) encode() []byte {
	b := make([]byte, 0, 32+len(r.owner)+len(r.gone)/8)
	b = binary.AppendUvarint(append(b, format2), r.first)
	b = binary.AppendUvarint(b, uint64(max(0, r.due)))
	b = binary.AppendUvarint(b, uint64(max(0, r.since)))
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
	d, format := decodeUpTo(b, format2)
	*r = groupRecord{first: d.number(), due: int64(d.number())}
	if format != format1 {
		r.since = int64(d.number())
	}
	r.owner = d.string()
	count := d.number()
	bits := d.rest()
	if (count+7)/8 != uint64(len(bits)) {
		d.fail()
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
		d.fail()
	}
	return d.err
}

func (r *deadRecord) encode() []byte {
	b := make([]byte, 0, 64+len(r.owner)+len(r.reason)+len(r.message))
	b = binary.AppendUvarint(append(b, format2), r.attempt)
	b = binary.AppendUvarint(b, uint64(max(0, r.at)))
	b = r.place.Append(b)
	b = appendString(b, r.owner)
	b = appendString(b, r.reason)
	return append(b, r.message...)
}

// decode leaves the message in b.
func (r *deadRecord) decode(b []byte) error {
	d, format := decodeUpTo(b, format2)
	*r = deadRecord{attempt: d.number(), at: int64(d.number())}
	// Those of format 1 stand where their time puts them, before all others.
	r.place = streamid.ID{Millis: uint64(r.at)}
	if format != format1 {
		r.place, r.owner = d.id(), d.string()
	}
	r.reason, r.message = d.string(), d.rest()
	return d.finish()
}
