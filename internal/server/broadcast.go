package server

import (
	"net/http"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/wire"
)

// broadcast hands the request's body, as it is, to whoever listens now.
func (s *Server) broadcast(w http.ResponseWriter, r *http.Request) error {
	subject := r.PathValue("subject")
	if err := beck.CheckName(subject); err != nil {
		return err
	}
	of := s.memory.share()
	defer of.giveBack()
	body, err := s.body(r, int64(s.bus.MaxBody()), of)
	if err != nil {
		return err
	}
	n, err := s.bus.Broadcast(r.Context(), subject, body)
	if err != nil {
		return err
	}
	return s.json(w, http.StatusOK, wire.BroadcastAnswer{Listeners: n})
}

// heard is something that was broadcast, or a gap.
type heard struct {
	subject string
	body    []byte // shared by all who hear it
	at      time.Time
	gap     bool
}

// listen streams what is broadcast to the subjects that a pattern names. The first
// event says that it has begun. What a client is too slow for it doesn't
// get, and is told so; others don't wait for it.
func (s *Server) listen(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := s.untilEnd(r)
	defer cancel(nil)
	if ctx.Err() != nil {
		return beck.ErrClosed
	}
	waiting := newOutbox[heard]()
	miss := func() {
		waiting.force(heard{gap: true}, func(last heard) bool { return last.gap })
	}
	stop, err := s.bus.Hear(ctx, r.PathValue("pattern"), func(subject string, body []byte) {
		if !waiting.add(heard{subject: subject, body: body, at: time.Now()}, len(body)) {
			s.metrics.missed.Inc()
			miss()
		}
	}, miss)
	if err != nil {
		return err
	}
	defer stop()
	out := s.newStream(w, cancel)
	defer out.close()
	if err := out.begin(wire.AppendReady(nil, "")); err != nil || r.Method == http.MethodHead {
		return nil
	}
	for {
		select {
		case <-waiting.filled:
			if err := writeAll(out, waiting.take(), appendHeard); err != nil {
				return nil
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func appendHeard(b []byte, h heard) []byte {
	if h.gap {
		return append(b, wire.Missed...)
	}
	return wire.AppendBroadcast(b, h.subject, h.body, h.at)
}
