package model

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// topic is what is stored under one name.
type topic struct {
	config        driver.TopicConfig
	queue         bool
	messages      []driver.Message
	last          string // the newest id ever given out
	delayed       []delayed
	published     map[string]publication // by DedupeID
	dropped       int64
	subscriptions map[string]*subscription
}

// publication is what is remembered of a message that has a DedupeID.
type publication struct {
	id    string
	until time.Time
}

// make returns a topic, which it creates if need be.
func (e *Engine) make(name string) *topic {
	t, ok := e.topics[name]
	if !ok {
		t = &topic{
			config: driver.DefaultTopicConfig, published: map[string]publication{},
			subscriptions: map[string]*subscription{},
		}
		e.topics[name] = t
	}
	return t
}

// Append implements driver.Log.
func (e *Engine) Append(ctx context.Context, name string, messages []driver.Message) ([]string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	missed, refused := e.durable(messages...)
	if refused != nil {
		return nil, refused
	}
	t := e.make(name)
	defer e.hint(name)
	defer e.setAlarm()
	var ids []string
	for _, m := range messages {
		id, err := e.take(t, m)
		if err != nil {
			return ids, fmt.Errorf("%s: %w", name, err)
		}
		ids = append(ids, id)
	}
	return ids, missed
}

// take stores one message, delays it, or finds that it is here.
func (e *Engine) take(t *topic, m driver.Message) (id string, err error) {
	now := e.now()
	dedupe := m.DedupeID
	if p, ok := t.published[dedupe]; ok && now.Before(p.until) {
		return p.id, nil
	}
	due := m.At
	if m.Delay > 0 {
		due = now.Add(m.Delay)
	}
	m.Topic, m.Attempt, m.Delay, m.At, m.DedupeID = "", 0, 0, time.Time{}, ""
	m.Durability = nil
	if len(m.Headers) == 0 {
		m.Headers = nil
	}
	if due.After(now) {
		id = e.postpone(t, m, dedupe, due, now)
	} else if id, err = e.store(t, m, now); err != nil {
		return "", err
	}
	if dedupe != "" {
		t.published[dedupe] = publication{id: id, until: now.Add(t.config.DedupeWindow)}
	}
	return id, nil
}

// store puts a message at the end of a topic, if that has room.
func (e *Engine) store(t *topic, m driver.Message, now time.Time) (id string, err error) {
	if !t.makeRoom(size(m)) {
		return "", driver.ErrTopicFull
	}
	e.given++
	m.ID = fmt.Sprintf("m%012d", e.given)
	m.Time = now.Truncate(time.Millisecond).UTC()
	t.messages = append(t.messages, m)
	t.last = m.ID
	return m.ID, nil
}

// makeRoom makes room for one message, as the topic's bounds ask, and tells
// whether there is any.
func (t *topic) makeRoom(size int64) bool {
	if t.config.MaxBytes > 0 && size > t.config.MaxBytes {
		return false // nothing is dropped in vain
	}
	for t.full(size) {
		switch {
		case t.needed() > 0: // the first one is needed by nobody
		case t.config.DropOldest:
			t.lose(t.messages[0].ID)
		default:
			return false
		}
		t.messages = slices.Clone(t.messages[1:])
	}
	return true
}

func (t *topic) full(size int64) bool {
	return t.config.MaxMessages > 0 && int64(len(t.messages)) >= t.config.MaxMessages ||
		t.config.MaxBytes > 0 && t.bytes()+size > t.config.MaxBytes
}

func (t *topic) bytes() (n int64) {
	for _, m := range t.messages {
		n += size(m)
	}
	return n
}

// size is what a message is taken to need.
func size(m driver.Message) int64 {
	n := 64 + len(m.Key) + len(m.Body)
	for name, value := range m.Headers {
		n += len(name) + len(value)
	}
	return int64(n)
}

// lose counts a message that is dropped, once for each subscription that was not
// done with it. What waits for a retry is a copy, and is not lost.
func (t *topic) lose(id string) {
	t.dropped++
	for _, s := range t.subscriptions {
		if _, held := s.pending[id]; held || id > s.delivered {
			delete(s.pending, id)
			s.lost++
		}
	}
}

// needed returns the index of the first message that a subscription needs.
func (t *topic) needed() int {
	n := len(t.messages)
	for _, s := range t.subscriptions {
		n = min(n, s.needs(t))
	}
	return n
}

// age removes what has become too old and is needed by nobody.
func (t *topic) age(now time.Time) {
	for id, p := range t.published {
		if !now.Before(p.until) {
			delete(t.published, id)
		}
	}
	if t.config.MaxAge == 0 {
		return
	}
	n := min(t.needed(), t.index(driver.Position{Kind: driver.AtTime, Time: now.Add(-t.config.MaxAge)}))
	t.messages = slices.Clone(t.messages[n:])
}

// remove takes one message out.
func (t *topic) remove(id string) {
	t.messages = slices.DeleteFunc(slices.Clone(t.messages), func(m driver.Message) bool { return m.ID == id })
}

// Read implements driver.Log.
func (e *Engine) Read(ctx context.Context, name string, from driver.Position, max int) (driver.Page, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.enter(ctx); err != nil {
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

// firstAfter returns the index of the first message behind an id.
func (t *topic) firstAfter(id string) int {
	i := t.index(driver.Position{Kind: driver.AtID, ID: id})
	if i < len(t.messages) && t.messages[i].ID == id {
		i++
	}
	return i
}
