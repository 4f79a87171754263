package wire

import (
	"fmt"
	"strconv"
	"time"

	"github.com/beckmq/beck"
)

// Page is a page of messages as the client reads it.
type Page struct {
	Messages []beck.Message
	Next     beck.Position
	More     bool
	Gap      *Gap
	Era      string
}

// Gap is a gap as the client reads it.
type Gap struct {
	After, Resume beck.Position
}

// DecodePage reads what AppendPage writes. Fields that this program does not
// know are left out. The bodies of the messages point into the text.
func DecodePage(text []byte) (*Page, error) {
	var p Page
	err := decodeObject(text, "a page", func(s *scanner, name string) (err error) {
		switch name {
		case "messages":
			p.Messages, err = s.messages()
		case "next":
			p.Next, err = s.position()
		case "more":
			p.More, err = s.bool()
		case "gap":
			p.Gap, err = s.gap()
		case "era":
			p.Era, err = s.string()
		default:
			err = s.skip()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &p, nil
}

// decodeObject reads a text that is one object, field by field.
func decodeObject(text []byte, what string, field func(s *scanner, name string) error) error {
	s := scanner{b: text}
	err := s.object(func(name []byte) error { return field(&s, string(name)) })
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return fmt.Errorf("%s that can't be read: %w", what, err)
	}
	return nil
}

// Fetched is the answer to a fetch as the client reads it.
type Fetched struct {
	Messages    []beck.Message
	More        bool
	Next, Lease time.Duration
	Lost        int64
	Era         string
}

// DecodeFetched reads what AppendFetched writes, like DecodePage.
func DecodeFetched(text []byte) (*Fetched, error) {
	var f Fetched
	err := decodeObject(text, "fetched messages", func(s *scanner, name string) (err error) {
		switch name {
		case "messages":
			f.Messages, err = s.messages()
		case "more":
			f.More, err = s.bool()
		case "next":
			f.Next, err = s.duration()
		case "lease":
			f.Lease, err = s.duration()
		case "lost":
			f.Lost, err = s.integer()
		case "era":
			f.Era, err = s.string()
		default:
			err = s.skip()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &f, nil
}

// DecodeIDs reads what AppendIDs writes.
func DecodeIDs(text []byte) ([]string, error) {
	var ids []string
	err := decodeObject(text, "ids", func(s *scanner, name string) error {
		if name != "ids" {
			return s.skip()
		}
		return s.array(func() error {
			id, err := s.text()
			ids = append(ids, string(id))
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

func (s *scanner) messages() ([]beck.Message, error) {
	var messages []beck.Message
	err := s.array(func() error {
		messages = append(messages, beck.Message{})
		return s.message(&messageFields{into: &messages[len(messages)-1]})
	})
	return messages, err
}

func (s *scanner) gap() (*Gap, error) {
	if s.null() {
		return nil, nil
	}
	var g Gap
	err := s.object(func(name []byte) (err error) {
		switch string(name) {
		case "after":
			g.After, err = s.position()
		case "resume":
			g.Resume, err = s.position()
		default:
			err = s.skip()
		}
		return err
	})
	return &g, err
}

func (s *scanner) position() (beck.Position, error) {
	text, err := s.string()
	return beck.Position(text), err
}

func (s *scanner) string() (string, error) {
	text, err := s.text()
	return string(text), err
}

func (s *scanner) integer() (int64, error) {
	at := s.i
	text, err := s.number()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return 0, s.wrong(at, "%.40s is not a whole number", text)
	}
	return n, nil
}

func (s *scanner) duration() (time.Duration, error) {
	s.space()
	at := s.i
	text, err := s.text()
	if err != nil {
		return 0, err
	}
	d, err := time.ParseDuration(string(text))
	if err != nil {
		return 0, s.wrong(at, "%.40q is not a duration", text)
	}
	return d, nil
}
