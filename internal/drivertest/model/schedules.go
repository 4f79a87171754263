package model

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// Schedules implements driver.Scheduler.
func (e *Engine) Schedules(ctx context.Context) (list []driver.Schedule, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(e.schedules)) {
		list = append(list, e.schedules[name])
	}
	return list, nil
}

// PutSchedule implements driver.Scheduler.
func (e *Engine) PutSchedule(ctx context.Context, s driver.Schedule) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.enter(ctx); err != nil {
		return err
	}
	s.Last = s.Last.Truncate(time.Millisecond)
	e.schedules[s.Name] = s
	return nil
}

// DeleteSchedule implements driver.Scheduler.
func (e *Engine) DeleteSchedule(ctx context.Context, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.enter(ctx); err != nil {
		return err
	}
	if _, ok := e.schedules[name]; !ok {
		return fmt.Errorf("%s: %w", name, driver.ErrScheduleNotFound)
	}
	delete(e.schedules, name)
	return nil
}

// Tick implements driver.Scheduler.
func (e *Engine) Tick(ctx context.Context, s driver.Schedule, tick time.Time, m driver.Message) (id string, done bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.enter(ctx); err != nil {
		return "", false, err
	}
	tick = tick.Truncate(time.Millisecond)
	kept, ok := e.schedules[s.Name]
	if !ok || kept.Version != s.Version || !kept.Last.Before(tick) {
		return "", false, nil
	}
	missed, refused := e.durable(m)
	if refused != nil {
		return "", false, refused
	}
	id, err = e.take(e.make(kept.Topic), m)
	if err != nil {
		return "", false, fmt.Errorf("%s: %w", kept.Topic, err)
	}
	kept.Last = tick
	e.schedules[s.Name] = kept
	e.hint(kept.Topic)
	return id, true, missed
}
