package cron

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/beckmq/beck"
)

const (
	// Late is by how much a tick may be late without being missed.
	Late = 30 * time.Second
	// MaxMissed is how many missed ticks are published at most, if a schedule wants
	// all of them.
	MaxMissed = 1000
)

// The values of a schedule's Missed; see the package's comment.
const (
	Once = "once"
	Skip = "skip"
	All  = "all"
)

// Headers of the messages that Run publishes.
const (
	ScheduleHeader = "beck-schedule"
	TickHeader     = "beck-tick"
)

// maxHeaderBytes leaves room for the headers that Run adds.
const maxHeaderBytes = beck.MaxHeaderBytes - 512

// Add stores a schedule, in place of the one with its name if there is one. Its
// ticks after Last are published by [Run]. If Last is zero, those are meant that
// come after now; but where the schedule is there already, with the same Spec and
// Zone, it goes on from its last tick. So a program may add its schedules whenever
// it starts, and misses nothing by that; to begin anew, delete a schedule first. A
// Spec, Zone or Missed that makes no sense is beck.ErrOption.
func Add(ctx context.Context, bus *beck.Bus, s beck.Schedule) error {
	if _, err := parse(&s); err != nil {
		return err
	}
	size := 0
	for name, value := range s.Message.Headers {
		size += len(name) + len(value)
	}
	if size > maxHeaderBytes {
		return fmt.Errorf("cron: schedule %s: %w: its headers have more than the %d bytes allowed", quoted(s.Name), beck.ErrTooLarge, maxHeaderBytes)
	}
	if s.Last.IsZero() {
		there, err := find(ctx, bus, s.Name)
		switch {
		case err != nil:
			return err
		case there == nil:
		case same(there, &s):
			return nil
		case there.Spec == s.Spec && there.Zone == s.Zone:
			s.Last = there.Last
		}
	}
	return bus.PutSchedule(ctx, s)
}

// find returns the schedule with a name, nil if there is none.
func find(ctx context.Context, bus *beck.Bus, name string) (*beck.Schedule, error) {
	list, err := bus.Schedules(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range list {
		if s.Name == name {
			return s, nil
		}
	}
	return nil, nil
}

// same reports whether a schedule that is there is what somebody wants to put.
func same(there, s *beck.Schedule) bool {
	m, wanted := &there.Message, &s.Message
	return there.Topic == s.Topic && there.Spec == s.Spec && there.Zone == s.Zone &&
		cmp.Or(there.Missed, Once) == cmp.Or(s.Missed, Once) &&
		(s.Version == "" || s.Version == there.Version) &&
		m.Key == wanted.Key && wanted.Body != nil && bytes.Equal(m.Body, wanted.Body) &&
		len(m.Headers) == len(wanted.Headers) && maps.Equal(m.Headers, lower(wanted.Headers)) &&
		wanted.Delay == 0 && wanted.At.IsZero() && wanted.DedupeID == ""
}

// lower has the names of headers as they are stored.
func lower(headers map[string]string) map[string]string {
	low := make(map[string]string, len(headers))
	for name, value := range headers {
		low[strings.ToLower(name)] = value
	}
	return low
}

// Next returns the first tick of a schedule after a time, in the schedule's zone;
// zero if there is none, or the schedule makes no sense.
func Next(s *beck.Schedule, after time.Time) time.Time {
	p, err := parse(s)
	if err != nil {
		return time.Time{}
	}
	return p.ticks.next(after)
}

// plan is what a schedule's Spec, Zone and Missed mean.
type plan struct {
	ticks  ticks
	missed string
}

// parse reads a schedule.
func parse(s *beck.Schedule) (plan, error) {
	p := plan{missed: s.Missed}
	switch s.Missed {
	case "":
		p.missed = Once
	case Once, Skip, All:
	default:
		return p, invalid(s, "missed %.40q: it takes %s, %s or %s", s.Missed, Once, Skip, All)
	}
	zone, err := loadZone(s.Zone)
	if err != nil {
		return p, invalid(s, "%w", err)
	}
	if p.ticks, err = parseSpec(s.Spec, zone, s.Last); err != nil {
		return p, invalid(s, "%w", err)
	}
	return p, nil
}

func invalid(s *beck.Schedule, format string, args ...any) error {
	return fmt.Errorf("cron: schedule %s: %w: %w", quoted(s.Name), beck.ErrOption, fmt.Errorf(format, args...))
}

// quoted is a name that is fit for an error, whatever it is.
func quoted(name string) string {
	if beck.CheckName(name) == nil {
		return name
	}
	return fmt.Sprintf("%.20q", name)
}
