package beck

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// The errors to compare with, by [errors.Is]. Every error that a Bus returns is
// an [*Error] around one of these, an [*AnswerError], an [*UnconfirmedError] or the
// error of a context, or it is a [*Gap].
var (
	// ErrName: a name outside the grammar, see CheckName.
	ErrName = errors.New("invalid name")
	// ErrMessage: a message that can't be published as it is.
	ErrMessage = errors.New("invalid message")
	// ErrOption: an option, an argument or an address that makes no sense.
	ErrOption = errors.New("invalid option")
	// ErrNotHeld: a delivery is not, or no longer, leased to the consumer that
	// wants to settle it. Another consumer has it, or is done with it.
	ErrNotHeld = errors.New("delivery not held")

	// ErrMessageNotFound: no dead letter, or delayed message, has this id.
	ErrMessageNotFound = driver.ErrMessageNotFound
	// ErrScheduleNotFound: there is no schedule with this name.
	ErrScheduleNotFound = driver.ErrScheduleNotFound
	// ErrNoReplier: nobody answers requests to this service.
	ErrNoReplier = driver.ErrNoReplier
	// ErrTopicFull: the topic holds all that it may, see [TopicConfig], and its
	// subscriptions still need it. Nothing was stored.
	ErrTopicFull = driver.ErrTopicFull
	// ErrPosition: a position that is malformed, or lies ahead of the topic.
	ErrPosition = driver.ErrPosition
	// ErrTopicNotFound: the topic does not exist.
	ErrTopicNotFound = driver.ErrTopicNotFound
	// ErrSubscriptionNotFound: the subscription does not exist, or was deleted.
	ErrSubscriptionNotFound = driver.ErrSubscriptionNotFound
	// ErrTooLarge: a body, key, header or batch beyond its limit.
	ErrTooLarge = driver.ErrTooLarge
	// ErrUnavailable: the engine can't be reached. Nothing was done.
	ErrUnavailable = driver.ErrUnavailable
	// ErrUncertain: the connection broke before the answer came. What was asked
	// for may have been done.
	ErrUncertain = driver.ErrUncertain
	// ErrDurability: the messages are stored, under the ids that are returned beside
	// it, but are not known to be as durable as [Durability] asked for.
	ErrDurability = driver.ErrDurability
	// ErrFull: the engine has no room. Nothing was done.
	ErrFull = driver.ErrFull
	// ErrDenied: wrong user or password, or one without the permission.
	ErrDenied = driver.ErrDenied
	// ErrWrongType: something that is not a topic has the topic's place.
	ErrWrongType = driver.ErrWrongType
	// ErrVersion: a server, or data on disk, of a version beck can't work with.
	ErrVersion = driver.ErrVersion
	// ErrInUse: another process has the data directory open.
	ErrInUse = driver.ErrInUse
	// ErrCorrupt: stored data that can't be right.
	ErrCorrupt = driver.ErrCorrupt
	// ErrClosed: the bus was closed.
	ErrClosed = driver.ErrClosed
)

// Error is what failed, and where.
type Error struct {
	Op           string // "publish", "follow", …
	Topic        string // empty if it concerns none
	Subscription string // empty if it concerns none
	Err          error
}

func (e *Error) Error() string {
	s := "beck: " + e.Op
	if e.Topic != "" {
		s += " " + e.Topic
	}
	if e.Subscription != "" {
		s += " as " + e.Subscription
	}
	return s + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// NotHeldError names the deliveries that a consumer wanted to settle and did not
// hold. All others of the same call are settled. It is ErrNotHeld.
type NotHeldError struct {
	Consumer string
	IDs      []string
}

func (e *NotHeldError) Error() string {
	shown, rest := e.IDs, ""
	if len(shown) > 3 {
		shown, rest = shown[:3], fmt.Sprintf(" and %d more", len(e.IDs)-3)
	}
	return fmt.Sprintf("%v by consumer %s: %s%s", ErrNotHeld, e.Consumer, strings.Join(shown, ", "), rest)
}

// Is makes errors.Is find ErrNotHeld.
func (e *NotHeldError) Is(target error) bool { return target == ErrNotHeld }

// AnswerError is a replier's error that came back to the one who asked.
type AnswerError struct {
	Service string
	Text    string // of the error that the replier's function returned
}

func (e *AnswerError) Error() string { return "answered by " + e.Service + ": " + e.Text }

// UnconfirmedError says which messages were not acknowledged. It wraps the error
// of the context that ended, if that is why.
type UnconfirmedError struct {
	// Open has for each subscription that is not done the ids, and where they
	// stand: StateReady, StateHeld, StateWaiting or StateDead, or StateUnknown
	// for messages of which the engine has told nothing in that time; they may be
	// acknowledged.
	Open map[string]map[string]State
	Err  error
}

func (e *UnconfirmedError) Error() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(e.Open)) {
		byState := map[State]int{}
		for _, state := range e.Open[name] {
			byState[state]++
		}
		for _, state := range slices.Sorted(maps.Keys(byState)) {
			parts = append(parts, fmt.Sprintf("%d %s with %s", byState[state], state, name))
		}
	}
	s := "not acknowledged: " + strings.Join(parts, ", ")
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the error of the context that ended, if any.
func (e *UnconfirmedError) Unwrap() error { return e.Err }

// Gap tells a reader that messages may be missing: they were trimmed away before
// it came to them, or the engine lost them, or the topic was deleted. It reaches
// a follower as an error, before the first message behind the gap; the follower
// may go on.
type Gap struct {
	Topic string
	// After is the position up to which the reader has seen everything.
	After Position
	// Resume is the position to go on from by a reader that gets no further
	// message. It is After if there are messages behind the gap; read from there
	// again, they come with the same gap. After a failover it may lie before After:
	// then messages behind it were seen that are no more, and others come in their
	// place, with ids that may be lower.
	Resume Position
}

func (g *Gap) Error() string {
	if g.After == "" { // what is broadcast has no positions
		return fmt.Sprintf("beck: %s: messages may be missing", g.Topic)
	}
	return fmt.Sprintf("beck: %s: messages behind %s may be missing", g.Topic, g.After)
}

// RetryAfter is returned by a handler to have the message retried after d, at
// the earliest, instead of after the usual backoff. A negative d is 0.
func RetryAfter(d time.Duration) error { return &retryAfter{max(0, d)} }

type retryAfter struct{ after time.Duration }

func (e *retryAfter) Error() string { return fmt.Sprintf("retry after %v", e.after) }

// Dead is returned by a handler when no retry can help: the message goes to the
// dead letters of its subscription, with err as the reason.
func Dead(err error) error { return &dead{err} }

type dead struct{ err error }

func (e *dead) Error() string {
	if e.err == nil {
		return "given up by its handler"
	}
	return e.err.Error()
}

func (e *dead) Unwrap() error { return e.err }

func isDead(err error) bool {
	var d *dead
	return errors.As(err, &d)
}

// maxReason bounds what is stored of a reason, in bytes.
const maxReason = 1000

func reason(err error) (s string) {
	defer func() {
		if p := recover(); p != nil {
			s = fmt.Sprintf("%T, whose Error panicked", err)
		}
	}()
	return shortened(err.Error())
}

func shortened(reason string) string {
	s := strings.ToValidUTF8(reason, "\uFFFD")
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "") + "…"
	}
	return s
}
