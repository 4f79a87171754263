package ondisk

import (
	"encoding/binary"
	"time"

	"github.com/beckmq/beck/internal/streamid"
)

// topicRecord is the state of a topic. Messages are numbered from 1, in order.
// Those stored are trimmed+1 to appended, but for holes: messages that were
// removed one by one, as a queue's are.
type topicRecord struct {
	last     streamid.ID // given out, or the floor for the first one
	appended uint64
	trimmed  uint64

	// What follows is not in format 1.

	holes uint64 // how many messages between trimmed and appended are not there
	dense uint64 // behind this number there is no hole
	// bytes is the size of all stored messages, if they were counted. They are
	// not yet in a topic that was written by a program of format 1.
	bytes   int64
	counted bool
	// dropped counts the messages that were removed by the topic's bounds though
	// a subscription needed them.
	dropped uint64
	// delayed is how many messages wait for their time, and delaySeq how many
	// ever did.
	delayed, delaySeq uint64
	// remembered is how many deduplication ids are kept.
	remembered uint64
}

func (r *topicRecord) length() int64 { return int64(r.appended - r.trimmed - r.holes) }

// lastID is the newest id given out, empty if none.
func (r *topicRecord) lastID() string {
	if r.appended == 0 {
		return ""
	}
	return r.last.String()
}

func (r *topicRecord) encode() []byte {
	b := make([]byte, 0, 64)
	b = r.last.Append(append(b, format2))
	bytes := uint64(0)
	if r.counted {
		bytes = uint64(max(0, r.bytes))
	}
	for _, n := range []uint64{r.appended, r.trimmed, r.holes, r.dense} {
		b = binary.AppendUvarint(b, n)
	}
	b = append(b, flag(r.counted))
	for _, n := range []uint64{bytes, r.dropped, r.delayed, r.delaySeq, r.remembered} {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func (r *topicRecord) decode(b []byte) error {
	d, format := decodeUpTo(b, format2)
	*r = topicRecord{last: d.id(), appended: d.number(), trimmed: d.number()}
	if format == format1 {
		r.counted = r.appended == r.trimmed
	} else {
		r.holes, r.dense = d.number(), d.number()
		r.counted = d.flag()
		r.bytes, r.dropped = int64(d.number()), d.number()
		r.delayed, r.delaySeq, r.remembered = d.number(), d.number(), d.number()
	}
	if r.trimmed > r.appended || r.holes > r.appended-r.trimmed || r.dense > r.appended || r.delayed > r.delaySeq {
		d.fail()
	}
	return d.finish()
}

// subscriptionRecord is the state of a subscription, but for its pending
// messages.
type subscriptionRecord struct {
	cursor    streamid.ID // delivered so far, or where it began
	delivered uint64      // number of the last message up to the cursor
	lease     time.Duration
	dead      uint64 // dead letters kept

	// What follows is not in format 1.

	queue   bool // what it acknowledges is removed from the topic
	paused  bool
	expires time.Duration // without a Fetch for so long it is deleted; 0 for never
	read    int64         // when it was last fetched from, ms since 1970, about
	lost    uint64        // messages that it needed and that were removed
	told    uint64        // of them, that a Fetch has told of
}

const (
	subQueue = 1 << iota
	subPaused
	subFlags // all flags are below
)

func (r *subscriptionRecord) encode() []byte {
	b := make([]byte, 0, 64)
	b = r.cursor.Append(append(b, format2))
	for _, n := range []uint64{r.delivered, uint64(r.lease), r.dead} {
		b = binary.AppendUvarint(b, n)
	}
	b = append(b, flag(r.queue)*subQueue|flag(r.paused)*subPaused)
	for _, n := range []uint64{uint64(r.expires), uint64(max(0, r.read)), r.lost, r.told} {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func (r *subscriptionRecord) decode(b []byte) error {
	d, format := decodeUpTo(b, format2)
	*r = subscriptionRecord{cursor: d.id(), delivered: d.number(), lease: time.Duration(d.number()), dead: d.number()}
	if format != format1 {
		flags := d.byte()
		if flags >= subFlags {
			d.fail()
		}
		r.queue, r.paused = flags&subQueue > 0, flags&subPaused > 0
		r.expires, r.read = time.Duration(d.number()), int64(d.number())
		r.lost, r.told = d.number(), d.number()
	}
	if r.lease <= 0 || r.told > r.lost {
		d.fail()
	}
	return d.finish()
}
