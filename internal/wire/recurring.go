package wire

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/beckmq/beck"
)

// Schedules is the list of recurring messages.
type Schedules struct {
	Schedules []Schedule `json:"schedules"`
}

// Schedule is a recurring message. When it is put, its Name is left away.
type Schedule struct {
	Name    string           `json:"name,omitempty"`
	Topic   string           `json:"topic"`
	Spec    string           `json:"spec"`
	Zone    string           `json:"zone,omitempty"`
	Missed  string           `json:"missed,omitempty"`
	Message ScheduledMessage `json:"message"`
	Last    time.Time        `json:"last,omitzero"`
	Version string           `json:"version,omitempty"`
}

// ScheduledMessage is what is published at each tick, with one of both bodies.
type ScheduledMessage struct {
	Key        string            `json:"key,omitempty"`
	Headers    map[string]string `json:"headers,omitempty"`
	Body       *string           `json:"body,omitempty"`
	BodyBase64 *[]byte           `json:"body_base64,omitempty"`
}

// TickRequest publishes one tick of a schedule, which is told as it was listed.
type TickRequest struct {
	Topic   string           `json:"topic"`
	Version string           `json:"version"`
	Tick    time.Time        `json:"tick"`
	Message ScheduledMessage `json:"message"`
	// Durability is that of the message, as ParseDurability reads it; empty for the
	// server's.
	Durability string `json:"durability,omitempty"`
}

// TickAnswer says whether this request has published the tick.
type TickAnswer struct {
	ID   string `json:"id,omitempty"`
	Done bool   `json:"done"`
}

// ScheduledMessageOf returns a message as it is written.
func ScheduledMessageOf(m beck.Message) ScheduledMessage {
	out := ScheduledMessage{Key: m.Key, Headers: m.Headers}
	if utf8.Valid(m.Body) {
		body := string(m.Body)
		out.Body = &body
	} else {
		out.BodyBase64 = &m.Body
	}
	return out
}

// Beck returns the message as the library has it.
func (m ScheduledMessage) Beck() (beck.Message, error) {
	out := beck.Message{Key: m.Key, Headers: m.Headers}
	switch {
	case m.Body != nil && m.BodyBase64 != nil:
		return out, fmt.Errorf(`%w: both "body" and "body_base64" are given`, beck.ErrMessage)
	case m.Body != nil:
		out.Body = []byte(*m.Body)
	case m.BodyBase64 != nil:
		out.Body = *m.BodyBase64
	default:
		return out, fmt.Errorf(`%w: the message has neither "body" nor "body_base64" (an empty body is "body":"")`, beck.ErrMessage)
	}
	return out, nil
}

// SchedulesOf returns the list as it is written.
func SchedulesOf(list []*beck.Schedule) Schedules {
	out := Schedules{Schedules: make([]Schedule, len(list))}
	for i, s := range list {
		out.Schedules[i] = ScheduleOf(s)
	}
	return out
}

// ScheduleOf returns a schedule as it is written.
func ScheduleOf(s *beck.Schedule) Schedule {
	return Schedule{
		Name: s.Name, Topic: s.Topic, Spec: s.Spec, Zone: s.Zone, Missed: s.Missed,
		Message: ScheduledMessageOf(s.Message), Last: s.Last, Version: s.Version,
	}
}

// Beck returns the schedule as the library has it.
func (s Schedule) Beck() (beck.Schedule, error) {
	m, err := s.Message.Beck()
	return beck.Schedule{
		Name: s.Name, Topic: s.Topic, Spec: s.Spec, Zone: s.Zone, Missed: s.Missed,
		Message: m, Last: s.Last, Version: s.Version,
	}, err
}
