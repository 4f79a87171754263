package cron

import (
	"time"

	parser "github.com/netresearch/go-cron"
)

// calendar has ticks by the clocks and calendars of a zone.
//
// The parser's own search is asked only about a clock that never changes: it gets
// what a clock on the wall shows as if that were UTC. What becomes of the times
// that are left out or come twice is decided here, by the spans of time in which
// the zone's offset stays the same.
type calendar struct {
	fields *parser.SpecSchedule
	zone   *time.Location
	// named says that the hour is not *.
	named bool
}

// maxSpans bounds the search, which comes to its end after a few.
const maxSpans = 100

func (c *calendar) next(after time.Time) time.Time {
	at := after.In(c.zone)
	from := wall(at) // the tick comes behind what the clock shows then
	for range maxSpans {
		start, end := at.ZoneBounds()
		if c.named && !start.IsZero() {
			// What the clock showed before the change does not come again.
			if shown := wallBefore(start).Add(-time.Second); from.Before(shown) {
				from = shown
			}
		}
		tick := c.fields.Next(from)
		if tick.IsZero() {
			return tick
		}
		_, offset := at.Zone()
		due := tick.Add(-time.Duration(offset) * time.Second)
		switch {
		case end.IsZero() || due.Before(end):
			return due.In(c.zone)
		case c.named && tick.Before(wall(end)):
			// The clock never shows it: it jumps over it at the end of the span.
			return end
		}
		// It comes in the next span, or far behind it.
		at = end
		if far := due.Add(-2 * 24 * time.Hour); far.After(end) {
			at = far.In(c.zone)
		}
		from = wall(at).Add(-time.Second)
	}
	return time.Time{}
}

// newest looks for the second before the last tick.
func (c *calendar) newest(after, until time.Time) time.Time {
	if first := c.next(after); first.IsZero() || first.After(until) {
		return time.Time{}
	}
	// There is a tick behind low until then, and none behind high.
	low, high := after.Unix(), until.Unix()+1
	for high-low > 1 {
		if middle := low + (high-low)/2; c.due(middle, until) {
			low = middle
		} else {
			high = middle
		}
	}
	newest := c.next(time.Unix(low, 0))
	if !newest.After(after) {
		return c.next(after)
	}
	return newest
}

// due reports whether there is a tick behind a second, but not behind until.
func (c *calendar) due(second int64, until time.Time) bool {
	t := c.next(time.Unix(second, 0))
	return !t.IsZero() && !t.After(until)
}

// wall is what the clock on the wall shows, as if it were UTC.
func wall(t time.Time) time.Time {
	_, offset := t.Zone()
	return time.Unix(t.Unix()+int64(offset), int64(t.Nanosecond())).UTC()
}

// wallBefore is what it would show if it had not just been changed.
func wallBefore(change time.Time) time.Time {
	_, offset := change.Add(-1).Zone()
	return time.Unix(change.Unix()+int64(offset), 0).UTC()
}
