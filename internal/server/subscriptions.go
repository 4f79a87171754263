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

// join makes a subscription, or joins the one there is.
func (s *Server) join(w http.ResponseWriter, r *http.Request) error {
	var req wire.JoinRequest
	if err := s.request(r, &req, true); err != nil {
		return err
	}
	existed, err := s.bus.Join(r.Context(), r.PathValue("topic"), r.PathValue("name"), &beck.JoinOptions{
		From: req.From, Lease: time.Duration(req.Lease), Expires: time.Duration(req.Expires), Queue: req.Queue,
	})
	if err != nil {
		return err
	}
	status := http.StatusCreated
	if existed {
		status = http.StatusOK
	}
	return s.json(w, status, wire.JoinAnswer{Existed: existed})
}

const (
	// maxWait bounds how long a fetch may wait for messages.
	maxWait = time.Minute
	// releaseTime bounds how long giving back messages may take.
	releaseTime = 5 * time.Second
)

// fetch leases messages to a consumer, and waits for them if it is asked to.
func (s *Server) fetch(w http.ResponseWriter, r *http.Request) error {
	var req wire.FetchRequest
	if err := s.request(r, &req, false); err != nil {
		return err
	}
	if time.Duration(req.Wait) > maxWait {
		return fmt.Errorf("%w: a wait of %v; it takes up to %v", beck.ErrOption, time.Duration(req.Wait), maxWait)
	}
	if req.Max < 0 || req.Max > beck.MaxFetch {
		return fmt.Errorf(`%w: "max" is %d; it takes 1 to %d`, beck.ErrOption, req.Max, beck.MaxFetch)
	}
	topic, name := r.PathValue("topic"), r.PathValue("name")
	ctx, cancel := s.untilEnd(r)
	defer cancel(nil)
	got, err := s.bus.Fetch(ctx, topic, name, &beck.FetchOptions{
		Consumer: req.Consumer, Max: req.Max, Wait: time.Duration(req.Wait), Recover: req.Recover, Era: req.Era,
	})
	switch {
	case errors.Is(err, beck.ErrSubscriptionNotFound):
		return wire.NewProblem(wire.CodeSubscriptionNotFound, "%v: make it by PUT /v1/topics/%s/subscriptions/%s", beck.ErrSubscriptionNotFound, topic, name)
	case err != nil:
		return err
	case r.Context().Err() != nil:
		s.giveBack(r.Context(), topic, name, req.Consumer, got.Messages)
		return r.Context().Err()
	}
	s.appended(w, http.StatusOK, func(b []byte) []byte { return wire.AppendFetched(b, got) })
	return nil
}

// giveBack releases messages whose consumer went away before it got them. If
// that fails, or the consumer goes away later, their lease ends by itself.
func (s *Server) giveBack(ctx context.Context, topic, name, consumer string, messages []*beck.Message) {
	if len(messages) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer cancel()
	settlements := make([]beck.Settlement, len(messages))
	for i, m := range messages {
		settlements[i] = beck.Release(m.ID)
	}
	if err := s.bus.Settle(ctx, topic, name, consumer, settlements...); err != nil {
		s.log.Debug("messages of a consumer that went away wait for the end of their lease",
			"topic", topic, "subscription", name, "error", err)
	}
}

// settle ends or prolongs deliveries.
func (s *Server) settle(w http.ResponseWriter, r *http.Request) error {
	var req wire.SettleRequest
	if err := s.request(r, &req, false); err != nil {
		return err
	}
	settlements := make([]beck.Settlement, len(req.Settlements))
	for i, one := range req.Settlements {
		var err error
		if settlements[i], err = one.Beck(); err != nil {
			return err
		}
	}
	err := s.bus.Settle(r.Context(), r.PathValue("topic"), r.PathValue("name"), req.Consumer, settlements...)
	if err != nil {
		return err
	}
	return s.json(w, http.StatusOK, wire.SettleAnswer{Settled: len(settlements)})
}

// leave forgets a consumer that holds nothing.
func (s *Server) leave(w http.ResponseWriter, r *http.Request) error {
	var req wire.LeaveRequest
	if err := s.request(r, &req, false); err != nil {
		return err
	}
	err := s.bus.Leave(r.Context(), r.PathValue("topic"), r.PathValue("name"), req.Consumer)
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// subscription tells about one subscription.
func (s *Server) subscription(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	if err := beck.CheckName(name); err != nil {
		return err
	}
	topic, err := s.bus.Topic(r.Context(), r.PathValue("topic"))
	if err != nil {
		return err
	}
	for _, sub := range topic.Subscriptions {
		if sub.Name == name {
			return s.json(w, http.StatusOK, wire.SubscriptionInfoOf(sub))
		}
	}
	return fmt.Errorf("%w: topic %s has none named %s", beck.ErrSubscriptionNotFound, topic.Name, name)
}

// deleteSubscription removes a subscription with what it holds.
func (s *Server) deleteSubscription(w http.ResponseWriter, r *http.Request) error {
	err := s.bus.DeleteSubscription(r.Context(), r.PathValue("topic"), r.PathValue("name"))
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}
