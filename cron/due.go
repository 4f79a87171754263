package cron

import "time"

// due is what is to be done for a schedule.
type due struct {
	// tick is to be published at its time; zero if there is none any more.
	tick time.Time
	// missed says that ticks from first to givenUp must not be published.
	missed         bool
	first, givenUp time.Time
}

// due finds the next tick to publish, now or later, if all are done up to last.
func (p plan) due(last, now time.Time) due {
	first := p.ticks.next(last)
	if first.IsZero() || now.Sub(first) <= Late {
		return due{tick: first}
	}
	// The first tick that is not too late, and the last one that is.
	inTime := p.ticks.next(now.Add(-Late - 1))
	newest := p.ticks.newest(last, now.Add(-Late-1))
	d := due{tick: inTime, missed: true, first: first, givenUp: newest}
	switch p.missed {
	case Once:
		if inTime.IsZero() || inTime.After(now) {
			d.tick = newest
			d.givenUp = newest.Add(-time.Millisecond)
			d.missed = first.Before(newest)
		}
	case All:
		d.tick, d.missed = p.oldest(last, first, newest)
		d.givenUp = d.tick.Add(-time.Millisecond)
	}
	return d
}

// oldest finds the oldest missed tick that is to be published if all are wanted,
// and whether others before it are given up.
func (p plan) oldest(last, first, newest time.Time) (oldest time.Time, givenUp bool) {
	t := first
	for range MaxMissed {
		if !t.Before(newest) {
			return first, false
		}
		t = p.ticks.next(t)
	}
	t = newest
	for range MaxMissed - 1 {
		t = p.ticks.newest(last, t.Add(-time.Millisecond))
	}
	return t, first.Before(t)
}
