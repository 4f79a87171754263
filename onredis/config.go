package onredis

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck/internal/driver"
)

// maxConfigs is of how many topics a process remembers what they keep.
const maxConfigs = 10_000

// topicConfig is what the key topic has.
type topicConfig struct {
	MaxAgeMS       int64 `json:"max_age_ms"`
	MaxMessages    int64 `json:"max_messages"`
	MaxBytes       int64 `json:"max_bytes"`
	DropOldest     bool  `json:"drop_oldest"`
	DedupeWindowMS int64 `json:"dedupe_window_ms"`
}

// readConfig reads the key topic, and tells whether the topic was configured.
func readConfig(reply rueidis.RedisMessage, err error) (c driver.TopicConfig, configured bool, _ error) {
	if rueidis.IsRedisNil(err) {
		return driver.DefaultTopicConfig, false, nil
	}
	if err != nil {
		return c, false, err
	}
	text, err := reply.AsBytes()
	if err != nil {
		return c, false, err
	}
	var stored topicConfig
	if err := json.Unmarshal(text, &stored); err != nil {
		return c, false, fmt.Errorf("%w: the configuration of a topic: %v", driver.ErrCorrupt, err)
	}
	return driver.TopicConfig{
		MaxAge:      time.Duration(stored.MaxAgeMS) * time.Millisecond,
		MaxMessages: stored.MaxMessages, MaxBytes: stored.MaxBytes, DropOldest: stored.DropOldest,
		DedupeWindow: time.Duration(stored.DedupeWindowMS) * time.Millisecond,
	}, true, nil
}

// Configure implements driver.Steerer.
func (e *engine) Configure(ctx context.Context, topic string, c driver.TopicConfig) error {
	text, err := json.Marshal(topicConfig{
		MaxAgeMS: c.MaxAge.Milliseconds(), MaxMessages: c.MaxMessages, MaxBytes: c.MaxBytes, DropOldest: c.DropOldest,
		DedupeWindowMS: c.DedupeWindow.Milliseconds(),
	})
	if err != nil {
		return err
	}
	keys := e.names.publishing(topic)
	_, err = e.work.at(keys[0]).run(ctx, e.scripts.configure, keys, string(text))
	e.configs.forget(topic)
	return e.explain(ctx, err, keys[0], writing)
}

// configs remembers which topics have bounds, so that publishing to one that has
// none is plain XADDs. Redis tells the watcher's connection when one of them is
// configured anew.
type configs struct {
	mu      sync.RWMutex
	bounded map[string]bool
	changes int // counts what may have made any of them untrue
}

func (c *configs) get(topic string) (bounded, known bool, changes int) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	bounded, known = c.bounded[topic]
	return bounded, known, c.changes
}

// put remembers what was read, unless it may have changed since changes were
// counted.
func (c *configs) put(topic string, bounded bool, changes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if changes != c.changes {
		return
	}
	for other := range c.bounded {
		if len(c.bounded) < maxConfigs {
			break
		}
		delete(c.bounded, other)
	}
	c.bounded[topic] = bounded
}

func (c *configs) forget(topic string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	delete(c.bounded, topic)
}

func (c *configs) forgetAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	clear(c.bounded)
}

// topics are those that are known: those published to of late.
func (c *configs) topics() []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	list := make([]string, 0, len(c.bounded))
	for topic := range c.bounded {
		list = append(list, topic)
	}
	return list
}

// bounded reports whether a topic has bounds. It asks Redis once, and again after
// a change.
func (e *engine) bounded(ctx context.Context, topic string) (bool, error) {
	bounded, known, changes := e.configs.get(topic)
	if known {
		return bounded, nil
	}
	t := e.names.topic(topic)
	c, _, err := readConfig(e.watcher.at(t.stream).do(ctx, e.b.Get().Key(t.config).Build()))
	if err != nil {
		return false, e.explain(ctx, err, t.config, reading)
	}
	bounded = c.MaxMessages > 0 || c.MaxBytes > 0
	e.configs.put(topic, bounded, changes)
	return bounded, nil
}
