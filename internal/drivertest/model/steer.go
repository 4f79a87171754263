package model

import (
	"context"
	"fmt"

	"github.com/beckmq/beck/internal/driver"
)

// Configure implements driver.Steerer.
func (e *Engine) Configure(ctx context.Context, name string, config driver.TopicConfig) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.enter(ctx); err != nil {
		return err
	}
	e.make(name).config = config
	e.sweep()
	e.hint(name)
	return nil
}

// Outstanding implements driver.Subscriber.
func (e *Engine) Outstanding(ctx context.Context, name, subscriptionName string, ids []string) (map[string]driver.State, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, s, err := e.find(ctx, name, subscriptionName)
	if err != nil {
		return nil, err
	}
	open := map[string]driver.State{}
	for _, id := range ids {
		if err := t.checkBeginning(driver.Position{Kind: driver.AtID, ID: id}); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if state := s.state(t, id); state != "" {
			open[id] = state
		}
	}
	return open, nil
}

// state tells where a message stands, or nothing if the subscription is done with
// it. One that is delivered again after a seek is not dead for that time.
func (s *subscription) state(t *topic, id string) driver.State {
	if _, ok := s.pending[id]; ok {
		return driver.Held
	}
	if _, ok := s.waiting[id]; ok {
		return driver.Waiting
	}
	for _, m := range s.fresh(t) {
		if m.ID == id {
			return driver.Ready
		}
	}
	for _, d := range s.dead {
		if d.message.ID == id {
			return driver.Buried
		}
	}
	return ""
}

// Requeue implements driver.Steerer. A message that comes again anyhow, after a
// seek, is not made to come twice.
func (e *Engine) Requeue(ctx context.Context, name, subscriptionName string, ids []string) (missing []string, err error) {
	return e.deadLetters(ctx, name, subscriptionName, ids, func(t *topic, s *subscription, d *delivery) {
		if s.state(t, d.message.ID) != "" {
			return
		}
		now := e.now()
		d.message.Attempt, d.consumer, d.reason, d.since, d.until = 0, "", "", now, now
		s.wait(d)
	})
}

// Drop implements driver.Steerer.
func (e *Engine) Drop(ctx context.Context, name, subscriptionName string, ids []string) (missing []string, err error) {
	return e.deadLetters(ctx, name, subscriptionName, ids, func(*topic, *subscription, *delivery) {})
}

// deadLetters takes dead letters away, and does something with each.
func (e *Engine) deadLetters(ctx context.Context, name, subscriptionName string, ids []string, do func(*topic, *subscription, *delivery)) (missing []string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, s, err := e.findToSteer(ctx, name, subscriptionName)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if d, ok := s.bury(id); ok {
			do(t, s, d)
		} else {
			missing = append(missing, id)
		}
	}
	e.hint(name)
	return missing, nil
}

// Seek implements driver.Steerer.
func (e *Engine) Seek(ctx context.Context, name, subscriptionName string, to driver.Position) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, s, err := e.findToSteer(ctx, name, subscriptionName)
	if err != nil {
		return err
	}
	if err := t.checkBeginning(to); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	s.delivered = t.behind(to)
	s.forgetAll()
	e.hint(name)
	return nil
}

// Pause implements driver.Steerer.
func (e *Engine) Pause(ctx context.Context, name, subscriptionName string, paused bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, s, err := e.findToSteer(ctx, name, subscriptionName)
	if err != nil {
		return err
	}
	s.paused = paused
	e.hint(name)
	return nil
}

// Purge implements driver.Steerer.
func (e *Engine) Purge(ctx context.Context, name string) (removed int64, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.enter(ctx); err != nil {
		return 0, err
	}
	t, err := e.findTopic(name)
	if err != nil {
		return 0, err
	}
	removed = int64(len(t.messages) + len(t.delayed))
	t.messages, t.delayed = nil, nil
	for _, s := range t.subscriptions {
		s.delivered = t.last
		s.forgetAll()
	}
	e.hint(name)
	return removed, nil
}

// forgetAll forgets what was delivered.
func (s *subscription) forgetAll() {
	clear(s.pending)
	clear(s.waiting)
	clear(s.places)
}
