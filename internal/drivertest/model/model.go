package model

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// Engine is the reference. Make one with New.
type Engine struct {
	// Durable says what becomes of a durability: nil if it is given at once,
	// driver.ErrDurability if it isn't reached, and another error if it is refused. Nil
	// gives any. It is set before the engine is used.
	Durable func(driver.Durability) error

	mu        sync.Mutex
	now       func() time.Time
	given     uint64 // messages ever given an id, in all topics
	postponed uint64 // messages ever delayed, in all topics
	topics    map[string]*topic
	schedules map[string]driver.Schedule
	watches   map[string]map[chan struct{}]bool
	alarm     *time.Timer // for delayed messages of topics that are watched
	closed    bool
	live      *live
}

var _ driver.Engine = (*Engine)(nil)

// New returns an empty engine with a clock, which may be steered by a test.
func New(now func() time.Time) *Engine {
	return &Engine{
		now: now, topics: map[string]*topic{}, schedules: map[string]driver.Schedule{},
		watches: map[string]map[chan struct{}]bool{}, live: newLive(),
	}
}

// enter begins a call: it says why it can't be made, or brings everything up to
// date. e.mu is held.
func (e *Engine) enter(ctx context.Context) error {
	if err := e.ended(ctx); err != nil {
		return err
	}
	e.sweep()
	return nil
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

// sweep does what time brings: delayed messages enter their topics, what has
// become too old goes, and subscriptions that nobody reads expire.
func (e *Engine) sweep() {
	now := e.now()
	for name, t := range e.topics {
		if t.expire(now) || e.enterDelayed(t, now) {
			e.hint(name)
		}
		t.age(now)
	}
	e.setAlarm()
}

// Watch implements driver.Log.
func (e *Engine) Watch(name string) (<-chan struct{}, func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	hints := make(chan struct{}, 1)
	if e.closed {
		return hints, func() {}
	}
	if e.watches[name] == nil {
		e.watches[name] = map[chan struct{}]bool{}
	}
	e.watches[name][hints] = true
	e.sweep()
	return hints, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.watches[name], hints)
		if len(e.watches[name]) == 0 {
			delete(e.watches, name)
		}
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
	e.end()
	return nil
}

func (e *Engine) end() {
	e.closed = true
	e.watches = map[string]map[chan struct{}]bool{}
	if e.alarm != nil {
		e.alarm.Stop()
	}
	e.live.close()
}

// Restart closes the engine and returns another one with its data.
func (e *Engine) Restart() *Engine {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.end()
	next := New(e.now)
	next.Durable = e.Durable
	next.given, next.postponed, next.topics, next.schedules = e.given, e.postponed, e.topics, e.schedules
	return next
}

// String implements driver.Engine.
func (e *Engine) String() string { return "model" }
