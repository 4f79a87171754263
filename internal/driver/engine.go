package driver

import (
	"context"
	"time"
)

// Engine stores topics and the state of their subscriptions.
type Engine interface {
	Log
	Subscriber
	Admin
	Steerer
	Scheduler
	Live

	// Ping reports whether the engine can be reached and used right now.
	Ping(ctx context.Context) error

	// Close ends all that the engine runs and makes what was settled durable.
	// It is called once. Calls that still run then, or come later, fail with
	// ErrClosed or ErrUnavailable. Watches that are still open are never
	// signalled again.
	Close(ctx context.Context) error

	// String says what the engine is and where, for people: "disk beck-data",
	// "redis 127.0.0.1:6379/0". It never contains a secret.
	String() string
}

// Log is the ordered, stored sequence of messages that a topic is.
type Log interface {
	// Append adds messages to the end of the topic, in order, as one round
	// trip, and returns their ids, in the same order. The topic is created
	// where it does not exist. ID, Time and Attempt of the messages are
	// ignored.
	//
	// A delayed message is kept beside the topic and enters it at its end when
	// its time has come: never before, and within 50 ms after it if anybody
	// watches the topic or fetches from it; until then it doesn't count as part
	// of the topic. The id returned for it begins with "d", is not an id of the
	// topic, and is good for Cancel and Peek; when the message enters the topic
	// it gets an id, and the header "beck-delayed-id" with the former one. A
	// topic that is full is no reason to refuse a delayed message, unless it is one
	// that the topic could never take; when its time comes in a full topic it waits
	// on, without blocking other topics.
	//
	// When it returns without an error, the engine holds every message as
	// durably as the engine was asked to. With an error the ids of those
	// messages at the front that are known to be stored are returned beside it;
	// of the others, none is stored if the error is ErrUnavailable, ErrFull,
	// ErrTopicFull or any other error of this package but ErrUncertain, and any may be if it is
	// ErrUncertain. With ErrDurability all are stored and all ids are returned, but
	// their Durability was not reached in time. A Durability that the engine can't
	// give at all is beck's ErrOption, and nothing is stored.
	//
	// Of two calls of which one returned before the other began, the first
	// one's messages come first in the topic.
	Append(ctx context.Context, topic string, messages []Message) (ids []string, err error)

	// Read returns at most max messages from a position on, in topic order. It
	// may return fewer, with More set, to bound memory, but at least two if
	// there are and max allows: a reader that resumes has seen the first one.
	// It never waits for messages. A topic that does not exist reads as empty.
	// A malformed id is ErrPosition; one that lies ahead of the topic is not,
	// since a failover may have lost the topic's tail.
	Read(ctx context.Context, topic string, from Position, max int) (Page, error)

	// Watch asks for hints that a topic, or the state of one of its
	// subscriptions, may have changed. The channel has room for one hint and is
	// never closed; stop ends the watch.
	//
	// A change after a Read or Fetch that began after Watch returned is hinted
	// at. So the reader's loop is: Watch; then read until a page comes back
	// short; wait for a hint; and so on. The engine also hints after it has
	// lost and found its connection, and now and then without cause. The end of
	// a lease, and of a retry's delay, are not hinted at: Fetched.Next tells
	// when they are due.
	Watch(topic string) (hints <-chan struct{}, stop func())
}

// Subscriber keeps durable, shared positions on topics.
type Subscriber interface {
	// Join makes the subscription if it is not there, with its topic if need
	// be, and tells whether it was. Joining one that exists changes nothing but
	// its lease, if config has one.
	Join(ctx context.Context, topic, subscription string, config JoinConfig) (existed bool, err error)

	// Fetch leases at most req.Max messages to a consumer, or fewer with More
	// set, to bound memory: those whose retry is due, those whose lease has
	// ended, and those never delivered. It never waits for messages. A paused
	// subscription gets none. One that does not exist, or was deleted, is
	// ErrSubscriptionNotFound; one whose state an engine lost by accident is
	// restored from the last position known, and delivers too much rather than
	// too little.
	//
	// A delivery is recorded before it is returned, so that its attempt number
	// is right after a crash. If Fetch returns an error, messages may have been
	// leased to the consumer all the same: ask again with Recover.
	Fetch(ctx context.Context, topic, subscription string, req FetchRequest) (Fetched, error)

	// Settle ends or prolongs leases of a consumer, as one round trip, durable
	// once it returns. It returns the ids that the consumer did not hold; all
	// others are settled. If the subscription does not exist, the error is
	// ErrSubscriptionNotFound, or nothing was held.
	//
	// Retry, Release, DeadLetter and Renew are done only for the consumer that
	// holds the lease, which may have ended as long as nobody
	// else has it. Acknowledge is done whoever holds it, since the work is done; an id is not held then if nobody does. In calls of more than
	// ExactSettlements settlements an engine may leave out such ids from those
	// it returns.
	Settle(ctx context.Context, topic, subscription, consumer string, settlements []Settlement) (notHeld []string, err error)

	// Leave forgets a consumer if it holds nothing. It is no error if the
	// consumer or the subscription is not known.
	Leave(ctx context.Context, topic, subscription, consumer string) error

	// Outstanding tells which of some messages, 1000 at most, the subscription is
	// not done with, and in which state they are: Ready, Held, Waiting or Buried.
	// It is done with those it acknowledged, those before its beginning or
	// skipped by a Seek, and those that were dropped. An id that the topic has not
	// given out is ErrPosition.
	Outstanding(ctx context.Context, topic, subscription string, ids []string) (map[string]State, error)
}

// Admin inspects and removes.
type Admin interface {
	// Topics lists all topics, by name.
	Topics(ctx context.Context) ([]TopicSummary, error)

	// Topic tells about one topic and its subscriptions, by name. It returns
	// ErrTopicNotFound if the topic does not exist.
	Topic(ctx context.Context, topic string) (TopicInfo, error)

	// Trim removes the messages of a topic that come before a position, but
	// none that a subscription has yet to be delivered or to settle, and
	// returns how many. Readers that have not come so far get a gap.
	Trim(ctx context.Context, topic string, before Position) (removed int64, err error)

	// DeleteTopic removes a topic with its messages and subscriptions, or
	// returns ErrTopicNotFound.
	DeleteTopic(ctx context.Context, topic string) error

	// DeleteSubscription removes a subscription with all it holds, or returns
	// ErrSubscriptionNotFound (or ErrTopicNotFound).
	DeleteSubscription(ctx context.Context, topic, subscription string) error
}

// Steerer changes how topics and subscriptions go on. Each of its methods wakes
// those who watch the topic if it changes what they may get. What does not exist
// is ErrTopicNotFound or ErrSubscriptionNotFound.
type Steerer interface {
	// Configure sets what a topic keeps, and makes the topic where it does not
	// exist. Other processes know within a few seconds.
	Configure(ctx context.Context, topic string, config TopicConfig) error

	// Peek looks at messages without changing anything. The subscription is empty
	// for Delayed.
	Peek(ctx context.Context, topic, subscription string, req PeekRequest) (Peeked, error)

	// Requeue gives dead letters back to their subscription, and to it alone, to
	// be delivered at once with their attempts counted anew. It returns the ids
	// that are not among its dead letters; all others are requeued.
	Requeue(ctx context.Context, topic, subscription string, ids []string) (missing []string, err error)

	// Drop removes dead letters, and returns the ids that are not there.
	Drop(ctx context.Context, topic, subscription string, ids []string) (missing []string, err error)

	// Cancel removes delayed messages that have not entered the topic, and
	// returns the ids that are not there. Their DedupeIDs are forgotten.
	Cancel(ctx context.Context, topic string, ids []string) (missing []string, err error)

	// Seek has a subscription go on from a position, understood as in JoinConfig.
	// All that it held or had waiting is forgotten; its consumers learn that they
	// hold it no more when they settle it. Dead letters stay.
	Seek(ctx context.Context, topic, subscription string, to Position) error

	// Pause has a subscription deliver nothing, or go on. What consumers hold
	// they may settle and renew meanwhile.
	Pause(ctx context.Context, topic, subscription string, paused bool) error

	// Purge removes all messages of a topic, stored and delayed, needed or not,
	// and returns how many. Its subscriptions go on behind them, and keep their
	// dead letters. It is not counted as loss; followers get a gap.
	Purge(ctx context.Context, topic string) (removed int64, err error)
}

// Scheduler keeps recurring messages. When they are due is decided above.
type Scheduler interface {
	// Schedules lists all schedules, by name.
	Schedules(ctx context.Context) ([]Schedule, error)

	// PutSchedule makes a schedule or replaces the one with its name, with Last
	// as given.
	PutSchedule(ctx context.Context, s Schedule) error

	// DeleteSchedule removes one, or returns ErrScheduleNotFound.
	DeleteSchedule(ctx context.Context, name string) error

	// Tick publishes a message to the topic of a schedule and sets its Last to
	// tick, both or neither, if the schedule has the Version given and its Last
	// is before tick; if not, it does nothing and done is false. So each tick is
	// published once, whoever tries. Bounds of the topic hold as in Append; with
	// ErrDurability it is published, and id and done say so.
	Tick(ctx context.Context, s Schedule, tick time.Time, m Message) (id string, done bool, err error)
}

// Live carries what is not stored: at most once, to those there.
type Live interface {
	// Broadcast hands a body to all who listen now, and returns how many the
	// engine knows of: listeners, or processes with listeners; -1 if it can't
	// tell.
	Broadcast(ctx context.Context, subject string, body []byte) (listeners int, err error)

	// Listen receives what is broadcast from when it returns to when stop is
	// called. A pattern is a subject, or "prefix.*" for all that begin with
	// "prefix.", or "*" for all. A connection that is lost is mended, and Missed
	// called. No call of the Listener is under way when stop returns, so a
	// Listener must not call it.
	Listen(ctx context.Context, pattern string, l Listener) (stop func(), err error)

	// Request hands a request to one of those who serve, each in his turn, and
	// returns the answer. ErrNoReplier comes at once if nobody serves; nobody has
	// it then. The context has a deadline, which travels along. If the connection
	// breaks, the error is ErrUncertain.
	Request(ctx context.Context, service string, m Message) (Answer, error)

	// Serve offers to answer requests from when it returns to when stop is
	// called: handle is given each, and must not block. Requests that were handed
	// over may still be answered after stop.
	Serve(ctx context.Context, service string, handle func(Request)) (stop func(), err error)
}

// ExactSettlements is the number of settlements in one call up to which Settle
// names every id that was not held.
const ExactSettlements = 100

// DefaultLease is the lease of a subscription that was joined without one.
const DefaultLease = 30 * time.Second
