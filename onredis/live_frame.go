package onredis

import (
	"encoding/binary"
	"errors"
	"time"
)

// What goes from inbox to inbox is a letter for its kind, then numbers as unsigned
// varints (LEB128), and texts as such a number for their length and their bytes.
// docs/redis-layout.md tells it to others.
//
//	q  number, ms left, service, inbox for the answer, key, count of headers,
//	   name and value of each; the rest is the body
//	a  number; the rest is the body of the answer
//	f  number; the rest is the text of the replier's error
//	n  number: nobody serves here any more
const (
	frameRequest = 'q'
	frameAnswer  = 'a'
	frameFailure = 'f'
	frameNobody  = 'n'
)

// asking is a request on its way.
type asking struct {
	number         uint64
	left           time.Duration
	service, inbox string
	key            string
	headers        map[string]string
	body           []byte
}

func (q *asking) encode() []byte {
	b := make([]byte, 0, len(q.body)+len(q.service)+len(q.inbox)+len(q.key)+64)
	b = append(b, frameRequest)
	b = binary.AppendUvarint(b, q.number)
	b = binary.AppendUvarint(b, uint64(max(1, q.left.Milliseconds())))
	b = appendText(b, q.service)
	b = appendText(b, q.inbox)
	b = appendText(b, q.key)
	b = binary.AppendUvarint(b, uint64(len(q.headers)))
	for name, value := range q.headers {
		b = appendText(b, name)
		b = appendText(b, value)
	}
	return append(b, q.body...)
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func encodeAnswer(kind byte, number uint64, rest []byte) []byte {
	b := make([]byte, 0, len(rest)+binary.MaxVarintLen64+1)
	b = append(b, kind)
	b = binary.AppendUvarint(b, number)
	return append(b, rest...)
}

var errFrame = errors.New("not a request")

// frameReader takes a frame apart. After an error all else is empty.
type frameReader struct {
	rest string
	err  error
}

func (r *frameReader) number() uint64 {
	// A varint is short, so that no more than its beginning is copied.
	n, size := binary.Uvarint([]byte(r.rest[:min(len(r.rest), binary.MaxVarintLen64)]))
	if r.err != nil || size <= 0 {
		r.err, r.rest = errFrame, ""
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *frameReader) text() string {
	n := r.number()
	if r.err != nil || n > uint64(len(r.rest)) {
		r.err, r.rest = errFrame, ""
		return ""
	}
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s
}

// maxLeft bounds what a request claims, so that no time overflows.
const maxLeft = 365 * 24 * time.Hour

// decodeRequest reads what follows the letter of a request. A header comes once.
func decodeRequest(frame string) (asking, error) {
	r := &frameReader{rest: frame}
	q := asking{number: r.number()}
	q.left = time.Duration(min(r.number(), uint64(maxLeft.Milliseconds()))) * time.Millisecond
	q.service, q.inbox, q.key = r.text(), r.text(), r.text()
	count := r.number()
	if count > uint64(len(r.rest)) { // each takes two bytes at least
		return q, errFrame
	}
	for range count {
		if q.headers == nil {
			q.headers = make(map[string]string, min(count, 64))
		}
		name := r.text()
		if _, twice := q.headers[name]; twice {
			return q, errFrame
		}
		q.headers[name] = r.text()
	}
	q.body = append([]byte{}, r.rest...)
	return q, r.err
}
