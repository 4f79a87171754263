package wire

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strconv"
	"time"

	"github.com/beckmq/beck"
)

// DecodeLines reads NDJSON: a message to publish on each line, as AppendLine
// writes it; empty lines are left out. Fields of a received message that can't
// be published (id, topic, time, attempt) are left out too, so that what a
// follower printed can be published again; any other field is an error. There
// are at most max messages.
//
// The text belongs to the messages from then on: their bodies point into it.
func DecodeLines(text []byte, max int) ([]beck.Message, error) {
	return DecodeLinesWithin(text, max, func(int) error { return nil })
}

// DecodeLinesWithin is DecodeLines with bounded memory: before it takes memory
// beside the text it asks take for it, in bytes, and returns what that refuses
// with.
func DecodeLinesWithin(text []byte, max int, take func(bytes int) error) ([]beck.Message, error) {
	var messages []beck.Message
	for number := 1; len(text) > 0; number++ {
		line := text
		if end := bytes.IndexByte(text, '\n'); end >= 0 {
			line, text = text[:end], text[end+1:]
		} else {
			text = nil
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if len(messages) == max {
			return nil, NewProblem(CodeTooLarge, "%v: line %d: more than the %d messages that may be published at once", beck.ErrTooLarge, number, max)
		}
		var m beck.Message
		err := take(messageCost)
		if err == nil {
			err = decodeLine(line, &messageFields{into: &m, strict: true, take: take})
		}
		if syntax, ok := errors.AsType[*SyntaxError](err); ok {
			err = NewProblem(CodeMalformed, "line %d, %v", number, syntax)
		}
		if errors.Is(err, errHeaders) {
			err = NewProblem(CodeTooLarge, "%v: line %d: the headers have more than the %d bytes, or are more than the %d, allowed", beck.ErrTooLarge, number, beck.MaxHeaderBytes, MaxHeaders)
		}
		if err != nil {
			return nil, err
		}
		if m.Body == nil {
			return nil, NewProblem(CodeInvalidMessage, `%v: line %d has neither "body" nor "body_base64" (an empty body is "body":"")`, beck.ErrMessage, number)
		}
		messages = append(messages, m)
	}
	return messages, nil
}

// What a message and a header cost in memory, beside what their text has.
const (
	messageCost = 256
	headerCost  = 128
)

// MaxHeaders is how many headers a message may have in a request.
const MaxHeaders = 1000

// errHeaders is for headers beyond their limits, of which no more are read.
var errHeaders = errors.New("too many headers")

func decodeLine(line []byte, fields *messageFields) error {
	s := scanner{b: line}
	if err := s.message(fields); err != nil {
		return err
	}
	return s.end()
}

// messageFields is where the fields of a message object go.
type messageFields struct {
	into   *beck.Message
	strict bool // a message to publish: unknown fields are errors, received ones left out
	seen   uint
	take   func(bytes int) error // asked for memory, if strict
}

// The fields of a message object, as bits of messageFields.seen.
const (
	fieldID = 1 << iota
	fieldTopic
	fieldKey
	fieldHeaders
	fieldTime
	fieldAttempt
	fieldBody
	// The next are those of a message to publish.
	fieldDelay
	fieldAt
	fieldDedupe
	fieldDurability
)

// message reads a message object.
func (s *scanner) message(f *messageFields) error {
	return s.object(func(name []byte) error { return s.messageField(f, name) })
}

func (s *scanner) messageField(f *messageFields, name []byte) error {
	at := s.i
	var field uint
	switch string(name) {
	case "id":
		field = fieldID
	case "topic":
		field = fieldTopic
	case "key":
		field = fieldKey
	case "headers":
		field = fieldHeaders
	case "time":
		field = fieldTime
	case "attempt":
		field = fieldAttempt
	case "body", "body_base64":
		field = fieldBody
	case "delay":
		field = fieldDelay
	case "at":
		field = fieldAt
	case "dedupe":
		field = fieldDedupe
	case "durability":
		field = fieldDurability
	}
	if field == 0 || !f.strict && field >= fieldDelay {
		if f.strict {
			return s.wrong(at, "unknown field %.60q", name)
		}
		return s.skip()
	}
	if f.seen&field != 0 {
		return s.wrong(at, "%q is given twice", name)
	}
	if s.null() {
		return nil
	}
	f.seen |= field
	if f.strict && field&(fieldID|fieldTopic|fieldTime|fieldAttempt) != 0 {
		return s.skip()
	}
	return s.messageValue(f, field, name)
}

func (s *scanner) messageValue(f *messageFields, field uint, name []byte) error {
	m := f.into
	s.space()
	at := s.i
	if field == fieldHeaders {
		var err error
		m.Headers, err = s.headers(f)
		return err
	}
	if field == fieldAttempt {
		text, err := s.number()
		if err == nil {
			m.Attempt, err = strconv.Atoi(string(text))
		}
		return err
	}
	text, err := s.text()
	if err != nil {
		return s.wrong(at, "%q: %s", name, whatOf(err))
	}
	if f.strict && (field != fieldBody || len(name) > len("body")) {
		if err := f.take(len(text)); err != nil { // of which a copy is made
			return err
		}
	}
	if f.strict && field == fieldDedupe && len(text) == 0 {
		return s.wrong(at, "%q is empty; leave it away, or give an id", name)
	}
	switch field {
	case fieldID:
		m.ID = string(text)
	case fieldTopic:
		m.Topic = string(text)
	case fieldKey:
		m.Key = string(text)
	case fieldTime:
		m.Time, err = s.time(at, name, text)
	case fieldAt:
		if m.At, err = s.time(at, name, text); err == nil && m.At.IsZero() {
			return s.wrong(at, "%q lies in the past", name) // the zero time would mean none
		}
	case fieldDelay:
		m.Delay, err = time.ParseDuration(string(text))
		if err != nil {
			return s.wrong(at, `%q is not a duration such as "20s" or "250ms"`, name)
		}
	case fieldDedupe:
		m.DedupeID = string(text)
	case fieldDurability:
		d, bad := ParseDurability(string(text))
		if bad != nil {
			return s.wrong(at, "%q: %v", name, bad)
		}
		m.Durability = &d
	case fieldBody:
		m.Body = text
		if len(name) > len("body") {
			m.Body, err = base64.StdEncoding.AppendDecode([]byte{}, text)
			if err != nil {
				return s.wrong(at, "%q is not base64: %v", name, err)
			}
		}
	}
	return err
}

// time reads the text of a field that is a time.
func (s *scanner) time(at int, name, text []byte) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, string(text))
	if err != nil {
		return t, s.wrong(at, "%q is not a time as RFC 3339 has it, such as 2026-11-21T08:00:00Z", name)
	}
	return t, nil
}

func whatOf(err error) string {
	if syntax, ok := err.(*SyntaxError); ok {
		return syntax.What
	}
	return err.Error()
}

func (s *scanner) headers(f *messageFields) (map[string]string, error) {
	headers := map[string]string{}
	size := 0
	err := s.object(func(name []byte) error {
		s.space()
		at := s.i
		value, err := s.text()
		if err != nil {
			return s.wrong(at, "header %.60q: %s", name, whatOf(err))
		}
		if f.strict {
			// Headers of a few bytes each would take many times their size.
			size += len(name) + len(value)
			if len(headers) == MaxHeaders || size > beck.MaxHeaderBytes {
				return errHeaders
			}
			if err := f.take(headerCost + len(name) + len(value)); err != nil {
				return err
			}
		}
		if _, twice := headers[string(name)]; twice {
			return s.wrong(at, "header %.60q is given twice", name)
		}
		headers[string(name)] = string(value)
		return nil
	})
	if len(headers) == 0 {
		headers = nil
	}
	return headers, err
}
