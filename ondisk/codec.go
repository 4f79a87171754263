package ondisk

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

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
	d, _ := decodeUpTo(b, format1)
	return d
}

// decodeUpTo begins to read a record that may have any format up to newest.
func decodeUpTo(b []byte, newest byte) (d decoder, format byte) {
	d.b = b
	format = d.byte()
	switch {
	case d.err == nil && format == 0:
		d.fail()
	case d.err == nil && format > newest:
		d.err = fmt.Errorf("%w: record format %d, this program knows %d", driver.ErrVersion, format, newest)
	}
	return d, format
}

func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail()
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
		d.fail()
	}
	return b == 1
}

func (d *decoder) number() uint64 {
	n, size := binary.Uvarint(d.b)
	if size <= 0 || n > math.MaxInt64 {
		d.fail()
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
	if len(d.b) > 0 {
		d.fail()
	}
	return d.err
}

// fail says that the record can't be right, unless something was wrong before.
func (d *decoder) fail() {
	if d.err == nil {
		d.err = errRecord
	}
}
