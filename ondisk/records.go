package ondisk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// Every record begins with a byte for its format. So far there is one.
const format1 = 1

var errRecord = errors.New("the record can't be read")

// globalRecord is about the whole directory.
type globalRecord struct {
	// commits counts the batches written.
	commits uint64
	// floor is behind the ids of all deleted topics: a topic that is made again
	// gives out higher ones.
	floor streamid.ID
}

// topicRecord is the state of a topic. Messages are numbered from 1, in order
// and without holes: those stored are trimmed+1 to appended.
type topicRecord struct {
	last     streamid.ID // given out, or the floor for the first one
	appended uint64
	trimmed  uint64
}

func (r *topicRecord) length() int64 { return int64(r.appended - r.trimmed) }

// lastID is the newest id given out, empty if none.
func (r *topicRecord) lastID() string {
	if r.appended == 0 {
		return ""
	}
	return r.last.String()
}

// subscriptionRecord is the state of a subscription, but for its pending
// messages.
type subscriptionRecord struct {
	cursor    streamid.ID // delivered so far, or where it began
	delivered uint64      // number of the last message up to the cursor
	lease     time.Duration
	dead      uint64 // dead letters kept
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

func (r *topicRecord) encode() []byte {
	b := r.last.Append([]byte{format1})
	b = binary.AppendUvarint(b, r.appended)
	return binary.AppendUvarint(b, r.trimmed)
}

func (r *topicRecord) decode(b []byte) error {
	d := decode(b)
	*r = topicRecord{last: d.id(), appended: d.number(), trimmed: d.number()}
	if r.trimmed > r.appended {
		d.err = errRecord
	}
	return d.finish()
}

func (r *subscriptionRecord) encode() []byte {
	b := r.cursor.Append([]byte{format1})
	b = binary.AppendUvarint(b, r.delivered)
	b = binary.AppendUvarint(b, uint64(r.lease))
	return binary.AppendUvarint(b, r.dead)
}

func (r *subscriptionRecord) decode(b []byte) error {
	d := decode(b)
	*r = subscriptionRecord{cursor: d.id(), delivered: d.number(), lease: time.Duration(d.number()), dead: d.number()}
	if r.lease <= 0 {
		d.err = errRecord
	}
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

func flag(set bool) byte {
	if set {
		return 1
	}
	return 0
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decoder reads a record. After the first error it returns zeroes.
type decoder struct {
	b   []byte
	err error
}

func decode(b []byte) decoder {
	d := decoder{b: b}
	if format := d.byte(); d.err == nil && format != format1 {
		d.err = fmt.Errorf("%w: record format %d, this program knows %d", driver.ErrVersion, format, format1)
	}
	return d
}

func (d *decoder) take(n uint64) []byte {
	if d.err == nil && n > uint64(len(d.b)) {
		d.err = errRecord
	}
	if d.err != nil {
		return nil
	}
	taken := d.b[:n:n]
	d.b = d.b[n:]
	return taken
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) flag() bool {
	b := d.byte()
	if b > 1 {
		d.err = errRecord
	}
	return b == 1
}

func (d *decoder) number() uint64 {
	n, size := binary.Uvarint(d.b)
	if size <= 0 || n > math.MaxInt64 {
		d.err = errRecord
	}
	if d.err != nil {
		return 0
	}
	d.b = d.b[size:]
	return n
}

func (d *decoder) id() streamid.ID {
	if b := d.take(streamid.Size); b != nil {
		return streamid.FromBytes(b)
	}
	return streamid.ID{}
}

func (d *decoder) string() string { return string(d.take(d.number())) }

// rest takes all that is left.
func (d *decoder) rest() []byte { return d.take(uint64(len(d.b))) }

// finish returns what was wrong, be it bytes left over.
func (d *decoder) finish() error {
	if d.err == nil && len(d.b) > 0 {
		d.err = errRecord
	}
	return d.err
}
