package server

import (
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/wire"
)

// The request headers of a publish, in their canonical form.
const (
	headerKey    = "Beck-Key"
	headerPrefix = "Beck-Header-"
	headerDedupe = "Idempotency-Key"
)

// ndjson is the media type of many messages, one on each line.
const ndjson = "application/x-ndjson"

// publish stores one message, the request's body as it is, or many.
func (s *Server) publish(w http.ResponseWriter, r *http.Request) error {
	topic := r.PathValue("topic")
	if err := beck.CheckName(topic); err != nil {
		return err
	}
	of := s.memory.share()
	defer of.giveBack()
	messages, err := s.published(r, of)
	if err != nil {
		return err
	}
	ids, err := s.bus.Publish(r.Context(), topic, messages...)
	if err != nil {
		p := *wire.ProblemOf(err)
		p.IDs = ids
		return &p
	}
	s.appended(w, http.StatusCreated, func(b []byte) []byte { return wire.AppendIDs(b, ids) })
	return nil
}

func (s *Server) published(r *http.Request, of *share) ([]beck.Message, error) {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err := checkHeaders(r.Header, kind == ndjson); err != nil {
		return nil, err
	}
	if kind == ndjson {
		return s.lines(r, of)
	}
	m, err := s.raw(r, of)
	return []beck.Message{m}, err
}

// lines reads a message from each line.
func (s *Server) lines(r *http.Request, of *share) ([]beck.Message, error) {
	text, err := s.body(r, s.o.MaxRequest, of)
	if err != nil {
		return nil, err
	}
	messages, err := wire.DecodeLinesWithin(text, beck.MaxBatch, of.take)
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
	if m.Body, err = s.body(r, int64(s.bus.MaxBody()), of); err != nil {
		return m, err
	}
	if len(m.Body) == 0 {
		return m, fmt.Errorf(`%w: the request has no body; to publish an empty message, send {"body":""} as %s`, beck.ErrMessage, ndjson)
	}
	return m, nil
}

// checkHeaders refuses what this server would have to ignore, so that nobody
// relies on it.
func checkHeaders(headers http.Header, lines bool) error {
	for name, values := range headers {
		ours := strings.HasPrefix(name, "Beck-")
		switch {
		case !ours && name != headerDedupe:
		case name != headerKey && !strings.HasPrefix(name, headerPrefix):
			return wire.NewProblem(wire.CodeUnsupported, "header %.60q is not supported by this version of beck", name)
		case lines:
			return wire.NewProblem(wire.CodeUnsupported, "header %.60q does not go with %s: give key and headers in each line", name, ndjson)
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
