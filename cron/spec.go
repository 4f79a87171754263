package cron

import (
	"fmt"
	"strings"
	"time"

	parser "github.com/netresearch/go-cron"
)

// ticks are the moments of a schedule.
type ticks interface {
	// next is the first tick after a time, zero if there is none.
	next(after time.Time) time.Time
	// newest is the last tick after one time and not after another, zero if there
	// is none.
	newest(after, until time.Time) time.Time
}

const (
	maxSpec = 200
	maxZone = 100
	// maxEvery bounds @every, and searchYears how far ahead a tick is looked for:
	// the 29th of February may be a Monday after 40 years only.
	maxEvery    = 10 * 365 * 24 * time.Hour
	searchYears = 41
)

var specs = parser.MustNewParser(parser.SecondOptional | parser.Minute | parser.Hour |
	parser.Dom | parser.Month | parser.Dow | parser.Descriptor | parser.DowOrDom).WithMaxSearchYears(searchYears)

// loadZone knows a time zone by its name. Local is none: it would be another one
// in each process.
func loadZone(name string) (*time.Location, error) {
	if len(name) > maxZone || name == "Local" {
		return nil, fmt.Errorf("zone %.40q: give a name such as Europe/Berlin, or none for UTC", name)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("zone %.40q: %w; give a name such as Europe/Berlin, or none for UTC", name, err)
	}
	return zone, nil
}

// parseSpec reads a Spec. What is counted from the beginning is counted from
// begin.
func parseSpec(spec string, zone *time.Location, begin time.Time) (ticks, error) {
	switch {
	case len(spec) > maxSpec:
		return nil, fmt.Errorf("spec %.40q… has %d bytes, more than the %d allowed", spec, len(spec), maxSpec)
	case strings.TrimSpace(spec) == "":
		return nil, fmt.Errorf(`spec %q is empty; give one such as "*/5 * * * *" or "@daily"`, spec)
	case strings.Contains(spec, "="):
		return nil, fmt.Errorf("spec %.40q: the time zone belongs in Zone", spec)
	}
	spec = strings.TrimSpace(spec)
	if length, is := strings.CutPrefix(spec, "@every"); is {
		return parseEvery(spec, strings.TrimSpace(length), zone, begin)
	}
	parsed, err := specs.Parse(spec)
	if err != nil {
		return nil, fmt.Errorf("spec %.80q: %w", spec, err)
	}
	fields, ok := parsed.(*parser.SpecSchedule)
	if !ok {
		return nil, fmt.Errorf("spec %.80q is not of minute, hour, day of the month, month and day of the week", spec)
	}
	fields.Location = time.UTC
	c := &calendar{fields: fields, zone: zone, named: fields.Hour&anyValue == 0}
	if c.fields.Next(time.Unix(0, 0).UTC()).IsZero() {
		return nil, fmt.Errorf("spec %.80q: there is no such day", spec)
	}
	return c, nil
}

// anyValue is set in a field that is *.
const anyValue = 1 << 63

func parseEvery(spec, length string, zone *time.Location, begin time.Time) (ticks, error) {
	d, err := time.ParseDuration(length)
	if err != nil {
		return nil, fmt.Errorf("spec %.80q: behind @every it takes a duration such as 90s or 24h", spec)
	}
	if d < time.Second || d > maxEvery || d%time.Second != 0 {
		return nil, fmt.Errorf("spec %.80q: @every takes whole seconds, from one to ten years", spec)
	}
	return every{d, begin, zone}, nil
}

// every is a tick each so many seconds, from a beginning that is none.
type every struct {
	length time.Duration
	begin  time.Time
	zone   *time.Location
}

func (e every) next(after time.Time) time.Time {
	begin := e.begin
	if begin.IsZero() {
		begin = after
	}
	if after.Before(begin) {
		after = begin
	}
	return e.tick(begin, e.count(begin, after)+1)
}

func (e every) newest(after, until time.Time) time.Time {
	begin := e.begin
	if begin.IsZero() {
		begin = after
	}
	t := e.tick(begin, e.count(begin, until))
	if !t.After(after) || !t.After(begin) {
		return time.Time{}
	}
	return t
}

// count is how many ticks there were up to a time.
func (e every) count(begin, until time.Time) int64 {
	seconds := until.Unix() - begin.Unix()
	if until.Nanosecond() < begin.Nanosecond() {
		seconds--
	}
	return max(0, seconds) / int64(e.length/time.Second)
}

func (e every) tick(begin time.Time, n int64) time.Time {
	return time.Unix(begin.Unix()+n*int64(e.length/time.Second), int64(begin.Nanosecond())).In(e.zone)
}
