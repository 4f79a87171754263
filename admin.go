package beck

import (
	"context"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// Topics lists all topics, by name.
func (b *Bus) Topics(ctx context.Context) ([]TopicSummary, error) {
	var list []TopicSummary
	err := b.do("list topics", nil, func() error {
		topics, err := b.engine.Topics(ctx)
		for _, t := range topics {
			list = append(list, TopicSummary(t))
		}
		return err
	})
	return list, err
}

// Topic tells about a topic, its subscriptions and their consumers. A topic that
// doesn't exist is ErrTopicNotFound.
func (b *Bus) Topic(ctx context.Context, topic string) (*TopicInfo, error) {
	var info *TopicInfo
	err := b.do("inspect", at{topic}, func() error {
		t, err := b.engine.Topic(ctx, topic)
		if err != nil {
			return err
		}
		info = &TopicInfo{
			Name: t.Name, Length: t.Length, FirstID: t.FirstID, LastID: t.LastID, Queue: t.Queue,
			Bytes: t.Bytes, Delayed: t.Delayed, Dropped: t.Dropped, Config: topicConfig(t.Config),
		}
		for _, s := range t.Subscriptions {
			info.Subscriptions = append(info.Subscriptions, subscriptionInfo(s))
		}
		return nil
	})
	return info, err
}

func subscriptionInfo(s driver.SubscriptionInfo) SubscriptionInfo {
	info := SubscriptionInfo{
		Name: s.Name, LastDelivered: s.LastDelivered, Lag: s.Lag, Pending: s.Pending,
		Waiting: s.Waiting, Dead: s.Dead, Lost: s.Lost, Lease: s.Lease,
		Paused: s.Paused, Expires: s.Expires, Unread: s.Unread,
	}
	for _, c := range s.Consumers {
		info.Consumers = append(info.Consumers, ConsumerInfo(c))
	}
	return info
}

// Trim removes the messages of a topic before a position, but none that a
// subscription still needs, and returns how many. An id itself stays. Readers
// that have not come so far get a [Gap].
func (b *Bus) Trim(ctx context.Context, topic string, before Position) (removed int64, err error) {
	err = b.do("trim", at{topic}, func() error {
		p, err := before.resolve(time.Now())
		if err == nil {
			removed, err = b.engine.Trim(ctx, topic, p)
			b.forgetPages(topic)
		}
		return err
	})
	return removed, err
}

// DeleteTopic removes a topic with all its messages and subscriptions, or
// returns ErrTopicNotFound. Whoever consumes one of the subscriptions gets
// ErrSubscriptionNotFound; whoever follows the topic gets a [Gap].
func (b *Bus) DeleteTopic(ctx context.Context, topic string) error {
	return b.do("delete", at{topic}, func() error {
		defer b.forgetPages(topic)
		return b.engine.DeleteTopic(ctx, topic)
	})
}

// DeleteSubscription removes a subscription, with what is pending and its dead
// letters, or returns ErrSubscriptionNotFound. Whoever consumes it gets
// ErrSubscriptionNotFound.
func (b *Bus) DeleteSubscription(ctx context.Context, topic, subscription string) error {
	return b.do("delete", at{topic, subscription}, func() error {
		return b.engine.DeleteSubscription(ctx, topic, subscription)
	})
}
