package model

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// Engine is the reference. Make one with New.
type Engine struct {
	mu      sync.Mutex
	now     func() time.Time
	given   uint64 // messages ever given an id, in all topics
	topics  map[string]*topic
	watches map[string]map[chan struct{}]bool
	closed  bool
}

type topic struct {
	messages      []driver.Message
	last          string // the newest id ever given out
	subscriptions map[string]*subscription
}

var _ driver.Engine = (*Engine)(nil)

// New returns an empty engine with a clock, which may be steered by a test.
func New(now func() time.Time) *Engine {
	return &Engine{now: now, topics: map[string]*topic{}, watches: map[string]map[chan struct{}]bool{}}
}

// Append implements driver.Log.
func (e *Engine) Append(ctx context.Context, name string, messages []driver.Message) ([]string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.ended(ctx); err != nil {
		return nil, err
	}
	t := e.make(name)
	var ids []string
	for _, m := range messages {
		e.given++
		m.ID = fmt.Sprintf("m%012d", e.given)
		m.Topic, m.Attempt = "", 0
		m.Time = e.now().Truncate(time.Millisecond).UTC()
		if len(m.Headers) == 0 {
			m.Headers = nil
		}
		t.messages = append(t.messages, m)
		t.last = m.ID
		ids = append(ids, m.ID)
	}
	e.hint(name)
	return ids, nil
}

// Read implements driver.Log.
func (e *Engine) Read(ctx context.Context, name string, from driver.Position, max int) (driver.Page, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.ended(ctx); err != nil {
		return driver.Page{}, err
	}
	if err := checkPosition(from); err != nil {
		return driver.Page{}, err
	}
	t, ok := e.topics[name]
	if !ok {
		return driver.Page{}, nil
	}
	rest := t.messages[t.index(from):]
	page := driver.Page{More: len(rest) > max}
	page.Messages = slices.Clone(rest[:min(max, len(rest))])
	if len(page.Messages) == 0 || from.Kind == driver.AtID && page.Messages[0].ID != from.ID {
		page.Last = t.last
	}
	return page, nil
}

// Watch implements driver.Log.
func (e *Engine) Watch(name string) (<-chan struct{}, func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	hints := make(chan struct{}, 1)
	if e.watches[name] == nil {
		e.watches[name] = map[chan struct{}]bool{}
	}
	e.watches[name][hints] = true
	return hints, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.watches[name], hints)
	}
}

// hint wakes all who watch a topic.
func (e *Engine) hint(name string) {
	for hints := range e.watches[name] {
		select {
		case hints <- struct{}{}:
		default: // it has a hint already
		}
	}
}

// make returns a topic, which it creates if need be.
func (e *Engine) make(name string) *topic {
	t, ok := e.topics[name]
	if !ok {
		t = &topic{subscriptions: map[string]*subscription{}}
		e.topics[name] = t
	}
	return t
}

// index returns the index of the first message at a position.
func (t *topic) index(p driver.Position) int {
	switch p.Kind {
	case driver.Start:
		return 0
	case driver.AtID:
		return sort.Search(len(t.messages), func(i int) bool { return t.messages[i].ID >= p.ID })
	case driver.AtTime:
		return sort.Search(len(t.messages), func(i int) bool { return !t.messages[i].Time.Before(p.Time) })
	}
	return len(t.messages)
}

func checkPosition(p driver.Position) error {
	if p.Kind != driver.AtID {
		return nil
	}
	if len(p.ID) == 13 && p.ID[0] == 'm' {
		if _, err := strconv.ParseUint(p.ID[1:], 10, 64); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%w: %q is no id", driver.ErrPosition, p.ID)
}

// ended says why a call can't be made. e.mu is held.
func (e *Engine) ended(ctx context.Context) error {
	if e.closed {
		return fmt.Errorf("model: %w", driver.ErrClosed)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("model: %w", context.Cause(ctx))
	}
	return nil
}

// Ping implements driver.Engine.
func (e *Engine) Ping(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ended(ctx)
}

// Close implements driver.Engine.
func (e *Engine) Close(context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	clear(e.watches)
	return nil
}

// Restart closes the engine and returns another one with its data.
func (e *Engine) Restart() *Engine {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	next := New(e.now)
	next.given, next.topics = e.given, e.topics
	return next
}

// String implements driver.Engine.
func (e *Engine) String() string { return "model" }

// Topics implements driver.Admin.
func (e *Engine) Topics(ctx context.Context) ([]driver.TopicSummary, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []driver.TopicSummary
	for _, name := range slices.Sorted(maps.Keys(e.topics)) {
		t := e.topics[name]
		list = append(list, driver.TopicSummary{
			Name: name, Length: int64(len(t.messages)), LastID: t.last, Subscriptions: len(t.subscriptions),
		})
	}
	return list, e.ended(ctx)
}

// Topic implements driver.Admin.
func (e *Engine) Topic(ctx context.Context, name string) (driver.TopicInfo, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, ok := e.topics[name]
	if !ok {
		return driver.TopicInfo{}, fmt.Errorf("%s: %w", name, driver.ErrTopicNotFound)
	}
	info := driver.TopicInfo{Name: name, Length: int64(len(t.messages)), LastID: t.last}
	if len(t.messages) > 0 {
		info.FirstID = t.messages[0].ID
	}
	for _, s := range slices.Sorted(maps.Keys(t.subscriptions)) {
		info.Subscriptions = append(info.Subscriptions, t.subscriptions[s].info(s, t, e.now()))
	}
	return info, e.ended(ctx)
}

// Trim implements driver.Admin. Messages that wait for a retry are kept by the
// subscription, so that they may go from the topic.
func (e *Engine) Trim(ctx context.Context, name string, before driver.Position) (int64, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := checkPosition(before); err != nil {
		return 0, err
	}
	t, ok := e.topics[name]
	if !ok || ctx.Err() != nil {
		return 0, e.ended(ctx)
	}
	n := t.index(before)
	for _, s := range t.subscriptions {
		n = min(n, s.needs(t))
	}
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
	if err := e.ended(ctx); err != nil {
		return err
	}
	if _, ok := e.topics[name]; !ok {
		return fmt.Errorf("%s: %w", name, driver.ErrTopicNotFound)
	}
	delete(e.topics, name)
	e.hint(name)
	return nil
}

// DeleteSubscription implements driver.Admin.
func (e *Engine) DeleteSubscription(ctx context.Context, name, subscription string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.ended(ctx); err != nil {
		return err
	}
	t, ok := e.topics[name]
	if !ok {
		return fmt.Errorf("%s: %w", name, driver.ErrTopicNotFound)
	}
	if _, ok := t.subscriptions[subscription]; !ok {
		return fmt.Errorf("%s of %s: %w", subscription, name, driver.ErrSubscriptionNotFound)
	}
	delete(t.subscriptions, subscription)
	e.hint(name)
	return nil
}
