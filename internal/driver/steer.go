package driver

import (
	"context"
	"time"
)

// TopicConfig is what a topic keeps, and for how long. A topic that was never
// configured has DefaultTopicConfig.
type TopicConfig struct {
	// MaxAge is how old a message may become; 0 for any age. What is older is
	// removed within about a minute, but not while a subscription needs it.
	MaxAge time.Duration
	// MaxMessages and MaxBytes bound what is stored; 0 for no bound. Append
	// makes room by removing the oldest messages that no subscription needs; if
	// that is not enough, it fails with ErrTopicFull, or with DropOldest it
	// removes messages that are needed, too, and counts them. MaxBytes is what
	// the engine takes a topic's messages to need, and need not be met exactly.
	MaxMessages, MaxBytes int64
	DropOldest            bool
	// DedupeWindow is for how long a DedupeID is remembered.
	DedupeWindow time.Duration
}

// DefaultTopicConfig is that of a topic that was never configured.
var DefaultTopicConfig = TopicConfig{MaxAge: 7 * 24 * time.Hour, DedupeWindow: 10 * time.Minute}

// QueueSubscription is the only subscription of a queue. What it acknowledges is
// removed from the topic.
const QueueSubscription = "workers"

// State is where a message stands with a subscription.
type State string

// The states.
const (
	Ready   State = "ready"   // stored and never delivered
	Held    State = "held"    // leased to a consumer
	Waiting State = "waiting" // for its retry
	Delayed State = "delayed" // its time to enter the topic has not come
	Buried  State = "dead"    // a dead letter
)

// PeekRequest asks for a run of the messages in one state.
type PeekRequest struct {
	State State
	// After is the id of the last entry seen, empty for none. Should that have
	// gone, the entries behind its place come.
	After string
	Max   int // at least 1
}

// Peeked is a run of entries, in an order that does not change: of the topic, of
// the times at which they are due (Waiting, Delayed), or in which they died.
type Peeked struct {
	Entries []Entry
	More    bool // there are entries behind these
}

// Entry is one message and where it stands.
type Entry struct {
	// Message is whole. Attempt counts the deliveries so far. The ID of a delayed
	// one is what Append returned for it.
	Message Message
	State   State
	// Consumer holds it, or was the last to do so (Held, Buried).
	Consumer string
	// Since is when the state began; zero if the engine can't tell.
	Since time.Time
	// Due is when the state ends by itself: the lease, the wait, the delay. Zero
	// for Ready and Buried.
	Due time.Time
	// Reason is that of the last retry, or of the death.
	Reason string
}

// Request is one that somebody waits to have answered.
type Request struct {
	// Message has Key, Headers, Body and Time.
	Message Message
	// Deadline is when nobody waits any more, by the clock of this process.
	Deadline time.Time
	// Answer sends the answer, once. If nobody waits any more it is dropped. It
	// must not be called on the goroutine that handed over the request.
	Answer func(context.Context, Answer) error
}

// Answer is what a request gets.
type Answer struct {
	Body []byte
	// Failure is the text of the replier's error; empty for none. The Body is
	// empty then.
	Failure string
}

// Listener takes in what is broadcast. Neither function may block, and they are
// called one at a time.
type Listener struct {
	Receive func(subject string, body []byte)
	// Missed says that something may not have come, because a connection was
	// lost or was too slow.
	Missed func()
}

// Schedule is a recurring message.
type Schedule struct {
	Name, Topic string
	// Version tells apart what was put under one name; beck makes it.
	Version string
	// Config is beck's: when, and what. It is the JSON of a ScheduleConfig, and an
	// engine gives it back as it was.
	Config []byte
	// Last is the newest tick that was published, or when the schedule was put if
	// there is none. The engine keeps it to the millisecond.
	Last time.Time
}

// ScheduleConfig is what beck keeps in a Schedule's Config.
type ScheduleConfig struct {
	Spec    string            `json:"spec"`
	Zone    string            `json:"zone,omitempty"`
	Missed  string            `json:"missed,omitempty"`
	Key     string            `json:"key,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    []byte            `json:"body"`
}
