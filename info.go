package beck

import "time"

// TopicSummary is a topic in the list of all.
type TopicSummary struct {
	Name          string
	Length        int64  // messages stored
	LastID        string // the newest id ever given out, empty if none
	Subscriptions int
	Queue         bool
}

// TopicInfo is all that is known about a topic.
type TopicInfo struct {
	Name          string
	Length        int64  // messages stored
	FirstID       string // the oldest message stored, empty if none
	LastID        string // the newest id ever given out, empty if none
	Queue         bool
	Bytes         int64 // room that the messages take, about; -1 if unknown
	Delayed       int64 // messages whose time has not come
	Dropped       int64 // messages removed by DropOldest though still needed
	Config        TopicConfig
	Subscriptions []SubscriptionInfo
}

// SubscriptionInfo is all that is known about a subscription.
type SubscriptionInfo struct {
	Name string
	// LastDelivered is the newest id delivered to a consumer, or where the
	// subscription began; empty for the start of the topic.
	LastDelivered string
	Lag           int64         // stored messages never delivered; -1 if unknown
	Pending       int64         // messages leased to consumers
	Waiting       int64         // messages that wait for their retry
	Dead          int64         // dead letters kept
	Lost          int64         // messages dropped, or removed by others, before they were acknowledged
	Lease         time.Duration // how long a consumer may hold a delivery
	Paused        bool
	Expires       time.Duration // after what time unread it is deleted; 0 for never
	Unread        time.Duration // since the last fetch, about
	Consumers     []ConsumerInfo
}

// ConsumerInfo is all that is known about one running reader of a subscription.
type ConsumerInfo struct {
	Name    string
	Pending int64         // messages leased to it
	Idle    time.Duration // since it last asked for or settled anything
}
