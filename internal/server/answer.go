package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/wire"
)

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	a := s.newAnswer(w, r)
	defer func() {
		failure := recover()
		if failure != nil {
			s.panicked(a, r, failure)
		}
		s.finished(a, r, time.Since(began))
		if failure == http.ErrAbortHandler || failure != nil && a.begun {
			// What was sent so far must not look whole.
			panic(http.ErrAbortHandler)
		}
	}()
	if p := s.guard.check(r); p != nil {
		s.fail(a, r, p)
		return
	}
	if unclean(r) {
		// The mux would lead there by a redirect, which is no problem JSON.
		s.fail(a, r, wire.NewProblem(wire.CodeNotFound, "there is nothing at %.200q; write the path without empty parts, . and ..", r.URL.Path))
		return
	}
	s.mux.ServeHTTP(a, r)
}

// unclean reports whether a path has parts that a file system would leave away.
func unclean(r *http.Request) bool {
	given := r.URL.EscapedPath()
	clean := path.Clean("/" + given)
	return given != clean && given != clean+"/"
}

func (s *Server) panicked(a *answer, r *http.Request, failure any) {
	a.begun = a.status != 0
	if failure == http.ErrAbortHandler {
		return
	}
	s.log.Error("a request's handler panicked", "method", r.Method, "route", r.Pattern,
		"panic", failure, "stack", string(debug.Stack()))
	if !a.begun && r.Context().Err() == nil {
		s.fail(a, r, wire.NewProblem(wire.CodeInternal, "a fault of the server; its log has more"))
	}
}

// statusGone stands in metrics and log for requests whose client went away
// before there was an answer.
const statusGone = 499

func (s *Server) finished(a *answer, r *http.Request, took time.Duration) {
	if a.status == 0 {
		a.status = statusGone
	}
	s.metrics.observe(r.Pattern, a.status, took)
	s.log.Debug("request", "method", r.Method, "path", r.URL.Path, "status", a.status,
		"took", took, "client", r.RemoteAddr)
}

// fail answers with the problem that tells of an error. The connection of a
// client that went away is closed without an answer.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	// A body that didn't come in time ends the request's context as well.
	if a, ok := w.(*answer); r.Context().Err() != nil && !(ok && a.unread) {
		panic(http.ErrAbortHandler)
	}
	if s.ending.Err() != nil && errors.Is(err, context.Canceled) {
		err = beck.ErrClosed
	}
	p := wire.ProblemOf(err)
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		p = wire.ProblemOfRead(err)
	}
	if p.Code == wire.CodeInternal {
		s.log.Error("a request failed", "method", r.Method, "route", r.Pattern, "error", err)
	}
	head := w.Header()
	if isBusy(err) {
		head.Set("Retry-After", "1")
	}
	head.Set("Content-Type", wire.ProblemType)
	head.Set("Cache-Control", "no-store")
	body := append(p.Append(nil), '\n')
	head.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // an error is a client that went away
}

// json answers with a small value.
func (s *Server) json(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	s.answer(w, status, append(body, '\n'))
	return nil
}

// appended answers with JSON that a function of wire appends.
func (s *Server) appended(w http.ResponseWriter, status int, add func(b []byte) []byte) {
	buffer, ok := s.buffers.Get().(*[]byte)
	if !ok {
		buffer = new([]byte)
	}
	*buffer = add((*buffer)[:0])
	s.answer(w, status, *buffer)
	if cap(*buffer) <= maxPooled {
		s.buffers.Put(buffer)
	}
}

// maxPooled keeps a few large answers from holding memory for ever.
const maxPooled = 256 << 10

func (s *Server) answer(w http.ResponseWriter, status int, body []byte) {
	head := w.Header()
	head.Set("Content-Type", "application/json")
	head.Set("Cache-Control", "no-store")
	head.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error is a client that went away
}
