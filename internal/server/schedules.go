package server

import (
	"fmt"
	"net/http"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/cron"
	"github.com/beckmq/beck/internal/wire"
)

// schedules lists the recurring messages.
func (s *Server) schedules(w http.ResponseWriter, r *http.Request) error {
	list, err := s.bus.Schedules(r.Context())
	if err != nil {
		return err
	}
	return s.json(w, http.StatusOK, wire.SchedulesOf(list))
}

// putSchedule stores a recurring message.
func (s *Server) putSchedule(w http.ResponseWriter, r *http.Request) error {
	var req wire.Schedule
	of := s.memory.share()
	defer of.giveBack()
	if err := s.largeRequest(r, &req, of); err != nil {
		return err
	}
	name := r.PathValue("name")
	if req.Name != "" && req.Name != name {
		return fmt.Errorf(`%w: "name" is another one than that of the address`, beck.ErrOption)
	}
	req.Name = name
	if err := checkVersion(req.Version); err != nil {
		return err
	}
	schedule, err := req.Beck()
	if err != nil {
		return err
	}
	return done(w, cron.Add(r.Context(), s.bus, schedule))
}

// maxVersion is more than the versions that beck makes have.
const maxVersion = 128

func checkVersion(version string) error {
	if len(version) > maxVersion {
		return fmt.Errorf(`%w: "version" has %d bytes, more than the %d allowed`, beck.ErrTooLarge, len(version), maxVersion)
	}
	return nil
}

// largeRequest reads a JSON body with a message in it.
func (s *Server) largeRequest(r *http.Request, v any, of *share) error {
	text, err := s.body(r, s.o.MaxRequest, of)
	if err == nil {
		err = of.take(2 * len(text)) // what is decoded, once or twice
	}
	if err != nil {
		return err
	}
	return wire.Decode(text, v)
}

// deleteSchedule removes a recurring message.
func (s *Server) deleteSchedule(w http.ResponseWriter, r *http.Request) error {
	return done(w, s.bus.DeleteSchedule(r.Context(), r.PathValue("name")))
}

// tick publishes a recurring message for one tick, unless that was done.
func (s *Server) tick(w http.ResponseWriter, r *http.Request) error {
	var req wire.TickRequest
	of := s.memory.share()
	defer of.giveBack()
	if err := s.largeRequest(r, &req, of); err != nil {
		return err
	}
	name := r.PathValue("name")
	if err := beck.CheckName(name); err != nil {
		return fmt.Errorf("schedule: %w", err)
	}
	if err := checkVersion(req.Version); err != nil {
		return err
	}
	if req.Tick.IsZero() {
		return fmt.Errorf(`%w: "tick" is missing; give the time of the tick`, beck.ErrOption)
	}
	m, err := req.Message.Beck()
	if err != nil {
		return err
	}
	if req.Durability != "" {
		d, err := wire.ParseDurability(req.Durability)
		if err != nil {
			return err
		}
		m.Durability = &d
	}
	id, published, err := s.bus.Tick(r.Context(), &beck.Schedule{
		Name: name, Topic: req.Topic, Version: req.Version, Message: m,
	}, req.Tick)
	if err != nil && published {
		p := *wire.ProblemOf(err)
		p.IDs = []string{id}
		return &p
	}
	if err != nil {
		return err
	}
	return s.json(w, http.StatusOK, wire.TickAnswer{ID: id, Done: published})
}
