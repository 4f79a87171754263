package wire

import (
	"fmt"
	"time"

	"github.com/beckmq/beck"
)

// Page is a page of messages as the client reads it.
type Page struct {
	Messages []beck.Message
	Next     beck.Position
	More     bool
	Gap      *Gap
}

// Gap is a gap as the client reads it.
type Gap struct {
	After, Resume beck.Position
}

// DecodePage reads what AppendPage writes. Fields that this program does not
// know are left out. The bodies of the messages point into the text.
func DecodePage(text []byte) (*Page, error) {
	var p Page
	s := scanner{b: text}
	err := s.object(func(name []byte) (err error) {
		switch string(name) {
		case "messages":
			p.Messages, err = s.messages()
		case "next":
			p.Next, err = s.position()
		case "more":
			p.More, err = s.bool()
		case "gap":
			p.Gap, err = s.gap()
		default:
			err = s.skip()
		}
		return err
	})
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return nil, fmt.Errorf("a page that can't be read: %w", err)
	}
	return &p, nil
}

// Fetched is the answer to a fetch as the client reads it.
type Fetched struct {
	Messages    []beck.Message
	More        bool
	Next, Lease time.Duration
}

// DecodeFetched reads what AppendFetched writes, like DecodePage.
func DecodeFetched(text []byte) (*Fetched, error) {
	var f Fetched
	s := scanner{b: text}
	err := s.object(func(name []byte) (err error) {
		switch string(name) {
		case "messages":
			f.Messages, err = s.messages()
		case "more":
			f.More, err = s.bool()
		case "next":
			f.Next, err = s.duration()
		case "lease":
			f.Lease, err = s.duration()
		default:
			err = s.skip()
		}
		return err
	})
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return nil, fmt.Errorf("fetched messages that can't be read: %w", err)
	}
	return &f, nil
}

// DecodeIDs reads what AppendIDs writes.
func DecodeIDs(text []byte) ([]string, error) {
	var ids []string
	s := scanner{b: text}
	err := s.object(func(name []byte) error {
		if string(name) != "ids" {
			return s.skip()
		}
		return s.array(func() error {
			id, err := s.text()
			ids = append(ids, string(id))
			return err
		})
	})
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return nil, fmt.Errorf("ids that can't be read: %w", err)
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
	text, err := s.text()
	return beck.Position(text), err
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
