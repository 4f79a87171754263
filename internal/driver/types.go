package driver

import "time"

// Message is one message of a topic. Its fields are those of beck.Message, in
// the same order, so that one converts to the other without a copy.
type Message struct {
	// ID is visible ASCII, 128 bytes at most. Compared as strings, the ids of a
	// topic sort in topic order.
	ID string
	// Topic is set by beck, above the seam.
	Topic string
	// Key orders messages within a consumer; empty for none.
	Key string
	// Headers have lower-case names. Nil for none.
	Headers map[string]string
	Body    []byte
	// Time is when the engine took the message, to the millisecond.
	Time time.Time
	// Attempt counts deliveries to a subscription, from 1; 0 when read without
	// one.
	Attempt int

	// What follows is for publishing only; it is zero in what an engine returns.

	// Delay is how long after it was taken the message enters the topic, by the
	// engine's clock. At is the same as a moment. At most one of them is set, and
	// neither lies in the past, as beck saw it.
	Delay time.Duration
	At    time.Time
	// DedupeID is 1 to 200 characters, or empty for none. A message with the
	// same one that was published to the topic within TopicConfig.DedupeWindow
	// is this message: nothing is stored, and its id is returned.
	DedupeID string
	// Durability is what must hold before Append returns its id; nil for nothing
	// beyond being written. Each message of a batch may have its own; the call waits
	// for all.
	Durability *Durability
}

// Durability is what must hold of a message, beyond being written, before its id is
// returned. The zero value asks for nothing more: on disk a message is synced all the
// same.
type Durability struct {
	// Replicas is how many replicas must have the message.
	Replicas int
	// Synced says that it must be on disk, and not only in the buffers of the system.
	Synced bool
	// Within bounds the wait for these; 0 means DefaultWithin.
	Within time.Duration
}

// DefaultWithin is for how long Append waits for a Durability that doesn't say so.
const DefaultWithin = 5 * time.Second

// PositionKind says what a Position means.
type PositionKind int

// The kinds of Position.
const (
	// Start is the oldest message stored.
	Start PositionKind = iota
	// End is behind the newest message.
	End
	// AtID is the message with an id, itself included, or if it is not there
	// the first one after it.
	AtID
	// AtTime is the first message not older than a time.
	AtTime
)

// Position is a place in a topic where reading starts.
type Position struct {
	Kind PositionKind
	ID   string
	Time time.Time
}

// Page is a run of messages.
type Page struct {
	Messages []Message
	// Last is the newest id that the topic ever gave out, as far as the engine
	// knows, or empty if it gave out none. It is needed for the continuity
	// rule and may cost an engine another command, so it is set only when
	// Messages is empty.
	Last string
	// More says that the page is full, so that reading on at once pays.
	More bool
	// Era is another one than before if the engine may have lost messages that it
	// had confirmed, as at a failover to a replica that was behind. A reader that
	// sees it change may have missed some, even if the last message it saw is there.
	// Empty if the engine can't tell, or loses none.
	Era string
}

// JoinConfig is what a subscription is made with.
type JoinConfig struct {
	// From is where a new subscription begins. AtID means behind that message:
	// the first one delivered is the next. An id that the topic has not given
	// out yet is ErrPosition.
	From Position
	// Lease is how long a consumer may hold a delivery; 0 keeps that of an
	// existing subscription, and means DefaultLease for a new one.
	Lease time.Duration
	// Expires is after what time without a Fetch the subscription is deleted; 0
	// keeps that of an existing one, and means never for a new one.
	Expires time.Duration
	// Queue makes the topic a queue, and is set with QueueSubscription only. It
	// is ErrWrongType if the topic has other subscriptions. To join a queue under
	// another name is ErrWrongType, too.
	Queue bool
}

// FetchRequest says who asks for how much.
type FetchRequest struct {
	Consumer string
	// Max is at least 1.
	Max int
	// Recover asks for what the consumer holds already, before anything else:
	// deliveries that it may not have heard of because a Fetch failed. Their
	// leases begin anew and their attempt numbers grow. At most Max come back,
	// the oldest first; the caller knows which ones it has.
	Recover bool
}

// Fetched is what a consumer got.
type Fetched struct {
	Messages []Message
	// More says that asking again at once pays.
	More bool
	// Next is after what time asking again pays without a hint: the next end
	// of a lease or of a retry's delay; or is needed, since a subscription that
	// expires must be fetched from. 0 means only after a hint.
	Next time.Duration
	// Lease is how long the consumer holds these messages.
	Lease time.Duration
	// Lost is how many messages the subscription has lost, by the topic's bounds
	// or by someone else, that no Fetch has told of before.
	Lost int64
	// Era is that of Page: if it changes, messages may have been lost that were never
	// delivered.
	Era string
}

// Action is what a Settlement does.
type Action int

// The actions.
const (
	// Acknowledge ends the delivery: the subscription is done with the message.
	Acknowledge Action = iota + 1
	// Retry has it delivered again, to any consumer, once After has passed.
	Retry
	// Release is a Retry without delay that takes the attempt back: the message
	// was not handled.
	Release
	// DeadLetter ends the delivery by keeping a copy among the subscription's
	// dead letters, with the Reason.
	DeadLetter
	// Renew begins the lease anew.
	Renew
)

// Settlement is one decision about one delivery.
type Settlement struct {
	ID     string
	Do     Action
	After  time.Duration // for Retry
	Reason string        // for DeadLetter and Retry
}

// TopicSummary is a topic in a list.
type TopicSummary struct {
	Name string
	// Length is the number of messages stored.
	Length int64
	// LastID is the newest id the topic ever gave out, empty if none.
	LastID        string
	Subscriptions int
	Queue         bool
}

// TopicInfo is all that is known about a topic.
type TopicInfo struct {
	Name    string
	Length  int64
	FirstID string // the oldest message stored, empty if none
	LastID  string // the newest id ever given out, empty if none
	Queue   bool
	// Bytes is about how much room the messages take, -1 if the engine can't
	// tell cheaply.
	Bytes int64
	// Delayed is the number of messages whose time has not come.
	Delayed int64
	// Dropped is the number of messages that were removed by the topic's bounds
	// though a subscription still needed them.
	Dropped int64
	Config  TopicConfig
	// Subscriptions are sorted by name.
	Subscriptions []SubscriptionInfo
}

// SubscriptionInfo is all that is known about a subscription.
type SubscriptionInfo struct {
	Name string
	// LastDelivered is the newest id that was delivered to a consumer, or where
	// the subscription began; empty for the start of the topic.
	LastDelivered string
	// Lag is the number of stored messages never delivered, -1 if the engine
	// can't tell cheaply.
	Lag int64
	// Pending is the number of messages leased to consumers, ended leases
	// included.
	Pending int64
	// Waiting is the number of messages that wait for their retry.
	Waiting int64
	// Dead is the number of dead letters kept.
	Dead int64
	// Lost is the number of messages that were removed from the topic before the
	// subscription was done with them: by the topic's bounds, or by someone else
	// while a consumer held them.
	Lost  int64
	Lease time.Duration
	// Paused says that Fetch returns nothing.
	Paused bool
	// Expires is after what time without a Fetch it is deleted, 0 for never; and
	// Unread is the time since the last one, to the quarter of a lease.
	Expires, Unread time.Duration
	// Consumers are sorted by name.
	Consumers []ConsumerInfo
}

// ConsumerInfo is all that is known about one running reader of a subscription.
type ConsumerInfo struct {
	Name    string
	Pending int64
	// Idle is the time since the consumer last asked for or settled anything.
	Idle time.Duration
}
