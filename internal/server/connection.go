package server

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// answer is a ResponseWriter that remembers what it was told, and that gives the
// client of a slow connection time, but not for ever.
type answer struct {
	http.ResponseWriter
	connection *http.ResponseController
	timeout    time.Duration // for a portion
	status     int
	begun      bool // something was sent before the request failed
	unread     bool // the request has a body of which not all was read

	mu      sync.Mutex // of the write deadline
	hurried bool
}

// portion is what a client must take within the write time-out.
const portion = 64 << 10

// newAnswer bounds how long the client may take to send the request's body, and
// to take whatever is sent before the answer's own portions.
func (s *Server) newAnswer(w http.ResponseWriter, r *http.Request) *answer {
	a := &answer{ResponseWriter: w, connection: http.NewResponseController(w), timeout: s.o.WriteTimeout}
	a.giveTime()
	if r.ContentLength != 0 {
		// Whoever doesn't read the body has it read by net/http, before or after
		// the answer.
		a.unread = true
		_ = a.connection.SetReadDeadline(time.Now().Add(s.o.ReadTimeout))
		r.Body = &requestBody{r.Body, a}
	}
	return a
}

// giveTime begins the time for the next portion. A writer without deadlines, as
// in tests, needs none.
func (a *answer) giveTime() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.hurried {
		_ = a.connection.SetWriteDeadline(time.Now().Add(a.timeout))
	}
}

// hurry leaves the client this time for all that is still sent.
func (a *answer) hurry(left time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hurried = true
	_ = a.connection.SetWriteDeadline(time.Now().Add(left))
}

// WriteHeader closes the connection behind an answer that did not need the
// request's body: otherwise net/http would wait for it before it answers.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
		a.giveTime()
		if a.unread {
			a.Header().Set("Connection", "close")
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write writes in portions, each with its own deadline: a slow client is served,
// one that has stopped reading is not. An error means that the client is gone.
func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	written := 0
	for {
		part := b[written:min(len(b), written+portion)]
		a.giveTime()
		n, err := a.ResponseWriter.Write(part)
		written += n
		if err != nil || written == len(b) {
			return written, err
		}
	}
}

// Unwrap lets http.ResponseController find the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// requestBody notes when a request's body was read to its end, which takes the
// deadline away: it would end the request while it is handled.
type requestBody struct {
	io.ReadCloser
	answer *answer
}

func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF && b.answer.unread {
		b.answer.unread = false
		_ = b.answer.connection.SetReadDeadline(time.Time{})
	}
	return n, err
}
