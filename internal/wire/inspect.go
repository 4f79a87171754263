package wire

import (
	"time"

	"github.com/beckmq/beck"
)

// Topics is the list of all topics.
type Topics struct {
	Topics []TopicSummary `json:"topics"`
}

// TopicSummary is a topic in the list.
type TopicSummary struct {
	Name          string `json:"name"`
	Length        int64  `json:"length"`
	LastID        string `json:"last_id,omitempty"`
	Subscriptions int    `json:"subscriptions"`
	Queue         bool   `json:"queue,omitempty"`
}

// TopicsOf returns the list as it is written.
func TopicsOf(topics []beck.TopicSummary) Topics {
	list := Topics{Topics: make([]TopicSummary, len(topics))}
	for i, t := range topics {
		list.Topics[i] = TopicSummary(t)
	}
	return list
}

// TopicInfo is all about a topic.
type TopicInfo struct {
	Name          string             `json:"name"`
	Length        int64              `json:"length"`
	FirstID       string             `json:"first_id,omitempty"`
	LastID        string             `json:"last_id,omitempty"`
	Queue         bool               `json:"queue,omitempty"`
	Bytes         int64              `json:"bytes"`
	Delayed       int64              `json:"delayed"`
	Dropped       int64              `json:"dropped"`
	Config        TopicConfig        `json:"config"`
	Subscriptions []SubscriptionInfo `json:"subscriptions"`
}

// SubscriptionInfo is all about a subscription.
type SubscriptionInfo struct {
	Name          string         `json:"name"`
	LastDelivered string         `json:"last_delivered,omitempty"`
	Lag           int64          `json:"lag"`
	Pending       int64          `json:"pending"`
	Waiting       int64          `json:"waiting"`
	Dead          int64          `json:"dead"`
	Lost          int64          `json:"lost"`
	Lease         Duration       `json:"lease"`
	Paused        bool           `json:"paused,omitempty"`
	Expires       Duration       `json:"expires,omitempty"`
	Unread        Duration       `json:"unread,omitempty"`
	Consumers     []ConsumerInfo `json:"consumers"`
}

// ConsumerInfo is all about a consumer.
type ConsumerInfo struct {
	Name    string   `json:"name"`
	Pending int64    `json:"pending"`
	Idle    Duration `json:"idle"`
}

// TopicInfoOf returns a topic's information as it is written.
func TopicInfoOf(t *beck.TopicInfo) TopicInfo {
	info := TopicInfo{
		Name: t.Name, Length: t.Length, FirstID: t.FirstID, LastID: t.LastID, Queue: t.Queue,
		Bytes: t.Bytes, Delayed: t.Delayed, Dropped: t.Dropped, Config: TopicConfigOf(t.Config),
		Subscriptions: make([]SubscriptionInfo, len(t.Subscriptions)),
	}
	for i, s := range t.Subscriptions {
		info.Subscriptions[i] = SubscriptionInfoOf(s)
	}
	return info
}

// SubscriptionInfoOf returns a subscription's information as it is written.
func SubscriptionInfoOf(s beck.SubscriptionInfo) SubscriptionInfo {
	info := SubscriptionInfo{
		Name: s.Name, LastDelivered: s.LastDelivered, Lag: s.Lag, Pending: s.Pending,
		Waiting: s.Waiting, Dead: s.Dead, Lost: s.Lost, Lease: Duration(s.Lease),
		Paused: s.Paused, Expires: Duration(s.Expires), Unread: Duration(s.Unread.Round(time.Millisecond)),
		Consumers: make([]ConsumerInfo, len(s.Consumers)),
	}
	for i, c := range s.Consumers {
		info.Consumers[i] = ConsumerInfo{c.Name, c.Pending, Duration(c.Idle.Round(time.Millisecond))}
	}
	return info
}
