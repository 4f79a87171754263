package onhttp

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/wire"
)

// Topics lists all topics.
func (e *engine) Topics(ctx context.Context) ([]driver.TopicSummary, error) {
	var answer wire.Topics
	if err := e.jsonCall(ctx, http.MethodGet, "/v1/topics", nil, &answer); err != nil {
		return nil, err
	}
	list := make([]driver.TopicSummary, len(answer.Topics))
	for i, t := range answer.Topics {
		list[i] = driver.TopicSummary(t)
	}
	return list, nil
}

// Topic tells about one topic.
func (e *engine) Topic(ctx context.Context, topic string) (driver.TopicInfo, error) {
	var t wire.TopicInfo
	if err := e.jsonCall(ctx, http.MethodGet, topicPath(topic), nil, &t); err != nil {
		return driver.TopicInfo{}, err
	}
	info := driver.TopicInfo{
		Name: t.Name, Length: t.Length, FirstID: t.FirstID, LastID: t.LastID, Queue: t.Queue,
		Bytes: t.Bytes, Delayed: t.Delayed, Dropped: t.Dropped, Config: driverConfig(t.Config),
	}
	for _, s := range t.Subscriptions {
		info.Subscriptions = append(info.Subscriptions, subscriptionInfo(s))
	}
	return info, nil
}

func subscriptionInfo(s wire.SubscriptionInfo) driver.SubscriptionInfo {
	info := driver.SubscriptionInfo{
		Name: s.Name, LastDelivered: s.LastDelivered, Lag: s.Lag, Pending: s.Pending,
		Waiting: s.Waiting, Dead: s.Dead, Lost: s.Lost, Lease: time.Duration(s.Lease),
		Paused: s.Paused, Expires: time.Duration(s.Expires), Unread: time.Duration(s.Unread),
	}
	for _, c := range s.Consumers {
		info.Consumers = append(info.Consumers, driver.ConsumerInfo{Name: c.Name, Pending: c.Pending, Idle: time.Duration(c.Idle)})
	}
	return info
}

// Trim removes messages before a position.
func (e *engine) Trim(ctx context.Context, topic string, before driver.Position) (int64, error) {
	to, err := position(before)
	if err != nil {
		return 0, err
	}
	c := call{method: http.MethodDelete, path: topicPath(topic) + "/messages", query: url.Values{"before": {string(to)}}}
	body, err := e.call(ctx, c)
	if err != nil {
		return 0, err
	}
	var answer wire.TrimAnswer
	if err := json.Unmarshal(body, &answer); err != nil {
		return 0, e.unreadable(c, err)
	}
	return answer.Removed, nil
}

// DeleteTopic removes a topic.
func (e *engine) DeleteTopic(ctx context.Context, topic string) error {
	return e.jsonCall(ctx, http.MethodDelete, topicPath(topic), nil, nil)
}

// DeleteSubscription removes a subscription.
func (e *engine) DeleteSubscription(ctx context.Context, topic, subscription string) error {
	return e.jsonCall(ctx, http.MethodDelete, subscriptionPath(topic, subscription), nil, nil)
}
