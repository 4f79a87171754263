package beck

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/beckmq/beck/internal/driver"
)

// Limits on what a message may carry. The limit on its body is
// [Options.MaxBody].
const (
	MaxKey         = 512      // bytes in a key
	MaxHeaderBytes = 64 << 10 // bytes in the names and values of all headers
	MaxBatch       = 10_000   // messages in one Publish
	MaxDelay       = 10 * 365 * 24 * time.Hour
)

const maxHeaderName = 128

// DefaultMaxBody is the largest body, in bytes, unless [Options.MaxBody] says
// otherwise: 1 MiB.
const DefaultMaxBody = 1 << 20

// Message is one message of a topic.
//
// To publish one, set Body and, if wanted, Key, Headers, Delay or At, DedupeID and
// Durability; the other fields are ignored. A message that was received is shared by
// everyone in the process who receives it: it must not be changed.
type Message struct {
	// ID names the message within its topic: visible ASCII, at most 128 bytes.
	// Ids are opaque, but compared as strings they sort in topic order.
	ID string

	// Topic is where the message was received from.
	Topic string

	// Key makes messages with the same key be handled one after the other, in
	// order, within a consumer. It is UTF-8 of at most MaxKey bytes; the empty
	// key orders nothing.
	Key string

	// Headers are named values beside the body. Names are 1 to 128 of
	// A-Z a-z 0-9 . _ - and are kept in lower case; values are UTF-8 without
	// control characters. All together have MaxHeaderBytes at most.
	Headers map[string]string

	// Body is the content. It may be empty, but not nil.
	Body []byte

	// Time is when the engine took the message, to the millisecond.
	Time time.Time

	// Attempt counts the deliveries of this message to the subscription it is
	// received through, from 1. It is 0 for messages that are followed or read.
	Attempt int

	// Delay has the message enter the topic only so long after it was published,
	// from 0 to MaxDelay; At, at a moment, which must not have passed. Only one of
	// them may be set. What Publish returns for a message that waits is good for
	// [Bus.Cancel]; in the topic it has another id, and the header
	// "beck-delayed-id" with this one. Readers get it within 50 ms of its time.
	// Both are zero in messages that are received.
	Delay time.Duration
	At    time.Time

	// DedupeID has the message stored once: if one with the same DedupeID was
	// published to the topic within its DedupeWindow, that one's id is returned
	// and nothing is stored. It has 1 to 200 bytes of visible ASCII; empty means
	// none. It is empty in messages that are received.
	DedupeID string

	// Durability is what must hold of this message before its id is returned; nil
	// means that of [Options], and a pointer to the zero value nothing beyond being
	// written. It is nil in messages that are received.
	Durability *Durability
}

// The conversion below holds only while both have the same fields.
var _ = Message(driver.Message{})

// A Handler handles one message of a subscription. Returning nil acknowledges
// it; an error has it retried later, see [RetryAfter] and [Dead]. A panic counts
// as an error.
//
// The context carries the lease: it is cancelled when the lease is lost, with
// ErrNotHeld as its cause, or when the time to finish after a Close is over.
type Handler func(ctx context.Context, m *Message) error

// shared turns what an engine returned into what users see, without copying.
func shared(topic string, messages []driver.Message) []*Message {
	if len(messages) == 0 {
		return nil
	}
	out := make([]*Message, len(messages))
	for i := range messages {
		messages[i].Topic = topic
		out[i] = (*Message)(&messages[i])
	}
	return out
}

// check says what keeps a message from being published, and returns it in the
// form in which it is kept.
func (m Message) check(maxBody int) (driver.Message, error) {
	switch {
	case m.Body == nil:
		return driver.Message{}, fmt.Errorf("%w: it has no body (an empty one must be empty, not nil)", ErrMessage)
	case len(m.Body) > maxBody:
		return driver.Message{}, fmt.Errorf("%w: the body has %d bytes, more than the %d allowed", ErrTooLarge, len(m.Body), maxBody)
	case len(m.Key) > MaxKey:
		return driver.Message{}, fmt.Errorf("%w: the key has %d bytes, more than the %d allowed", ErrTooLarge, len(m.Key), MaxKey)
	case !utf8.ValidString(m.Key):
		return driver.Message{}, fmt.Errorf("%w: the key is not UTF-8", ErrMessage)
	}
	if err := m.checkDelivery(time.Now()); err != nil {
		return driver.Message{}, err
	}
	headers, err := checkHeaders(m.Headers)
	if err != nil {
		return driver.Message{}, err
	}
	out := driver.Message{Key: m.Key, Headers: headers, Body: m.Body, Delay: m.Delay, At: m.At, DedupeID: m.DedupeID}
	if m.Durability != nil {
		if err := checkDurability(*m.Durability); err != nil {
			return driver.Message{}, err
		}
		durable := *m.Durability // the caller's may change
		out.Durability = &durable
	}
	return out, nil
}

const maxDedupeID = 200

// checkDelivery checks what says when, and how often, the message is stored.
func (m *Message) checkDelivery(now time.Time) error {
	switch {
	case m.Delay != 0 && !m.At.IsZero():
		return fmt.Errorf("%w: both Delay and At are set", ErrMessage)
	case m.Delay < 0:
		return fmt.Errorf("%w: the delay of %v lies in the past", ErrMessage, m.Delay)
	case !m.At.IsZero() && m.At.Before(now):
		return fmt.Errorf("%w: the time %s lies in the past", ErrMessage, m.At.Format(time.RFC3339))
	case m.Delay > MaxDelay || !m.At.IsZero() && m.At.Sub(now) > MaxDelay:
		return fmt.Errorf("%w: the delay is more than the ten years allowed", ErrMessage)
	case len(m.DedupeID) > maxDedupeID:
		return fmt.Errorf("%w: the deduplication id has %d bytes, more than the %d allowed", ErrTooLarge, len(m.DedupeID), maxDedupeID)
	case strings.IndexFunc(m.DedupeID, notVisible) >= 0:
		return fmt.Errorf("%w: the deduplication id %.40q is not visible ASCII", ErrMessage, m.DedupeID)
	}
	return nil
}

func checkHeaders(headers map[string]string) (map[string]string, error) {
	lower, size := true, 0
	for name, value := range headers {
		if size += len(name) + len(value); size > MaxHeaderBytes {
			return nil, fmt.Errorf("%w: the headers have more than the %d bytes allowed", ErrTooLarge, MaxHeaderBytes)
		}
		if err := checkHeader(name, value); err != nil {
			return nil, err
		}
		lower = lower && strings.ToLower(name) == name
	}
	if lower {
		return headers, nil
	}
	kept := make(map[string]string, len(headers))
	for name, value := range headers {
		low := strings.ToLower(name)
		if _, twice := kept[low]; twice {
			return nil, fmt.Errorf("%w: header %q is given twice, in different cases", ErrMessage, low)
		}
		kept[low] = value
	}
	return kept, nil
}

func checkHeader(name, value string) error {
	if name == "" || len(name) > maxHeaderName || strings.IndexFunc(name, notInHeaderName) >= 0 {
		return fmt.Errorf("%w: header name %.40q: it takes 1 to %d of A-Z a-z 0-9 . _ -", ErrMessage, name, maxHeaderName)
	}
	if !utf8.ValidString(value) || strings.IndexFunc(value, isControl) >= 0 {
		return fmt.Errorf("%w: header %q is not UTF-8 without control characters", ErrMessage, name)
	}
	return nil
}

func notInHeaderName(r rune) bool {
	return !(isAlphanumeric(r) || r == '.' || r == '_' || r == '-')
}

func isAlphanumeric(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
