package drivertest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/drivertest/model"
)

// configured makes a fault that changes what a topic is configured with.
func configured(change func(c *driver.TopicConfig)) func(f *faulty) {
	return func(f *faulty) {
		f.configure = func(ctx context.Context, topic string, c driver.TopicConfig) error {
			change(&c)
			return f.Engine.Configure(ctx, topic, c)
		}
	}
}

// published makes a fault that changes what is published.
func published(change func(m *driver.Message)) func(f *faulty) {
	return func(f *faulty) {
		f.append = func(ctx context.Context, topic string, messages []driver.Message) ([]string, error) {
			messages = slices.Clone(messages)
			for i := range messages {
				change(&messages[i])
			}
			return f.Engine.Append(ctx, topic, messages)
		}
	}
}

// allDelayed lists the ids of all delayed messages of a topic.
func allDelayed(e *model.Engine, topic string) (ids []string) {
	got, err := e.Peek(context.Background(), topic, "", driver.PeekRequest{State: driver.Delayed, Max: 1000})
	if err != nil {
		return nil
	}
	return idsOf(messagesOf(got.Entries))
}

// mixDedupe takes a DedupeID for known in whatever topic it was used.
func mixDedupe(f *faulty) {
	var mu sync.Mutex
	known := map[string]string{}
	f.append = func(ctx context.Context, topic string, messages []driver.Message) ([]string, error) {
		mu.Lock()
		defer mu.Unlock()
		var ids []string
		for _, m := range messages {
			if id, ok := known[m.DedupeID]; ok && m.DedupeID != "" {
				ids = append(ids, id)
				continue
			}
			got, err := f.Engine.Append(ctx, topic, []driver.Message{m})
			if err != nil {
				return ids, err
			}
			known[m.DedupeID] = got[0]
			ids = append(ids, got[0])
		}
		return ids, nil
	}
}

// queueFaults are about queues, bounds, delay and deduplication.
func queueFaults() []fault {
	return []fault{
		{name: "knows no queues", plant: func(f *faulty) {
			f.join = func(ctx context.Context, topic, s string, config driver.JoinConfig) (bool, error) {
				config.Queue = false
				return f.Engine.Join(ctx, topic, s, config)
			}
		}, caught: []string{"queue/gone when acknowledged", "queue/told", "queue/late acknowledge", "queue/one subscription", "bus queue/each task once", "bus queue/no mixing", "histories/random"}},
		{name: "removes only what stands in front of a queue", plant: func(f *faulty) {
			f.join = func(ctx context.Context, topic, s string, config driver.JoinConfig) (bool, error) {
				config.Queue = false
				return f.Engine.Join(ctx, topic, s, config)
			}
			f.settle = func(ctx context.Context, topic, s, consumer string, list []driver.Settlement) ([]string, error) {
				notHeld, err := f.Engine.Settle(ctx, topic, s, consumer, list)
				if s == workers {
					_, _ = f.Trim(ctx, topic, end)
				}
				return notHeld, err
			}
		}, caught: []string{"queue/gone when acknowledged"}},
		{name: "has no bounds", plant: configured(func(c *driver.TopicConfig) { c.MaxMessages, c.MaxBytes = 0, 0 }),
			caught: []string{"bounds/configure", "bounds/refusal", "bounds/batch", "bounds/concurrent", "bounds/drop oldest", "bounds/bytes", "bounds/lowered", "delay/full topic", "bus steer/full", "histories/random"}},
		{name: "drops what is needed", plant: configured(func(c *driver.TopicConfig) { c.DropOldest = c.MaxMessages > 0 }),
			caught: []string{"bounds/refusal", "bounds/batch", "bounds/concurrent", "schedules/full topic", "delay/full topic", "bus steer/full", "histories/random"}},
		{name: "doesn't drop", plant: configured(func(c *driver.TopicConfig) { c.DropOldest = false }),
			caught: []string{"bounds/drop oldest", "bounds/gap", "bounds/bytes", "bus steer/dropped"}},
		{name: "doesn't count what is lost", plant: told(func(s *driver.SubscriptionInfo) { s.Lost = 0 }),
			caught: []string{"bounds/drop oldest", "bounds/dropped while held", "bounds/restart", "bus steer/dropped"}},
		{name: "doesn't tell what is lost", plant: fetched(func(f *driver.Fetched) { f.Lost = 0 }),
			caught: []string{"bounds/drop oldest", "bounds/dropped while held", "bus steer/dropped"}},
		{name: "tells again and again what is lost", plant: func(f *faulty) {
			f.fetch = func(ctx context.Context, topic, s string, req driver.FetchRequest) (driver.Fetched, error) {
				got, err := f.Engine.Fetch(ctx, topic, s, req)
				info, _ := f.Engine.Topic(ctx, topic)
				for _, i := range info.Subscriptions {
					if i.Name == s {
						got.Lost = i.Lost
					}
				}
				return got, err
			}
		}, caught: []string{"bounds/drop oldest"}},
		{name: "hides what it stored of a batch", plant: func(f *faulty) {
			f.append = func(ctx context.Context, topic string, messages []driver.Message) ([]string, error) {
				ids, err := f.Engine.Append(ctx, topic, messages)
				if err != nil {
					ids = nil
				}
				return ids, err
			}
		}, caught: []string{"bounds/batch", "bus steer/full"}},
		{name: "delays nothing", plant: published(func(m *driver.Message) { m.Delay, m.At = 0, time.Time{} }),
			caught: []string{"delay/not before its time", "delay/at a time", "delay/order", "delay/beside others", "delay/far", "bus queue/delayed", "bus steer/delay and cancel", "histories/random"}},
		{name: "delivers too early", plant: published(func(m *driver.Message) {
			m.Delay /= 2
			if !m.At.IsZero() {
				m.At = m.At.Add(-soon / 2)
			}
		}), caught: []string{"delay/not before its time", "delay/at a time", "delay/reader", "delay/fetch alone", "delay/many", "delay/restart", "bus queue/delayed"}},
		{name: "never wakes anybody", plant: forgetHints(1),
			caught: []string{"delay/not before its time", "delay/reader", "dead letters/wakes", "seek/wakes", "pause/resume", "purge/wakes", "schedules/wakes"}},
		{name: "forgets what is delayed at a restart", restart: func(e *model.Engine) {
			for _, topic := range append(historyTopics, orders) {
				_, _ = e.Cancel(context.Background(), topic, allDelayed(e, topic))
			}
		}, caught: []string{"delay/restart", "delay/crash"}},
		{name: "loses the former id", plant: fetched(func(f *driver.Fetched) {
			for i := range f.Messages {
				delete(f.Messages[i].Headers, "beck-delayed-id")
			}
		}), caught: []string{"delay/contents", "bus steer/delay and cancel"}},
		{name: "cancels nothing", plant: func(f *faulty) {
			f.cancel = func(context.Context, string, []string) ([]string, error) { return nil, nil }
		}, caught: []string{"delay/cancel", "delay/peek", "delay/deduplicated", "bus steer/delay and cancel", "histories/random"}},
		{name: "doesn't deduplicate", plant: published(func(m *driver.Message) { m.DedupeID = "" }),
			caught: []string{"dedupe/stored once", "dedupe/one batch", "dedupe/concurrent", "dedupe/handled", "dedupe/restart", "delay/deduplicated", "bus steer/deduplicated", "histories/random"}},
		{name: "deduplicates for ever", plant: configured(func(c *driver.TopicConfig) { c.DedupeWindow = time.Hour }), caught: []string{"dedupe/window"}},
		{name: "forgets too early", plant: configured(func(c *driver.TopicConfig) { c.DedupeWindow /= 2 }), caught: []string{"dedupe/window"}},
		{name: "deduplicates over all topics", plant: mixDedupe, caught: []string{"dedupe/each topic", "dedupe/deleted topic", "histories/random"}},
		{name: "takes what was refused for published", plant: func(f *faulty) {
			refused := map[string]bool{}
			f.append = func(ctx context.Context, topic string, messages []driver.Message) ([]string, error) {
				if refused[messages[0].DedupeID] {
					return []string{"m000000000001"}, nil
				}
				ids, err := f.Engine.Append(ctx, topic, messages)
				if errors.Is(err, driver.ErrTopicFull) {
					refused[messages[0].DedupeID] = true
				}
				return ids, err
			}
		}, caught: []string{"dedupe/refused"}},
	}
}
