package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/wire"
)

// configure sets what a topic keeps.
func (s *Server) configure(w http.ResponseWriter, r *http.Request) error {
	var req wire.TopicConfig
	if err := s.request(r, &req, false); err != nil {
		return err
	}
	return done(w, s.bus.Configure(r.Context(), r.PathValue("topic"), req.Beck()))
}

// done answers that there is nothing more to say, if there was no error.
func done(w http.ResponseWriter, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// purge removes all messages of a topic.
func (s *Server) purge(w http.ResponseWriter, r *http.Request) error {
	removed, err := s.bus.Purge(r.Context(), r.PathValue("topic"))
	if err != nil {
		return err
	}
	return s.json(w, http.StatusOK, wire.TrimAnswer{Removed: removed})
}

// peek looks at the messages of a subscription in one state.
func (s *Server) peek(w http.ResponseWriter, r *http.Request) error {
	state, given := param(r, "state")
	if !given {
		return fmt.Errorf("%w: give the state, as in ?state=dead; there are ready, held, waiting and dead", beck.ErrOption)
	}
	return s.entries(w, r, r.PathValue("name"), beck.State(state))
}

// delayed looks at the messages whose time to enter the topic has not come.
func (s *Server) delayed(w http.ResponseWriter, r *http.Request) error {
	return s.entries(w, r, "", beck.StateDelayed)
}

func (s *Server) entries(w http.ResponseWriter, r *http.Request, subscription string, state beck.State) error {
	limit, err := limitOf(r)
	if err != nil {
		return err
	}
	after, given := param(r, "after")
	if given && after == "" {
		return fmt.Errorf("%w: after is empty; give the id of the last entry seen, or leave it away", beck.ErrOption)
	}
	entries, more, err := s.bus.Peek(r.Context(), r.PathValue("topic"), subscription, state, &beck.PeekOptions{After: after, Max: limit})
	if err != nil {
		return err
	}
	s.appended(w, http.StatusOK, func(b []byte) []byte { return wire.AppendEntries(b, entries, more) })
	return nil
}

// requeue gives dead letters back to their subscription.
func (s *Server) requeue(w http.ResponseWriter, r *http.Request) error {
	return s.each(w, r, func(ctx context.Context, topic string, ids []string) (int, error) {
		return s.bus.Requeue(ctx, topic, r.PathValue("name"), ids...)
	})
}

// drop removes dead letters.
func (s *Server) drop(w http.ResponseWriter, r *http.Request) error {
	return s.each(w, r, func(ctx context.Context, topic string, ids []string) (int, error) {
		return s.bus.Drop(ctx, topic, r.PathValue("name"), ids...)
	})
}

// cancel removes delayed messages.
func (s *Server) cancel(w http.ResponseWriter, r *http.Request) error {
	return s.each(w, r, func(ctx context.Context, topic string, ids []string) (int, error) {
		return s.bus.Cancel(ctx, topic, ids...)
	})
}

// each does something to messages that a request names. Those that are not there
// are named by the problem.
func (s *Server) each(w http.ResponseWriter, r *http.Request, do func(ctx context.Context, topic string, ids []string) (int, error)) error {
	var req wire.IDsRequest
	if err := s.request(r, &req, false); err != nil {
		return err
	}
	n, err := do(r.Context(), r.PathValue("topic"), req.IDs)
	if err != nil {
		return err
	}
	return s.json(w, http.StatusOK, wire.DoneAnswer{Done: n})
}

// seek has a subscription go on from a position.
func (s *Server) seek(w http.ResponseWriter, r *http.Request) error {
	var req wire.SeekRequest
	if err := s.request(r, &req, false); err != nil {
		return err
	}
	return done(w, s.bus.Seek(r.Context(), r.PathValue("topic"), r.PathValue("name"), req.To))
}

// pause has a subscription deliver nothing.
func (s *Server) pause(w http.ResponseWriter, r *http.Request) error {
	return done(w, s.bus.Pause(r.Context(), r.PathValue("topic"), r.PathValue("name")))
}

// resume ends a pause.
func (s *Server) resume(w http.ResponseWriter, r *http.Request) error {
	return done(w, s.bus.Resume(r.Context(), r.PathValue("topic"), r.PathValue("name")))
}

// outstanding tells which messages a subscription is not done with.
func (s *Server) outstanding(w http.ResponseWriter, r *http.Request) error {
	var req wire.IDsRequest
	if err := s.request(r, &req, false); err != nil {
		return err
	}
	open, err := s.bus.Outstanding(r.Context(), r.PathValue("topic"), r.PathValue("name"), req.IDs...)
	if err != nil {
		return err
	}
	if open == nil {
		open = map[string]beck.State{}
	}
	return s.json(w, http.StatusOK, wire.OutstandingAnswer{Open: open})
}

// maxConfirming bounds the subscriptions that one request waits for.
const maxConfirming = 100

// confirm tells whether subscriptions have acknowledged messages, and waits for
// it if it is asked to.
func (s *Server) confirm(w http.ResponseWriter, r *http.Request) error {
	var req wire.ConfirmRequest
	if err := s.request(r, &req, false); err != nil {
		return err
	}
	switch wait := time.Duration(req.Wait); {
	case wait < 0 || wait > maxWait:
		return fmt.Errorf("%w: a wait of %v; it takes up to %v", beck.ErrOption, wait, maxWait)
	case len(req.Subscriptions) == 0:
		return fmt.Errorf(`%w: "subscriptions" names none to wait for`, beck.ErrOption)
	case len(req.Subscriptions) > maxConfirming:
		return fmt.Errorf("%w: %d subscriptions, more than the %d allowed at once", beck.ErrTooLarge, len(req.Subscriptions), maxConfirming)
	}
	open, err := s.open(r, req)
	if err != nil {
		return err
	}
	return s.json(w, http.StatusOK, wire.ConfirmAnswer{Confirmed: len(open) == 0, Open: open})
}

// open returns what is not acknowledged, at once or after a wait.
func (s *Server) open(r *http.Request, req wire.ConfirmRequest) (map[string]map[string]beck.State, error) {
	ctx, cancel := s.untilEnd(r)
	defer cancel(nil)
	topic := r.PathValue("topic")
	open := map[string]map[string]beck.State{}
	if req.Wait == 0 {
		for _, name := range req.Subscriptions {
			found, err := s.bus.Outstanding(ctx, topic, name, req.IDs...)
			if err != nil {
				return nil, err
			}
			if len(found) > 0 {
				open[name] = found
			}
		}
		return open, nil
	}
	limited, stop := context.WithTimeout(ctx, time.Duration(req.Wait))
	defer stop()
	err := s.bus.Confirm(limited, topic, req.IDs, req.Subscriptions...)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if still, ok := errors.AsType[*beck.UnconfirmedError](err); ok {
		return still.Open, nil
	}
	return open, err
}
