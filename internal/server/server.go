package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/beckmq/beck"
)

// Server answers the HTTP API. It is an http.Handler.
type Server struct {
	bus     *beck.Bus
	o       Options
	log     *slog.Logger
	mux     *http.ServeMux
	guard   *guard
	metrics *metrics
	memory  *memory
	patient *memory // of requests that wait for their answers
	http    *http.Server
	buffers sync.Pool // of *[]byte

	asking    atomic.Int64 // requests that wait for their answers
	questions questions
	behind    sync.WaitGroup // what goes on behind the end of a request

	// ending ends when Shutdown begins: streams and long waits end with it.
	ending context.Context
	end    context.CancelFunc
}

// New returns a server for a bus, which it doesn't close.
func New(bus *beck.Bus, o *Options) (*Server, error) {
	if bus == nil {
		return nil, fmt.Errorf("server: %w: no bus", beck.ErrOption)
	}
	full, err := o.withDefaults(bus)
	if err != nil {
		return nil, err
	}
	s := &Server{bus: bus, o: full, log: full.Logger, guard: newGuard(full), memory: &memory{limit: requestsAtOnce * full.MaxRequest}}
	s.patient = &memory{limit: s.memory.limit}
	s.questions = questions{byID: map[string]*question{}, repliers: map[string]*replier{}}
	s.ending, s.end = context.WithCancel(context.Background())
	if s.metrics, err = newMetrics(bus); err != nil {
		return nil, fmt.Errorf("server: metrics: %w", err)
	}
	s.mux = s.newMux()
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(full.Logger.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// Serve answers the requests that come in on a listener, which it closes, until
// Shutdown; then it returns nil.
func (s *Server) Serve(listener net.Listener) error {
	if err := s.http.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("server: %w", err)
	}
	return nil
}

// Shutdown takes no more requests, ends streams and long waits, and waits until
// all others are answered, or ctx ends: those left are cut off then. Clients that
// followed resume where they were.
func (s *Server) Shutdown(ctx context.Context) error {
	s.end()
	if err := s.http.Shutdown(ctx); err != nil {
		return fmt.Errorf("server: requests were cut off: %w", errors.Join(err, s.http.Close()))
	}
	s.behind.Wait() // which ending has made short
	return nil
}

// untilEnd returns a context that ends with the request's client, or when the
// server shuts down, with beck.ErrClosed as its cause.
func (s *Server) untilEnd(r *http.Request) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(r.Context())
	if s.ending.Err() != nil {
		cancel(beck.ErrClosed)
	}
	stop := context.AfterFunc(s.ending, func() { cancel(beck.ErrClosed) })
	return ctx, func(cause error) { stop(); cancel(cause) }
}
