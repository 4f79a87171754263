package cron

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck"
)

func at(t testing.TB, s string) time.Time {
	t.Helper()
	if s == "" {
		return time.Time{}
	}
	parsed, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestNext(t *testing.T) {
	for _, c := range []struct {
		name, spec, zone, last, after, want string
	}{
		{"minutes", "*/5 * * * *", "", "", "2026-03-01T10:02:30Z", "2026-03-01T10:05:00Z"},
		{"strictly after", "*/5 * * * *", "", "", "2026-03-01T10:05:00Z", "2026-03-01T10:10:00Z"},
		{"almost there", "*/5 * * * *", "", "", "2026-03-01T10:04:59.999Z", "2026-03-01T10:05:00Z"},
		{"seconds", "*/10 * * * * *", "", "", "2026-03-01T10:00:09.5Z", "2026-03-01T10:00:10Z"},
		{"names", "0 9 * jan-mar mon", "", "", "2026-03-28T00:00:00Z", "2026-03-30T09:00:00Z"},
		{"7 is sunday", "0 9 * * 7", "", "", "2026-03-02T00:00:00Z", "2026-03-08T09:00:00Z"},
		{"either day", "0 0 13 * fri", "", "", "2026-02-10T00:00:00Z", "2026-02-13T00:00:00Z"},
		{"either day, the other", "0 0 13 * fri", "", "", "2026-02-13T00:00:00Z", "2026-02-20T00:00:00Z"},
		{"leap day", "0 0 29 2 *", "", "", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"},
		{"over the night", "0 22-2 * * *", "", "", "2026-03-01T23:30:00Z", "2026-03-02T00:00:00Z"},
		{"daily", "@daily", "Asia/Tokyo", "", "2026-03-01T10:00:00Z", "2026-03-01T15:00:00Z"},
		{"spaces", "  0   9 * * *  ", "", "", "2026-03-01T10:00:00Z", "2026-03-02T09:00:00Z"},
		{"every", "@every 90s", "", "2026-03-01T10:00:00.25Z", "2026-03-01T10:00:10Z", "2026-03-01T10:01:30.25Z"},
		{"every, later", "@every 90s", "", "2026-03-01T10:00:00.25Z", "2026-03-01T10:03:00.25Z", "2026-03-01T10:04:30.25Z"},
		{"every, before it begins", "@every 1h", "", "2026-03-01T10:00:00Z", "2026-02-01T10:03:00Z", "2026-03-01T11:00:00Z"},
		{"every, without a beginning", "@every 1h", "", "", "2026-02-01T10:03:00Z", "2026-02-01T11:03:00Z"},

		{"left out", "30 2 * * *", "Europe/Berlin", "", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"},
		{"after what was left out", "30 2 * * *", "Europe/Berlin", "", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"},
		{"left out, together", "10,50 2 * * *", "Europe/Berlin", "", "2026-03-29T01:00:00Z", "2026-03-30T00:10:00Z"},
		{"left out and shown", "0 2,3 * * *", "Europe/Berlin", "", "2026-03-29T00:59:00Z", "2026-03-29T01:00:00Z"},
		{"left out and shown is one", "0 2,3 * * *", "Europe/Berlin", "", "2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"},
		{"twice", "30 2 * * *", "Europe/Berlin", "", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"},
		{"twice is once", "30 2 * * *", "Europe/Berlin", "", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
		{"the second time", "30 2 * * *", "Europe/Berlin", "", "2026-10-25T01:10:00Z", "2026-10-26T01:30:00Z"},
		{"evenly forward", "30 * * * *", "Europe/Berlin", "", "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"},
		{"evenly back", "30 * * * *", "Europe/Berlin", "", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"},
		{"no midnight", "0 0 * * *", "America/Havana", "", "2026-03-08T04:30:00Z", "2026-03-08T05:00:00Z"},
		{"after no midnight", "0 0 * * *", "America/Havana", "", "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z"},
		{"a day left out", "0 12 30 12 *", "Pacific/Apia", "", "2011-12-30T09:00:00Z", "2011-12-30T10:00:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &beck.Schedule{Name: "s", Spec: c.spec, Zone: c.zone, Last: at(t, c.last)}
			if got, want := Next(s, at(t, c.after)), at(t, c.want); !got.Equal(want) {
				t.Errorf("after %s comes %s, not %s", c.after, got.UTC().Format(time.RFC3339Nano), c.want)
			}
		})
	}
}

func TestWhatMakesNoSense(t *testing.T) {
	for _, c := range []struct {
		schedule beck.Schedule
		says     string
	}{
		{beck.Schedule{}, "empty"},
		{beck.Schedule{Spec: "* * * *"}, "fields"},
		{beck.Schedule{Spec: "* * * * * * *"}, "fields"},
		{beck.Schedule{Spec: "60 * * * *"}, "60"},
		{beck.Schedule{Spec: "*/0 * * * *"}, "step"},
		{beck.Schedule{Spec: "0 0 30 2 *"}, "no such day"},
		{beck.Schedule{Spec: "0 0 31 2,4,6,9,11 *"}, "no such day"},
		{beck.Schedule{Spec: "@reboot"}, "@reboot"},
		{beck.Schedule{Spec: "@every"}, "duration"},
		{beck.Schedule{Spec: "@every 1.5s"}, "whole seconds"},
		{beck.Schedule{Spec: "@every 10ms"}, "whole seconds"},
		{beck.Schedule{Spec: "@every -1m"}, "whole seconds"},
		{beck.Schedule{Spec: "@every 100000h"}, "ten years"},
		{beck.Schedule{Spec: "TZ=UTC * * * * *"}, "Zone"},
		{beck.Schedule{Spec: strings.Repeat("1,", 500) + " * * * *"}, "bytes"},
		{beck.Schedule{Spec: "@daily", Zone: "Mars/Olympus"}, "Mars/Olympus"},
		{beck.Schedule{Spec: "@daily", Zone: "Local"}, "Europe/Berlin"},
		{beck.Schedule{Spec: "@daily", Zone: "../etc/passwd"}, "passwd"},
		{beck.Schedule{Spec: "@daily", Missed: "maybe"}, "once, skip or all"},
	} {
		c.schedule.Name = "nightly"
		_, err := parse(&c.schedule)
		if !errors.Is(err, beck.ErrOption) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "nightly") {
			t.Errorf("%q in %q, missed %q: %v; want an ErrOption that says %q", c.schedule.Spec, c.schedule.Zone, c.schedule.Missed, err, c.says)
		}
		if next := Next(&c.schedule, time.Now()); !next.IsZero() {
			t.Errorf("%q has a next tick", c.schedule.Spec)
		}
	}
}

// TestTicksAgreeWithTheClock compares with a clock that is looked at each minute.
func TestTicksAgreeWithTheClock(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, span := range []struct{ zone, from string }{
		{"UTC", "2026-03-07T00:00:00Z"},
		{"Europe/Berlin", "2026-03-28T00:00:00Z"},
		{"Europe/Berlin", "2026-10-24T00:00:00Z"},
		{"America/New_York", "2026-03-07T00:00:00Z"},
		{"America/New_York", "2026-10-31T00:00:00Z"},
		{"America/Havana", "2026-03-07T00:00:00Z"},
		{"America/Havana", "2026-10-31T00:00:00Z"},
		{"Australia/Lord_Howe", "2026-04-04T00:00:00Z"},
		{"Australia/Lord_Howe", "2026-10-03T00:00:00Z"},
		{"Africa/Cairo", "2026-04-23T00:00:00Z"},
		{"Africa/Cairo", "2026-10-29T00:00:00Z"},
		{"Pacific/Apia", "2011-12-29T00:00:00Z"},
		{"Asia/Kathmandu", "2026-01-01T00:00:00Z"},
	} {
		zone, err := time.LoadLocation(span.zone)
		if err != nil {
			t.Fatal(err)
		}
		for range 12 {
			minute, hour := random.IntN(60), random.IntN(24)
			hours := []int{hour, (hour + random.IntN(4)) % 24}
			spec := fmt.Sprintf("%d,%d %d,%d * * *", minute, (minute+17)%60, hours[0], hours[1])
			named := random.IntN(3) > 0
			if !named {
				spec = fmt.Sprintf("%d,%d * * * *", minute, (minute+17)%60)
			}
			begin := at(t, span.from)
			end := begin.Add(72 * time.Hour)
			shows := func(clock time.Time) bool {
				m := clock.Minute() == minute || clock.Minute() == (minute+17)%60
				return m && (!named || slices.Contains(hours, clock.Hour()))
			}
			want := byTheClock(begin, end, zone, named, shows)
			c, err := parseSpec(spec, zone, time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			var got []time.Time
			for tick := c.next(begin); tick.Before(end); tick = c.next(tick) {
				got = append(got, tick)
			}
			if !slices.EqualFunc(got, want, time.Time.Equal) {
				t.Fatalf("%s in %s:\n got %v\nwant %v", spec, span.zone, got, want)
			}
			for range 20 {
				after := begin.Add(time.Duration(random.Int64N(int64(end.Sub(begin)))))
				until := after.Add(time.Duration(random.Int64N(int64(end.Sub(after)))))
				i, j := first(want, after), first(want, until)
				if i < len(want) && !c.next(after).Equal(want[i]) {
					t.Errorf("%s in %s: after %v comes %v, not %v", spec, span.zone, after, c.next(after), want[i])
				}
				var newest time.Time
				if j > i {
					newest = want[j-1]
				}
				if got := c.newest(after, until); !got.Equal(newest) {
					t.Errorf("%s in %s: the newest from %v to %v is %v, not %v", spec, span.zone, after, until, got, newest)
				}
			}
		}
	}
}

// first is the index of the first tick after a time.
func first(ticks []time.Time, after time.Time) int {
	i := slices.IndexFunc(ticks, func(t time.Time) bool { return t.After(after) })
	if i < 0 {
		return len(ticks)
	}
	return i
}

// byTheClock goes from minute to minute. A named hour counts the first time, and
// when the clock jumps over it.
func byTheClock(begin, end time.Time, zone *time.Location, named bool, shows func(clock time.Time) bool) (ticks []time.Time) {
	clock := func(t time.Time) time.Time { // as if it were UTC
		_, offset := t.In(zone).Zone()
		return t.UTC().Add(time.Duration(offset) * time.Second)
	}
	highest := clock(begin.Add(-48 * time.Hour))
	for t := begin.Add(-48 * time.Hour).Add(time.Minute); t.Before(end); t = t.Add(time.Minute) {
		now := clock(t)
		due := shows(now)
		if named {
			due = false
			for jumped := highest.Add(time.Minute); !jumped.After(now); jumped = jumped.Add(time.Minute) {
				due = due || shows(jumped)
			}
		}
		if due && t.After(begin) {
			ticks = append(ticks, t)
		}
		if now.After(highest) {
			highest = now
		}
	}
	return ticks
}

func FuzzSchedule(f *testing.F) {
	for _, seed := range []string{"* * * * *", "*/5 1-3,22-2 L ? mon#2", "@every 1h", "@yearly", "0 0 29 2 1", "H * * * *", "TZ=x", "1-", "*/", "@", "0 0 W * *"} {
		f.Add(seed, "Europe/Berlin", int64(1_800_000_000))
	}
	f.Fuzz(func(t *testing.T, spec, zone string, unix int64) {
		begin := time.Now()
		after := time.Unix(unix%(1<<33), 0)
		s := &beck.Schedule{Name: "s", Spec: spec, Zone: zone, Last: after}
		p, err := parse(s)
		if err != nil {
			if !errors.Is(err, beck.ErrOption) {
				t.Errorf("%v is not ErrOption", err)
			}
			return
		}
		next := Next(s, after)
		if !next.IsZero() && !next.After(after) {
			t.Errorf("%q in %q: %v comes after %v", spec, zone, next, after)
		}
		if then := after.AddDate(1, 0, 0); !next.IsZero() && !next.After(then) {
			newest := p.ticks.newest(after, then)
			if newest.Before(next) || newest.After(then) {
				t.Errorf("%q in %q: the newest from %v to %v is %v", spec, zone, after, then, newest)
			}
			if following := Next(s, newest); !following.IsZero() && !following.After(then) {
				t.Errorf("%q in %q: %v comes behind the newest, %v", spec, zone, following, newest)
			}
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("%q in %q took %v", spec, zone, took)
		}
	})
}
