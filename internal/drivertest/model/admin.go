package model

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/beckmq/beck/internal/driver"
)

// Topics implements driver.Admin.
func (e *Engine) Topics(ctx context.Context) ([]driver.TopicSummary, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	var list []driver.TopicSummary
	for _, name := range slices.Sorted(maps.Keys(e.topics)) {
		t := e.topics[name]
		list = append(list, driver.TopicSummary{
			Name: name, Length: int64(len(t.messages)), LastID: t.last, Subscriptions: len(t.subscriptions), Queue: t.queue,
		})
	}
	return list, nil
}

// Topic implements driver.Admin.
func (e *Engine) Topic(ctx context.Context, name string) (driver.TopicInfo, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.enter(ctx); err != nil {
		return driver.TopicInfo{}, err
	}
	t, err := e.findTopic(name)
	if err != nil {
		return driver.TopicInfo{}, err
	}
	info := driver.TopicInfo{
		Name: name, Length: int64(len(t.messages)), LastID: t.last, Queue: t.queue, Bytes: t.bytes(),
		Delayed: int64(len(t.delayed)), Dropped: t.dropped, Config: t.config,
	}
	if len(t.messages) > 0 {
		info.FirstID = t.messages[0].ID
	}
	for _, s := range slices.Sorted(maps.Keys(t.subscriptions)) {
		info.Subscriptions = append(info.Subscriptions, t.subscriptions[s].info(s, t, e.now()))
	}
	return info, nil
}

// Trim implements driver.Admin. Messages that wait for a retry are kept by the
// subscription, so that they may go from the topic.
func (e *Engine) Trim(ctx context.Context, name string, before driver.Position) (int64, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.enter(ctx); err != nil {
		return 0, err
	}
	if err := checkPosition(before); err != nil {
		return 0, err
	}
	t, ok := e.topics[name]
	if !ok {
		return 0, nil
	}
	n := min(t.index(before), t.needed())
	t.messages = slices.Clone(t.messages[n:])
	if n > 0 {
		e.hint(name)
	}
	return int64(n), nil
}

// DeleteTopic implements driver.Admin.
func (e *Engine) DeleteTopic(ctx context.Context, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.enter(ctx); err != nil {
		return err
	}
	if _, err := e.findTopic(name); err != nil {
		return err
	}
	delete(e.topics, name)
	e.hint(name)
	return nil
}

// DeleteSubscription implements driver.Admin.
func (e *Engine) DeleteSubscription(ctx context.Context, name, subscription string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, _, err := e.findToSteer(ctx, name, subscription)
	if err != nil {
		return err
	}
	t.forget(subscription)
	e.hint(name)
	return nil
}

// findToSteer returns a subscription, and tells a missing topic from a missing
// subscription. e.mu is held.
func (e *Engine) findToSteer(ctx context.Context, name, subscriptionName string) (*topic, *subscription, error) {
	if err := e.enter(ctx); err != nil {
		return nil, nil, err
	}
	t, err := e.findTopic(name)
	if err != nil {
		return nil, nil, err
	}
	s, ok := t.subscriptions[subscriptionName]
	if !ok {
		return nil, nil, fmt.Errorf("%s of %s: %w", subscriptionName, name, driver.ErrSubscriptionNotFound)
	}
	return t, s, nil
}
