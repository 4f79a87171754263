package ondisk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// judge compares what is there of a shared topic with its history: what had
// returned when the cut began (from) must be there, and what had not been called
// when it ended (to) must not.
func (s *shared) judge(ctx context.Context, e *engine, w window) error {
	r, err := s.look(ctx, e)
	if errors.Is(err, driver.ErrTopicNotFound) || errors.Is(err, driver.ErrSubscriptionNotFound) {
		r, err = remains{}, nil // nothing was done yet, or all is lost
	}
	if err != nil {
		return fmt.Errorf("lost or corrupted: topic %s can't be read: %w", s.topic, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	place, err := s.judgeBodies(r, w)
	if err != nil {
		return err
	}
	return errors.Join(s.judgeKept(r, place, w), s.judgeOrder(place, w), s.judgeEnds(r, w))
}

// judgeBodies finds out where each body is, and what does not belong there.
func (s *shared) judgeBodies(r remains, w window) (place map[string]string, err error) {
	place = map[string]string{} // body to id
	add := func(m driver.Message, id string) error {
		name, err := nameOf(m.Body)
		if err != nil {
			return err
		}
		p := s.bodies[name]
		switch {
		case p == nil || p.call > int(w.to):
			return fmt.Errorf("invented: %s, %s was not published by then", name, id)
		case place[name] != "":
			return fmt.Errorf("invented: %s is there twice, as %s and %s", name, place[name], id)
		}
		place[name] = id
		return nil
	}
	last := ""
	for _, m := range r.messages {
		if m.ID <= last {
			return nil, fmt.Errorf("out of order: %s comes behind %s", m.ID, last)
		}
		last = m.ID
		if err := add(m, cmp.Or(m.Headers["beck-delayed-id"], m.ID)); err != nil {
			return nil, err
		}
	}
	for _, d := range r.delayed {
		if err := add(d.Message, d.Message.ID); err != nil {
			return nil, err
		}
	}
	for id, m := range r.dead {
		if s.queue {
			if err := add(m, cmp.Or(m.Headers["beck-delayed-id"], id)); err != nil {
				return nil, err
			}
		}
	}
	return place, nil
}

// judgeKept looks for what was published.
func (s *shared) judgeKept(r remains, place map[string]string, w window) error {
	ended := map[string]bool{} // in a queue, an acknowledged task goes
	if s.queue {
		for id, a := range s.acks {
			if a.tried <= int(w.to) && (a.do == driver.Acknowledge || a.doubtful) {
				ended[id] = true
			}
		}
	}
	for _, p := range s.calls {
		some := false
		for i, body := range p.bodies {
			at, is := place[body]
			some = some || is
			switch {
			case p.ret == 0 || p.ret > int(w.from):
				if !s.queue && some != is {
					return fmt.Errorf("corrupted: of the messages of one call, %s is not there", body)
				}
			case !is && !s.queue, !is && !ended[cmp.Or(s.entered[p.ids[i]], p.ids[i])]:
				return fmt.Errorf("lost: %s, acknowledged as %s", body, p.ids[i])
			case is && at != p.ids[i]:
				return fmt.Errorf("corrupted: %s was acknowledged as %s, and is %s", body, p.ids[i], at)
			}
		}
	}
	return nil
}

// judgeOrder makes sure that of two calls of which one had returned before the
// other began, the first one's messages come first.
func (s *shared) judgeOrder(place map[string]string, w window) error {
	var list []*publishing
	for _, p := range s.calls {
		if !p.delayed && p.ret > 0 && p.ret <= int(w.from) {
			list = append(list, p)
		}
	}
	byRet := slices.Clone(list)
	slices.SortFunc(list, func(a, b *publishing) int { return cmp.Compare(a.call, b.call) })
	slices.SortFunc(byRet, func(a, b *publishing) int { return cmp.Compare(a.ret, b.ret) })
	newest, next := "", 0
	for _, p := range list {
		for ; next < len(byRet) && byRet[next].ret < p.call; next++ {
			newest = max(newest, byRet[next].ids[len(byRet[next].ids)-1])
		}
		if p.ids[0] <= newest {
			return fmt.Errorf("out of order: %s was published behind %s, which had returned", p.ids[0], newest)
		}
	}
	return nil
}

// judgeEnds makes sure that what was ended has, and nothing else.
func (s *shared) judgeEnds(r remains, w window) error {
	for id, a := range s.acks {
		if a.done == 0 || a.done > int(w.from) || a.doubtful {
			continue
		}
		_, buried := r.dead[id]
		state := r.open[id]
		switch {
		case a.do == driver.Acknowledge && (state != "" || buried):
			return fmt.Errorf("lost: the acknowledgement of %s, which is %s", id, state)
		case a.do == driver.DeadLetter && !buried:
			return fmt.Errorf("lost: dead letter %s is not there, but %q", id, state)
		}
	}
	for _, m := range r.messages {
		if a := s.acks[m.ID]; (a == nil || a.tried > int(w.to)) && r.open[m.ID] == "" {
			return fmt.Errorf("lost: %s was never ended, but the subscription is done with it", m.ID)
		}
	}
	for _, p := range r.pending {
		if before := s.attempts[p.Message.ID]; before.at <= int(w.from) && p.Message.Attempt < before.number {
			return fmt.Errorf("lost: %s was delivered %d times, but has attempt %d", p.Message.ID, before.number, p.Message.Attempt)
		}
	}
	return nil
}

// drain goes on working until nothing is left to deliver, and finds what is stuck.
func (s *shared) drain(ctx context.Context, e *engine, clock *movingClock) error {
	info, err := e.Topic(ctx, s.topic)
	if errors.Is(err, driver.ErrTopicNotFound) || err == nil && len(info.Subscriptions) == 0 {
		return nil
	}
	r, err := s.look(ctx, e)
	if err != nil {
		return err
	}
	due := map[string]bool{} // by body
	for _, m := range r.messages {
		if r.open[m.ID] != "" && r.open[m.ID] != driver.Buried {
			due[string(m.Body)] = true
		}
	}
	for _, d := range r.delayed {
		due[string(d.Message.Body)] = true
	}
	for range 1000 {
		f, err := e.Fetch(ctx, s.topic, s.sub, driver.FetchRequest{Consumer: "last", Max: 100})
		if err != nil {
			return fmt.Errorf("stuck: fetching: %w", err)
		}
		for _, m := range f.Messages {
			if !due[string(m.Body)] {
				return fmt.Errorf("invented: %s was delivered, but was not due", m.ID)
			}
			delete(due, string(m.Body))
		}
		if not, err := e.Settle(ctx, s.topic, s.sub, "last", each(driver.Acknowledge, idsOf(f.Messages)...)); err != nil || len(not) > 0 {
			return fmt.Errorf("stuck: settling: %v not held, %w", not, err)
		}
		if len(f.Messages) > 0 || f.More {
			continue
		}
		if f.Next == 0 {
			break
		}
		clock.forward(f.Next + time.Millisecond)
	}
	info, err = e.Topic(ctx, s.topic)
	if err != nil {
		return err
	}
	if i := info.Subscriptions[0]; len(due) > 0 || i.Lag+i.Pending+i.Waiting+info.Delayed > 0 {
		return fmt.Errorf("stuck: %d messages of topic %s are never delivered: %+v", len(due), s.topic, info)
	}
	return nil
}
