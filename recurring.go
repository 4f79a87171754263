package beck

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// Schedule is a recurring message as it is stored. Package cron makes schedules,
// and publishes what is due.
type Schedule struct {
	Name  string // as in CheckName
	Topic string
	// Spec says when, and Zone in which time zone; Missed what becomes of ticks
	// that nobody was there to publish. Package cron gives them their meaning.
	Spec, Zone, Missed string
	// Message is what is published: its Body, Key and Headers.
	Message Message
	// Last is the newest tick that was published, or when the schedule was put.
	Last time.Time
	// Version tells apart what was put under one name. Leave it empty: PutSchedule
	// makes it, and Schedules tells it to Tick.
	Version string
}

// Schedules lists the recurring messages, by name.
func (b *Bus) Schedules(ctx context.Context) ([]*Schedule, error) {
	var list []*Schedule
	err := b.do("list schedules", nil, func() error {
		found, err := b.engine.Schedules(ctx)
		for _, f := range found {
			s, bad := readSchedule(f)
			if bad != nil {
				// One that can't be read must not hide the others.
				b.log.Error("beck: a schedule can't be read", "schedule", f.Name, "error", bad)
				continue
			}
			list = append(list, s)
		}
		return err
	})
	return list, err
}

func readSchedule(d driver.Schedule) (*Schedule, error) {
	var c driver.ScheduleConfig
	if err := json.Unmarshal(d.Config, &c); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrCorrupt, err)
	}
	if c.Body == nil {
		c.Body = []byte{}
	}
	return &Schedule{
		Name: d.Name, Topic: d.Topic, Spec: c.Spec, Zone: c.Zone, Missed: c.Missed,
		Message: Message{Key: c.Key, Headers: c.Headers, Body: c.Body}, Last: d.Last, Version: d.Version,
	}, nil
}

// PutSchedule stores a recurring message, in place of the one with its name if
// there is one. Ticks after its Last are to be published, or after now if that is
// zero. What its Spec, Zone and Missed say is not checked; package cron does that.
func (b *Bus) PutSchedule(ctx context.Context, s Schedule) error {
	return b.do("put schedule "+quoteName(s.Name), at{s.Topic}, func() error {
		if err := CheckName(s.Name); err != nil {
			return fmt.Errorf("schedule: %w", err)
		}
		m, err := s.Message.check(b.maxBody)
		if err != nil {
			return err
		}
		if m.Delay != 0 || !m.At.IsZero() || m.DedupeID != "" {
			return fmt.Errorf("%w: a recurring message takes no Delay, At or DedupeID", ErrMessage)
		}
		if m.Durability != nil {
			return fmt.Errorf("%w: a recurring message takes no Durability: it gets that of the bus which publishes it", ErrMessage)
		}
		if s.Last.IsZero() {
			s.Last = time.Now()
		}
		if s.Version == "" {
			s.Version = rand.Text()
		}
		config, err := json.Marshal(driver.ScheduleConfig{
			Spec: s.Spec, Zone: s.Zone, Missed: s.Missed, Key: m.Key, Headers: m.Headers, Body: m.Body,
		})
		if err != nil {
			return err
		}
		return b.engine.PutSchedule(ctx, driver.Schedule{
			Name: s.Name, Topic: s.Topic, Version: s.Version, Config: config, Last: s.Last,
		})
	})
}

// DeleteSchedule removes a recurring message, or returns ErrScheduleNotFound.
func (b *Bus) DeleteSchedule(ctx context.Context, name string) error {
	return b.do("delete schedule "+quoteName(name), nil, func() error {
		if err := CheckName(name); err != nil {
			return fmt.Errorf("schedule: %w", err)
		}
		return b.engine.DeleteSchedule(ctx, name)
	})
}

// Tick publishes a schedule's message for one tick, if no later one and not this
// one was published, and the schedule is still as it was listed: each tick is
// published once, however many try. done says whether this call did it; it did with
// ErrDurability, too.
func (b *Bus) Tick(ctx context.Context, s *Schedule, tick time.Time) (id string, done bool, err error) {
	err = b.do("tick "+quoteName(s.Name), at{s.Topic}, func() error {
		m, err := b.checked(&s.Message)
		if err != nil {
			return err
		}
		id, done, err = b.engine.Tick(ctx, driver.Schedule{
			Name: s.Name, Topic: s.Topic, Version: s.Version, Last: s.Last,
		}, tick, m)
		if done {
			b.stats.published.Add(1)
			err = withIDs([]string{id}, err)
		}
		return err
	})
	return id, done, err
}

// quoteName is a name that is fit for an error, whatever it is.
func quoteName(name string) string {
	if CheckName(name) == nil {
		return name
	}
	return strings.ToValidUTF8(fmt.Sprintf("%.20q", name), "")
}
