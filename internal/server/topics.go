package server

import (
	"context"
	_ "embed"
	"fmt"
	"net/http"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/console"
	"github.com/beckmq/beck/internal/wire"
)

// topics lists all topics.
func (s *Server) topics(w http.ResponseWriter, r *http.Request) error {
	topics, err := s.bus.Topics(r.Context())
	if err != nil {
		return err
	}
	return s.json(w, http.StatusOK, wire.TopicsOf(topics))
}

// topic tells about one topic.
func (s *Server) topic(w http.ResponseWriter, r *http.Request) error {
	topic, err := s.bus.Topic(r.Context(), r.PathValue("topic"))
	if err != nil {
		return err
	}
	return s.json(w, http.StatusOK, wire.TopicInfoOf(topic))
}

// deleteTopic removes a topic with all it holds.
func (s *Server) deleteTopic(w http.ResponseWriter, r *http.Request) error {
	err := s.bus.DeleteTopic(r.Context(), r.PathValue("topic"))
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// trim removes messages before a position.
func (s *Server) trim(w http.ResponseWriter, r *http.Request) error {
	before, ok := param(r, "before")
	if !ok {
		return fmt.Errorf("%w: give the position up to which messages are removed, as in ?before=-24h", beck.ErrOption)
	}
	removed, err := s.bus.Trim(r.Context(), r.PathValue("topic"), beck.Position(before))
	if err != nil {
		return err
	}
	return s.json(w, http.StatusOK, wire.TrimAnswer{Removed: removed})
}

// health is the answer of healthz and readyz.
type health struct {
	Status string `json:"status"`
}

// healthz says that the process is alive.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request) error {
	return s.json(w, http.StatusOK, health{"ok"})
}

// readyTime is how long the engine may take to answer readyz.
const readyTime = 2 * time.Second

// readyz says that the engine can be used.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) error {
	if s.ending.Err() != nil {
		return beck.ErrClosed
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), readyTime,
		fmt.Errorf("%w: it did not answer within %v", beck.ErrUnavailable, readyTime))
	defer cancel()
	err := s.bus.Ping(ctx)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	return s.json(w, http.StatusOK, health{"ok"})
}

//go:embed openapi.json
var description []byte

// openapi answers with the API's description for programs.
func (s *Server) openapi(w http.ResponseWriter, r *http.Request) error {
	s.answer(w, http.StatusOK, description)
	return nil
}

// landing shows people what this is.
func (s *Server) landing(w http.ResponseWriter, r *http.Request) error {
	head := w.Header()
	head.Set("Content-Type", "text/html; charset=utf-8")
	head.Set("Content-Security-Policy", console.Policy)
	head.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(console.Page(r.Host)) // an error is a client that went away
	return nil
}
