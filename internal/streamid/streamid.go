// Package streamid is the shape of message ids that both engines use: the
// millisecond in which a message was taken, and a number that tells apart the
// messages of one millisecond.
//
// Redis prints such an id as "1732176000000-42", which does not sort as a
// string. The text of an ID here does: it pads both numbers, to 13 and to 4
// digits, which is enough for all but strange ids, and marks a longer number by
// a letter for its length, since letters sort behind digits:
//
//	1732176000000-0042      the usual
//	1732176000000-a12345    a number of five digits: a; of six: b; …
//
// Redis understands the usual form, too.
package streamid

import (
	"cmp"
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is the number of bytes of an ID's binary form.
const Size = 16

const (
	millisDigits = 13
	seqDigits    = 4
)

// ID is the place of a message in its topic. The zero ID comes before every
// message.
type ID struct {
	Millis uint64 // since 1970
	Seq    uint64
}

// Max comes after every message.
var Max = ID{math.MaxUint64, math.MaxUint64}

// ErrSyntax is returned for a text that is no id.
var ErrSyntax = errors.New("not a message id")

// At returns the first ID that a message taken at t can have.
func At(t time.Time) ID {
	return ID{Millis: uint64(max(0, t.UnixMilli()))}
}

// Time returns when the message was taken.
func (id ID) Time() time.Time {
	return time.UnixMilli(int64(min(id.Millis, math.MaxInt64))).UTC()
}

// IsZero reports whether id comes before every message.
func (id ID) IsZero() bool { return id == ID{} }

// Compare returns -1, 0 or 1 as id comes before, at or after other.
func (id ID) Compare(other ID) int {
	return cmp.Or(cmp.Compare(id.Millis, other.Millis), cmp.Compare(id.Seq, other.Seq))
}

// Next returns the ID right after id, which must not be Max.
func (id ID) Next() ID {
	if id.Seq == math.MaxUint64 {
		return ID{Millis: id.Millis + 1}
	}
	return ID{id.Millis, id.Seq + 1}
}

// String returns the text that sorts.
func (id ID) String() string { return string(id.AppendTo(make([]byte, 0, 24))) }

// AppendTo adds the text that sorts to b.
func (id ID) AppendTo(b []byte) []byte {
	b = appendPadded(b, id.Millis, millisDigits)
	b = append(b, '-')
	return appendPadded(b, id.Seq, seqDigits)
}

// Redis returns the text as Redis prints it.
func (id ID) Redis() string {
	b := make([]byte, 0, 24)
	b = strconv.AppendUint(b, id.Millis, 10)
	b = append(b, '-')
	b = strconv.AppendUint(b, id.Seq, 10)
	return string(b)
}

func appendPadded(b []byte, n uint64, width int) []byte {
	var digits [20]byte
	d := strconv.AppendUint(digits[:0], n, 10)
	if len(d) > width {
		b = append(b, byte('a'+len(d)-width-1))
	}
	for range width - len(d) {
		b = append(b, '0')
	}
	return append(b, d...)
}

// Parse reads either text, the one that sorts or the one that Redis prints.
func Parse(s string) (ID, error) {
	millis, seq, ok := strings.Cut(s, "-")
	if !ok {
		return ID{}, ErrSyntax
	}
	m, ok1 := parsePadded(millis, millisDigits)
	n, ok2 := parsePadded(seq, seqDigits)
	if !ok1 || !ok2 {
		return ID{}, ErrSyntax
	}
	return ID{m, n}, nil
}

func parsePadded(s string, width int) (uint64, bool) {
	if s == "" {
		return 0, false
	}
	if c := s[0]; c >= 'a' && c <= 'z' {
		s = s[1:]
		if len(s) != width+1+int(c-'a') {
			return 0, false
		}
	}
	if s == "" || s[0] == '+' {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}

// Append adds the binary form, which sorts as well, to b.
func (id ID) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, id.Millis)
	return binary.BigEndian.AppendUint64(b, id.Seq)
}

// FromBytes reads the binary form; b must have Size bytes.
func FromBytes(b []byte) ID {
	return ID{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}
