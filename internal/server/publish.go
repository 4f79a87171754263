package server

import (
	"context"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/wire"
)

// The request headers of beck's own, in their canonical form.
const (
	headerKey     = "Beck-Key"
	headerPrefix  = "Beck-Header-"
	headerDelay   = "Beck-Delay"
	headerAt      = "Beck-At"
	headerDedupe  = "Idempotency-Key"
	headerTimeout = "Beck-Timeout"
	headerDurable = "Beck-Durability"
)

// ndjson is the media type of many messages, one on each line.
const ndjson = "application/x-ndjson"

// publish stores one message, the request's body as it is, or many.
func (s *Server) publish(w http.ResponseWriter, r *http.Request) error {
	return s.store(w, r, r.PathValue("topic"), s.bus.Publish)
}

// push is publish for tasks of a queue.
func (s *Server) push(w http.ResponseWriter, r *http.Request) error {
	return s.store(w, r, r.PathValue("queue"), s.bus.Push)
}

func (s *Server) store(w http.ResponseWriter, r *http.Request, name string,
	publish func(ctx context.Context, name string, messages ...beck.Message) ([]string, error)) error {
	if err := beck.CheckName(name); err != nil {
		return err
	}
	of := s.memory.share()
	defer of.giveBack()
	messages, err := s.published(r, of)
	if err != nil {
		return err
	}
	ids, err := publish(r.Context(), name, messages...)
	if err != nil {
		p := *wire.ProblemOf(err)
		p.IDs = ids
		return &p
	}
	s.appended(w, http.StatusCreated, func(b []byte) []byte { return wire.AppendIDs(b, ids) })
	return nil
}

// ofStored are the headers, beside those of every message, of one that is stored.
var ofStored = []string{headerDelay, headerAt, headerDedupe, headerDurable}

func (s *Server) published(r *http.Request, of *share) ([]beck.Message, error) {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err := checkHeaders(r.Header, kind == ndjson, ofStored, nil); err != nil {
		return nil, err
	}
	var messages []beck.Message
	var err error
	if kind == ndjson {
		messages, err = s.lines(r, beck.MaxBatch, of)
	} else {
		messages = make([]beck.Message, 1)
		messages[0], err = s.raw(r, of)
		if err == nil && len(messages[0].Body) == 0 {
			err = fmt.Errorf(`%w: the request has no body; to publish an empty message, send {"body":""} as %s`, beck.ErrMessage, ndjson)
		}
		if err == nil {
			err = delivery(&messages[0], r.Header)
		}
	}
	now := time.Now()
	for i := range messages {
		onItsWay(&messages[i], now)
	}
	return messages, err
}

// lines reads a message from each line.
func (s *Server) lines(r *http.Request, most int, of *share) ([]beck.Message, error) {
	text, err := s.body(r, s.o.MaxRequest, of)
	if err != nil {
		return nil, err
	}
	messages, err := wire.DecodeLinesWithin(text, most, of.take)
	if err == nil && len(messages) == 0 {
		err = fmt.Errorf("%w: the request has no line with a message", beck.ErrMessage)
	}
	return messages, err
}

// raw reads one message from the body and the headers.
func (s *Server) raw(r *http.Request, of *share) (beck.Message, error) {
	m := beck.Message{Key: r.Header.Get(headerKey)}
	for name, values := range r.Header {
		if short, ok := strings.CutPrefix(name, headerPrefix); ok {
			if m.Headers == nil {
				m.Headers = map[string]string{}
			}
			m.Headers[strings.ToLower(short)] = values[0]
		}
	}
	var err error
	m.Body, err = s.body(r, int64(s.bus.MaxBody()), of)
	if m.Body == nil {
		m.Body = []byte{}
	}
	return m, err
}

// delivery reads the headers that say when, how often and how durably a message is
// stored.
func delivery(m *beck.Message, headers http.Header) error {
	var err error
	if text, given := headers[headerDelay]; given {
		if m.Delay, err = time.ParseDuration(text[0]); err != nil {
			return fmt.Errorf("%w: %s %.40q is not a duration such as 20s or 250ms", beck.ErrMessage, headerDelay, text[0])
		}
	}
	if text, given := headers[headerAt]; given {
		if m.At, err = time.Parse(time.RFC3339, text[0]); err != nil {
			return fmt.Errorf("%w: %s %.40q is not a time such as 2026-11-21T08:00:00Z", beck.ErrMessage, headerAt, text[0])
		}
		if m.At.IsZero() { // which would mean that none is given
			return fmt.Errorf("%w: %s %s lies in the past", beck.ErrMessage, headerAt, text[0])
		}
	}
	if text, given := headers[headerDedupe]; given {
		if m.DedupeID = text[0]; m.DedupeID == "" {
			return fmt.Errorf("%w: %s is empty", beck.ErrMessage, headerDedupe)
		}
	}
	if text, given := headers[headerDurable]; given {
		d, err := wire.ParseDurability(text[0])
		if err != nil {
			return fmt.Errorf("%s: %w", headerDurable, err)
		}
		m.Durability = &d
	}
	return nil
}

const (
	// soon is how near a moment is that may pass while a request is handled.
	soon = time.Second
	// maxLate is how long ago a moment may have passed that was to come when the
	// request was sent.
	maxLate = 5 * time.Second
)

// onItsWay sees to it that a message whose moment passes while it is on its way
// is stored at once, and not refused because the moment has passed.
func onItsWay(m *beck.Message, now time.Time) {
	if left := m.At.Sub(now); !m.At.IsZero() && m.Delay == 0 && -maxLate < left && left < soon {
		m.At, m.Delay = time.Time{}, max(0, left)
	}
}

// checkHeaders refuses headers of beck's that the call would have to ignore, so
// that nobody relies on them. It knows those of every message, those that this
// one may have besides, and others, which go with lines, too.
func checkHeaders(headers http.Header, lines bool, besides, others []string) error {
	for name, values := range headers {
		ofMessage := name == headerKey || strings.HasPrefix(name, headerPrefix) || slices.Contains(besides, name)
		switch {
		case !isOurs(name):
		case !ofMessage && !slices.Contains(others, name):
			return notSupported(name)
		case ofMessage && lines:
			return wire.NewProblem(wire.CodeUnsupported, "header %.60q does not go with %s: give it as a field in each line", name, ndjson)
		case len(values) > 1:
			return fmt.Errorf("%w: header %.60q is given %d times", beck.ErrMessage, name, len(values))
		}
	}
	return nil
}

// page answers with a page of messages, without waiting.
func (s *Server) page(w http.ResponseWriter, r *http.Request) error {
	limit, err := limitOf(r)
	if err != nil {
		return err
	}
	page, err := s.bus.Read(r.Context(), r.PathValue("topic"), fromOf(r, beck.FromStart), limit)
	if err != nil {
		return err
	}
	s.appended(w, http.StatusOK, func(b []byte) []byte {
		return wire.AppendPage(slices.Grow(b, sizeOf(page.Messages)), page)
	})
	return nil
}

// sizeOf is about how many bytes messages have as JSON.
func sizeOf(messages []*beck.Message) int {
	size := 256
	for _, m := range messages {
		size += 160 + len(m.Key) + len(m.Body) + len(m.Body)/16
	}
	return size
}
