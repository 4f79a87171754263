package model

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// delayed is a message whose time has not come, or that finds no room. Those of a
// topic are sorted by their ids, which sort by due.
type delayed struct {
	message driver.Message
	dedupe  string
	due     time.Time
	since   time.Time
}

// delayedHeader names, in the topic, the id that a message had before.
const delayedHeader = "beck-delayed-id"

// postpone keeps a message until it is due, which is to the millisecond and never
// too early.
func (e *Engine) postpone(t *topic, m driver.Message, dedupe string, due, now time.Time) (id string) {
	due = due.Add(time.Millisecond - 1).Truncate(time.Millisecond).UTC()
	e.postponed++
	m.ID = fmt.Sprintf("d%013d-%012d", due.UnixMilli(), e.postponed)
	m.Time = now.Truncate(time.Millisecond).UTC()
	t.delayed = append(t.delayed, delayed{message: m, dedupe: dedupe, due: due, since: now})
	slices.SortFunc(t.delayed, func(a, b delayed) int { return cmp.Compare(a.message.ID, b.message.ID) })
	return m.ID
}

// enterDelayed moves what is due into the topic, as far as there is room, and
// tells whether there was anything.
func (e *Engine) enterDelayed(t *topic, now time.Time) (moved bool) {
	var left []delayed
	for _, d := range t.delayed {
		if d.due.After(now) {
			left = append(left, d)
			continue
		}
		m := d.message
		m.Headers = maps.Clone(m.Headers)
		if m.Headers == nil {
			m.Headers = map[string]string{}
		}
		m.Headers[delayedHeader] = m.ID
		if _, err := e.store(t, m, now); err != nil {
			left = append(left, d)
			continue
		}
		moved = true
	}
	t.delayed = left
	return moved
}

// crowded is how often a full topic is tried again.
const crowded = 20 * time.Millisecond

// setAlarm has the engine wake up when a delayed message of a watched topic is
// due.
func (e *Engine) setAlarm() {
	var next time.Duration
	now := e.now()
	for name := range e.watches {
		t, ok := e.topics[name]
		if !ok || len(t.delayed) == 0 {
			continue
		}
		for _, d := range t.delayed {
			wait := d.due.Sub(now)
			if wait <= 0 {
				wait = crowded
			}
			if next == 0 || wait < next {
				next = wait
			}
		}
	}
	switch {
	case next == 0:
		if e.alarm != nil {
			e.alarm.Stop()
		}
	case e.alarm == nil:
		e.alarm = time.AfterFunc(next, e.wakeUp)
	default:
		e.alarm.Reset(next)
	}
}

func (e *Engine) wakeUp() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		e.sweep()
	}
}

// Cancel implements driver.Steerer.
func (e *Engine) Cancel(ctx context.Context, name string, ids []string) (missing []string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	t, err := e.findTopic(name)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		i := slices.IndexFunc(t.delayed, func(d delayed) bool { return d.message.ID == id })
		if i < 0 {
			missing = append(missing, id)
			continue
		}
		if dedupe := t.delayed[i].dedupe; t.published[dedupe].id == id {
			delete(t.published, dedupe)
		}
		t.delayed = slices.Delete(t.delayed, i, i+1)
	}
	return missing, nil
}
