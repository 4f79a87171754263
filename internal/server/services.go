package server

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/wire"
)

const (
	// defaultAskTime is how long a request is waited for that doesn't say, and
	// maxAskTime how long at the most.
	defaultAskTime = 30 * time.Second
	maxAskTime     = time.Hour
	// maxAsking bounds the requests that wait for their answers.
	maxAsking = 10_000
)

// ask makes a request to a service and answers with its answer.
func (s *Server) ask(w http.ResponseWriter, r *http.Request) error {
	service := r.PathValue("service")
	if err := beck.CheckName(service); err != nil {
		return err
	}
	of := s.patient.share()
	defer of.giveBack()
	m, timeout, err := s.asked(r, of)
	if err != nil {
		return err
	}
	if s.asking.Add(1) > maxAsking {
		s.asking.Add(-1)
		return &busyError{wire.NewProblem(wire.CodeUnavailable, "%v: %d requests are waiting for answers already; try again a little later", beck.ErrUnavailable, maxAsking)}
	}
	defer s.asking.Add(-1)

	untilEnd, cancel := s.untilEnd(r)
	defer cancel(nil)
	ctx, stop := context.WithTimeout(untilEnd, timeout)
	defer stop()
	answer, err := s.bus.Request(ctx, service, m)
	switch {
	case err == nil:
		s.raw200(w, answer)
		return nil
	case r.Context().Err() != nil:
		return r.Context().Err()
	case untilEnd.Err() != nil && (errors.Is(err, beck.ErrClosed) || errors.Is(err, context.Canceled)):
		return wire.NewProblem(wire.CodeUncertain, "%v: the server is shutting down", beck.ErrUncertain)
	case ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded):
		return wire.NewProblem(wire.CodeTimeout, "nobody has answered within %v", timeout)
	}
	return err
}

// asked reads a request: the body as it is, or one line of NDJSON.
func (s *Server) asked(r *http.Request, of *share) (m beck.Message, timeout time.Duration, err error) {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err := checkHeaders(r.Header, kind == ndjson, nil, []string{headerTimeout}); err != nil {
		return m, 0, err
	}
	timeout = defaultAskTime
	if text, given := r.Header[headerTimeout]; given {
		timeout, err = time.ParseDuration(text[0])
		if err != nil || timeout <= 0 || timeout > maxAskTime {
			return m, 0, fmt.Errorf("%w: %s %.40q; it takes a duration such as 20s, up to %v", beck.ErrOption, headerTimeout, text[0], maxAskTime)
		}
	}
	if kind != ndjson {
		m, err = s.raw(r, of)
		return m, timeout, err
	}
	lines, err := s.lines(r, 1, of)
	if err == nil {
		m = lines[0]
	}
	return m, timeout, err
}

// raw200 answers with a body as it is.
func (s *Server) raw200(w http.ResponseWriter, body []byte) {
	head := w.Header()
	head.Set("Content-Type", "application/octet-stream")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Cache-Control", "no-store")
	head.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body) // an error is a client that went away
}
