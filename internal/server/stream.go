package server

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/beckmq/beck/internal/wire"
)

// A stream is an answer of server-sent events. What is written is flushed at
// once, and a comment is sent when nothing was for a while.
type stream struct {
	server *Server
	w      http.ResponseWriter
	cancel context.CancelCauseFunc

	mu   sync.Mutex // of w, once the stream has begun
	over bool
	beat *time.Timer
	stop func() bool // what the end of the server does to the stream
}

// lastWords is how long the clients of streams have to take what is being sent
// when the server shuts down.
const lastWords = time.Second

// newStream returns a stream that is not begun, so that errors can still be
// answered as problems. It is cancelled when its client can't be written to.
func (s *Server) newStream(w http.ResponseWriter, cancel context.CancelCauseFunc) *stream {
	return &stream{server: s, w: w, cancel: cancel}
}

// begun reports whether the head of the answer was sent.
func (t *stream) begun() bool { return t.beat != nil }

// begin sends the head and the first blocks.
func (t *stream) begin(b []byte) error {
	head := t.w.Header()
	head.Set("Content-Type", wire.EventStream)
	head.Set("Cache-Control", "no-store")
	head.Set("X-Accel-Buffering", "no") // or nginx would hold events back
	t.w.WriteHeader(http.StatusOK)
	t.server.metrics.streams.Inc()
	if a, ok := t.w.(*answer); ok {
		t.stop = context.AfterFunc(t.server.ending, func() { a.hurry(lastWords) })
	}
	t.beat = time.AfterFunc(t.server.o.Heartbeat, t.heartbeat)
	return t.write(b)
}

// write sends blocks. Only the client's own goroutine waits if it is slow.
func (t *stream) write(b []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.writeLocked(b)
}

func (t *stream) writeLocked(b []byte) error {
	_, err := t.w.Write(b)
	if err == nil {
		err = http.NewResponseController(t.w).Flush()
	}
	if err != nil {
		t.cancel(err)
		return err
	}
	t.beat.Reset(t.server.o.Heartbeat)
	return nil
}

func (t *stream) heartbeat() {
	if !t.mu.TryLock() {
		return // something is being sent, which is as good
	}
	defer t.mu.Unlock()
	if !t.over {
		_ = t.writeLocked([]byte(wire.Heartbeat)) // an error ends the stream
	}
}

// close makes sure that nothing is written any more.
func (t *stream) close() {
	if !t.begun() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	t.beat.Stop()
	if t.stop != nil {
		t.stop()
	}
	t.server.metrics.streams.Dec()
}
