package wire

import (
	"fmt"
	"time"

	"github.com/beckmq/beck"
)

// TopicConfig is what a topic keeps. What is left away has its default.
type TopicConfig struct {
	MaxAge       Age      `json:"max_age,omitempty"`
	MaxMessages  int64    `json:"max_messages,omitempty"`
	MaxBytes     int64    `json:"max_bytes,omitempty"`
	DropOldest   bool     `json:"drop_oldest,omitempty"`
	DedupeWindow Duration `json:"dedupe_window,omitempty"`
}

// TopicConfigOf returns a configuration as it is written.
func TopicConfigOf(c beck.TopicConfig) TopicConfig {
	return TopicConfig{
		MaxAge: Age(c.MaxAge), MaxMessages: c.MaxMessages, MaxBytes: c.MaxBytes,
		DropOldest: c.DropOldest, DedupeWindow: Duration(c.DedupeWindow),
	}
}

// Beck returns the configuration as the library has it.
func (c TopicConfig) Beck() beck.TopicConfig {
	return beck.TopicConfig{
		MaxAge: time.Duration(c.MaxAge), MaxMessages: c.MaxMessages, MaxBytes: c.MaxBytes,
		DropOldest: c.DropOldest, DedupeWindow: time.Duration(c.DedupeWindow),
	}
}

// Age is a duration or "forever", which is beck.Forever.
type Age time.Duration

const forever = "forever"

// MarshalText writes the age.
func (a Age) MarshalText() ([]byte, error) {
	if time.Duration(a) == beck.Forever {
		return []byte(forever), nil
	}
	return Duration(a).MarshalText()
}

// UnmarshalText reads an age.
func (a *Age) UnmarshalText(text []byte) error {
	if string(text) == forever {
		*a = Age(beck.Forever)
		return nil
	}
	parsed, err := time.ParseDuration(string(text))
	if err != nil || parsed < 0 {
		return fmt.Errorf(`%.40q is neither a duration such as "168h" nor "forever"`, text)
	}
	*a = Age(parsed)
	return nil
}

// IDsRequest names messages.
type IDsRequest struct {
	IDs []string `json:"ids"`
}

// DoneAnswer says to how many messages it was done.
type DoneAnswer struct {
	Done int `json:"done"`
}

// SeekRequest moves a subscription.
type SeekRequest struct {
	To beck.Position `json:"to"`
}

// OutstandingAnswer says which messages a subscription is not done with.
type OutstandingAnswer struct {
	Open map[string]beck.State `json:"open"`
}

// ConfirmRequest asks whether subscriptions have acknowledged messages.
type ConfirmRequest struct {
	IDs           []string `json:"ids"`
	Subscriptions []string `json:"subscriptions"`
	Wait          Duration `json:"wait,omitempty"`
}

// ConfirmAnswer says by which subscriptions which messages are not acknowledged.
type ConfirmAnswer struct {
	Confirmed bool                             `json:"confirmed"`
	Open      map[string]map[string]beck.State `json:"open"`
}

// AppendEntries adds entries of a peek to b.
func AppendEntries(b []byte, entries []*beck.Entry, more bool) []byte {
	b = append(b, `{"entries":[`...)
	for i, e := range entries {
		if i > 0 {
			b = append(b, ',')
		}
		b = AppendEntry(b, e)
	}
	b = append(b, `],"more":`...)
	if more {
		return append(b, "true}\n"...)
	}
	return append(b, "false}\n"...)
}

// AppendEntry adds the object of the message, with the fields of the entry.
func AppendEntry(b []byte, e *beck.Entry) []byte {
	b = AppendMessage(b, e.Message)
	b = append(b[:len(b)-1], `,"state":`...)
	b = appendString(b, string(e.State))
	if e.Consumer != "" {
		b = append(b, `,"consumer":`...)
		b = appendString(b, e.Consumer)
	}
	b = appendTime(b, `,"since":"`, e.Since)
	b = appendTime(b, `,"due":"`, e.Due)
	if e.Reason != "" {
		b = append(b, `,"reason":`...)
		b = appendString(b, e.Reason)
	}
	return append(b, '}')
}

func appendTime(b []byte, name string, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	b = append(b, name...)
	b = t.UTC().AppendFormat(b, timeFormat)
	return append(b, '"')
}

// DecodeEntries reads what AppendEntries writes, like DecodePage.
func DecodeEntries(text []byte) (entries []beck.Entry, more bool, err error) {
	err = decodeObject(text, "entries", func(s *scanner, name string) (err error) {
		switch name {
		case "entries":
			err = s.array(func() error {
				e, err := s.entry()
				entries = append(entries, e)
				return err
			})
		case "more":
			more, err = s.bool()
		default:
			err = s.skip()
		}
		return err
	})
	if err != nil {
		return nil, false, err
	}
	return entries, more, nil
}

func (s *scanner) entry() (beck.Entry, error) {
	e := beck.Entry{Message: &beck.Message{}}
	fields := messageFields{into: e.Message}
	err := s.object(func(name []byte) error {
		var into *string
		var when *time.Time
		switch string(name) {
		case "state":
			into = (*string)(&e.State)
		case "consumer":
			into = &e.Consumer
		case "reason":
			into = &e.Reason
		case "since":
			when = &e.Since
		case "due":
			when = &e.Due
		default:
			return s.messageField(&fields, name)
		}
		s.space()
		at := s.i
		text, err := s.text()
		switch {
		case err != nil:
		case into != nil:
			*into = string(text)
		default:
			*when, err = s.time(at, name, text)
		}
		return err
	})
	return e, err
}
