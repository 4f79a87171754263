package ondisk

import (
	"encoding/binary"
	"math/bits"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// A message is stored as
//
//	format, number, key, count of headers, then each header's name and value, body
//
// with a length before each but the body, which takes the rest. The number is
// the message's place in its topic; it shows whether one is missing.

// messageSize is how many bytes appendMessage adds.
func messageSize(m *driver.Message, number uint64) int {
	size := 1 + uvarintSize(number) + stringSize(m.Key) + uvarintSize(uint64(len(m.Headers))) + len(m.Body)
	for name, value := range m.Headers {
		size += stringSize(name) + stringSize(value)
	}
	return size
}

// maxNumberSize is the most that the number adds to a message's size.
const maxNumberSize = binary.MaxVarintLen64

func appendMessage(b []byte, m *driver.Message, number uint64) []byte {
	b = binary.AppendUvarint(append(b, format1), number)
	b = appendString(b, m.Key)
	b = binary.AppendUvarint(b, uint64(len(m.Headers)))
	for name, value := range m.Headers {
		b = appendString(b, name)
		b = appendString(b, value)
	}
	return append(b, m.Body...)
}

// decodeMessage reads a stored message. The body stays in b, all else is copied.
func decodeMessage(b []byte, id streamid.ID) (m driver.Message, number uint64, err error) {
	number, err = decodeContent(&m, b)
	m.ID, m.Time = id.String(), id.Time()
	return m, number, err
}

// decodeContent reads all of a message but what follows from its id.
func decodeContent(m *driver.Message, b []byte) (number uint64, err error) {
	d := decode(b)
	number = d.number()
	m.Key = d.string()
	// A header takes two bytes at least; so many can't be is not made room for.
	if count := d.number(); count > uint64(len(d.b))/2 {
		d.fail()
	} else if count > 0 && d.err == nil {
		m.Headers = make(map[string]string, count)
		for range count {
			name := d.string()
			m.Headers[name] = d.string()
		}
	}
	m.Body = d.rest()
	return number, d.finish()
}

// messageNumber reads only the number of a stored message.
func messageNumber(b []byte) (uint64, error) {
	d := decode(b)
	return d.number(), d.err
}

func stringSize(s string) int { return uvarintSize(uint64(len(s))) + len(s) }

func uvarintSize(n uint64) int { return (bits.Len64(n|1) + 6) / 7 }
