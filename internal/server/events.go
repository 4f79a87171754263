package server

import (
	"context"
	"net/http"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/wire"
)

// events streams a topic: what is stored from a position on, then what comes.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	from := fromOf(r, beck.FromNew)
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		from = beck.Position(last)
	}
	ctx, cancel := s.untilEnd(r)
	defer cancel(nil)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	out := s.newStream(w, cancel)
	defer out.close()

	for page, err := range s.bus.FollowPages(ctx, r.PathValue("topic"), from) {
		switch {
		case err != nil && !out.begun():
			return err
		case err != nil:
			if ctx.Err() == nil {
				_ = out.write(wire.AppendProblemEvent(nil, wire.ProblemOfRead(err)))
			}
			return nil
		case !out.begun():
			err = out.begin(wire.AppendStart(nil, page.Next))
		default:
			err = out.write(page.Encoded("sse", encodeEvents))
		}
		if err != nil || r.Method == http.MethodHead {
			return nil
		}
	}
	return nil
}

// encodeEvents is called once for all clients that are sent a page.
func encodeEvents(p *beck.Page) []byte {
	return wire.AppendEvents(make([]byte, 0, sizeOf(p.Messages)), p)
}

// wake streams hints that a topic may have changed, for engines that read it
// from afar. The first one, at once, says that from now on nothing is missed.
func (s *Server) wake(w http.ResponseWriter, r *http.Request) error {
	hints, stop, err := s.bus.Watch(r.PathValue("topic"))
	if err != nil {
		return err
	}
	defer stop()
	ctx, cancel := s.untilEnd(r)
	defer cancel(nil)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	out := s.newStream(w, cancel)
	defer out.close()
	if err := out.begin([]byte(wire.Wake)); err != nil || r.Method == http.MethodHead {
		return nil
	}
	for {
		select {
		case <-hints:
			if err := out.write([]byte(wire.Wake)); err != nil {
				return nil
			}
		case <-ctx.Done():
			return nil
		}
	}
}
