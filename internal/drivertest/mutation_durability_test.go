package drivertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
)

// appended makes a fault of what Append returns.
func appended(change func(f *faulty, messages []driver.Message, ids []string, err error) ([]string, error)) func(f *faulty) {
	return func(f *faulty) {
		f.append = func(ctx context.Context, topic string, messages []driver.Message) ([]string, error) {
			ids, err := f.Engine.Append(ctx, topic, messages)
			return change(f, messages, ids, err)
		}
	}
}

// durabilityFaults are about how durably messages are stored.
func durabilityFaults() []fault {
	undemanding := func(messages []driver.Message) []driver.Message {
		messages = slices.Clone(messages)
		for i := range messages {
			messages[i].Durability = nil
		}
		return messages
	}
	return []fault{
		{name: "ignores durability", plant: func(f *faulty) {
			f.append = func(ctx context.Context, topic string, messages []driver.Message) ([]string, error) {
				return f.Engine.Append(ctx, topic, undemanding(messages))
			}
		}, caught: []string{"durability/missed", "durability/mixed", "durability/delayed", "durability/twin", "durability/never", "bus durability/of the bus", "bus durability/told"}},
		{name: "looks at the first message's durability only", plant: func(f *faulty) {
			f.append = func(ctx context.Context, topic string, messages []driver.Message) ([]string, error) {
				return f.Engine.Append(ctx, topic, slices.Concat(messages[:1], undemanding(messages[1:])))
			}
		}, caught: []string{"durability/mixed", "durability/never"}},
		{name: "ignores the durability of ticks", plant: func(f *faulty) {
			f.tick = func(ctx context.Context, s driver.Schedule, tick time.Time, m driver.Message) (string, bool, error) {
				m.Durability = nil
				return f.Engine.Tick(ctx, s, tick, m)
			}
		}, caught: []string{"durability/tick", "durability/never"}},
		{name: "tells of no id where durability was missed", plant: appended(func(_ *faulty, _ []driver.Message, ids []string, err error) ([]string, error) {
			if errors.Is(err, driver.ErrDurability) {
				ids = nil
			}
			return ids, err
		}), caught: []string{"durability/missed", "durability/mixed", "durability/delayed", "bus durability/of the bus", "bus durability/told"}},
		{name: "takes a missed durability for an uncertain outcome", plant: appended(func(_ *faulty, _ []driver.Message, ids []string, err error) ([]string, error) {
			if errors.Is(err, driver.ErrDurability) {
				err = fmt.Errorf("%w: %w", driver.ErrUncertain, err)
			}
			return ids, err
		}), caught: []string{"durability/missed", "durability/twin"}},
		{name: "stores again what missed its durability", plant: func(f *faulty) {
			f.append = func(ctx context.Context, topic string, messages []driver.Message) ([]string, error) {
				ids, err := f.Engine.Append(ctx, topic, messages)
				if errors.Is(err, driver.ErrDurability) {
					return f.Engine.Append(ctx, topic, messages)
				}
				return ids, err
			}
		}, caught: []string{"durability/missed", "durability/mixed", "bus durability/told"}},
		{name: "stores nothing where durability is missed", plant: func(f *faulty) {
			f.append = func(ctx context.Context, topic string, messages []driver.Message) ([]string, error) {
				for _, m := range messages {
					if m.Durability != nil && m.Durability.Replicas == modelDurabilities.Misses.Replicas {
						return make([]string, len(messages)), driver.ErrDurability
					}
				}
				return f.Engine.Append(ctx, topic, messages)
			}
		}, caught: []string{"durability/missed", "durability/delayed", "bus durability/told"}},
		{name: "stores what it refuses", plant: func(f *faulty) {
			f.append = func(ctx context.Context, topic string, messages []driver.Message) ([]string, error) {
				ids, err := f.Engine.Append(ctx, topic, messages)
				if errors.Is(err, beck.ErrOption) {
					_, _ = f.Engine.Append(ctx, topic, undemanding(messages))
				}
				return ids, err
			}
		}, caught: []string{"durability/never"}},
		{name: "does not know a tick that missed its durability", plant: func(f *faulty) {
			f.tick = func(ctx context.Context, s driver.Schedule, tick time.Time, m driver.Message) (string, bool, error) {
				id, done, err := f.Engine.Tick(ctx, s, tick, m)
				if errors.Is(err, driver.ErrDurability) {
					return "", false, err
				}
				return id, done, err
			}
		}, caught: []string{"durability/tick"}},
		{name: "hands out what was asked for", plant: page(func(p *driver.Page) {
			for i := range p.Messages {
				p.Messages[i].Durability = &driver.Durability{Synced: true}
			}
		}), caught: []string{"durability/given"}},
	}
}
