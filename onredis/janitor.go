package onredis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

const (
	// janitorInterval is about how often the janitor comes by.
	janitorInterval = time.Minute
	// janitorTimeout bounds its work on one topic.
	janitorTimeout = 30 * time.Second
)

// clean does, now and then until stop, what bounds of time ask for, in the topics
// that this process publishes to, watches or fetches from: it removes messages that
// are too old, subscriptions that nobody reads, and DedupeIDs whose time is over.
// Others may do the same; whatever is to be removed is checked where it is done.
func (e *engine) clean(ctx context.Context, interval time.Duration) {
	for {
		wait := interval*3/4 + rand.N(interval/2+1)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		for _, topic := range e.topicsInUse() {
			limited, cancel := context.WithTimeout(ctx, janitorTimeout)
			err := e.cleanTopic(limited, topic)
			cancel()
			if ctx.Err() != nil {
				return
			}
			if errors.Is(err, driver.ErrWrongType) {
				e.configs.forget(topic) // it is somewhere else now, or isn't a topic
				e.forgetTopic(topic)
				continue
			}
			if err != nil {
				e.log.Warn("a topic can't be cleaned up; it is tried again", "topic", topic, "error", err)
			}
			if errors.Is(err, driver.ErrUnavailable) {
				break
			}
		}
	}
}

func (e *engine) topicsInUse() []string {
	all := map[string]struct{}{}
	for _, topic := range e.configs.topics() {
		all[topic] = struct{}{}
	}
	for _, topic := range e.hub.all() {
		all[topic] = struct{}{}
	}
	e.mu.Lock()
	for id := range e.subscriptions {
		all[id.topic] = struct{}{}
	}
	e.mu.Unlock()
	list := make([]string, 0, len(all))
	for topic := range all {
		list = append(list, topic)
	}
	return list
}

func (e *engine) cleanTopic(ctx context.Context, topic string) error {
	k, b := e.names.topic(topic), e.b
	replies, err := e.work.at(k.stream).doMulti(ctx,
		b.Get().Key(k.config).Build(), b.Hgetall().Key(k.subs).Build(), b.Hgetall().Key(k.seen).Build(),
		b.Exists().Key(k.ends).Build(), b.Time().Build())
	if err != nil {
		return e.explain(ctx, err, k.stream, reading)
	}
	config, configured, err := readConfig(replies[0].ToMessage())
	var subs map[string]string
	if err == nil {
		subs, err = replies[1].AsStrMap()
	}
	var seen map[string]int64
	if err == nil {
		seen, err = replies[2].AsIntMap()
	}
	var remembers int64
	if err == nil {
		remembers, err = replies[3].ToInt64()
	}
	var now time.Time
	if err == nil {
		now, err = readTime(replies[4])
	}
	if err != nil {
		return e.explain(ctx, err, k.stream, reading)
	}
	if err := e.expire(ctx, topic, subs, seen, now); err != nil {
		return err
	}
	if remembers == 1 {
		if _, err := e.work.at(k.once).run(ctx, e.scripts.forget, []string{k.once, k.ends}); err != nil {
			return e.explain(ctx, err, k.stream, writing)
		}
	}
	// Without a prefix a stream may be someone else's.
	if config.MaxAge == 0 || !configured && e.names.prefix == "" {
		return nil
	}
	return e.trimOld(ctx, topic, now.Add(-config.MaxAge))
}

// trimOld removes messages that are older than a time, if the first one is.
func (e *engine) trimOld(ctx context.Context, topic string, limit time.Time) error {
	k, b := e.names.topic(topic), e.b
	bound := streamid.At(limit)
	if bound.IsZero() {
		return nil
	}
	replies, err := e.work.at(k.stream).doMulti(ctx, b.Xrange().Key(k.stream).Start("-").End("("+bound.Redis()).Count(1).Build())
	if err != nil {
		return e.explain(ctx, err, k.stream, reading)
	}
	if old, err := replies[0].ToArray(); err != nil || len(old) == 0 {
		return e.explain(ctx, err, k.stream, reading)
	}
	_, err = e.Trim(ctx, topic, driver.Position{Kind: driver.AtTime, Time: limit})
	if errors.Is(err, driver.ErrTopicNotFound) {
		return nil
	}
	return err
}

// expire deletes the subscriptions that nobody has read for long.
func (e *engine) expire(ctx context.Context, topic string, subs map[string]string, seen map[string]int64, now time.Time) error {
	for name, text := range subs {
		var config subscriptionConfig
		if json.Unmarshal([]byte(text), &config) != nil {
			continue
		}
		if config.Deleted != 0 {
			e.forget(subscriptionID{topic, name}) // another process deleted it
			continue
		}
		if config.ExpiresMS <= 0 {
			continue
		}
		unread := now.UnixMilli() - max(config.Created, seen[name])
		if unread < config.ExpiresMS {
			continue
		}
		done, err := e.deleteSubscription(ctx, topic, name, "expired")
		switch {
		case errors.Is(err, driver.ErrTopicNotFound) || errors.Is(err, driver.ErrSubscriptionNotFound):
		case err != nil:
			return fmt.Errorf("subscription %s: %w", name, err)
		case done:
			e.log.Warn(fmt.Sprintf("subscription expired: nobody has read it for %v", time.Duration(unread)*time.Millisecond),
				"topic", topic, "subscription", name, "expires", strconv.FormatInt(config.ExpiresMS/1000, 10)+"s")
		}
	}
	return nil
}
