package wire

import (
	"time"

	"github.com/beckmq/beck"
)

// Missed tells a listener that something may not have come.
const Missed = "event: gap\ndata: {}\n\n"

// Ready is the data of the first event of a stream of broadcasts or requests.
type Ready struct {
	// ID is that of a stream of requests, by which it can be ended.
	ID string `json:"id,omitempty"`
}

// AppendReady adds the event that says that nothing is missed from now on to b.
func AppendReady(b []byte, id string) []byte {
	b = append(b, "event: ready\ndata: {"...)
	if id != "" {
		b = append(b, `"id":`...)
		b = appendString(b, id)
	}
	return append(b, "}\n\n"...)
}

// BroadcastAnswer says how many have got a broadcast; -1 if nobody can tell.
type BroadcastAnswer struct {
	Listeners int `json:"listeners"`
}

// AppendBroadcast adds what was broadcast as a server-sent event to b.
func AppendBroadcast(b []byte, subject string, body []byte, at time.Time) []byte {
	b = append(b, `data: {"subject":`...)
	b = appendString(b, subject)
	b = appendTime(b, `,"time":"`, at)
	b = append(b, ',')
	b = appendBody(b, body)
	return append(b, "}\n\n"...)
}

// DecodeBroadcast reads the data of such an event.
func DecodeBroadcast(text []byte) (subject string, body []byte, err error) {
	var m beck.Message
	fields := messageFields{into: &m}
	err = decodeObject(text, "a broadcast", func(s *scanner, name string) error {
		if name != "subject" {
			return s.messageField(&fields, []byte(name))
		}
		value, err := s.text()
		subject = string(value)
		return err
	})
	return subject, m.Body, err
}

// Request is a request as a replier reads it.
type Request struct {
	Message beck.Message // its ID is that of the request
	Timeout time.Duration
}

// AppendRequest adds a request as a server-sent event to b. The id is the one to
// answer to, and timeout how long somebody waits for the answer.
func AppendRequest(b []byte, id string, m *beck.Message, timeout time.Duration) []byte {
	asked := *m
	asked.ID, asked.Topic = id, ""
	b = append(b, "data: "...)
	b = AppendMessage(b, &asked)
	b = append(b[:len(b)-1], `,"timeout":"`...)
	b = append(b, timeout.String()...)
	return append(b, "\"}\n\n"...)
}

// DecodeRequest reads the data of such an event.
func DecodeRequest(text []byte) (*Request, error) {
	var r Request
	fields := messageFields{into: &r.Message}
	err := decodeObject(text, "a request", func(s *scanner, name string) (err error) {
		if name != "timeout" {
			return s.messageField(&fields, []byte(name))
		}
		r.Timeout, err = s.duration()
		return err
	})
	if err != nil {
		return nil, err
	}
	return &r, nil
}
