package cron

import (
	"fmt"
	"testing"
	"time"

	"github.com/beckmq/beck"
)

// step has ticks done as a job does, with a clock that stands still.
func step(p plan, last, now time.Time) (published []time.Time, givenUp bool) {
	for {
		d := p.due(last, now)
		givenUp = givenUp || d.missed
		if d.tick.IsZero() || d.tick.After(now) {
			return published, givenUp
		}
		published = append(published, d.tick)
		last = d.tick
	}
}

func TestMissedTicks(t *testing.T) {
	// A tick each ten minutes, the last one published at 10:00.
	for _, c := range []struct {
		spec, missed, now string
		first, last       string // published
		count             int
		givenUp           bool
	}{
		{"*/10 * * * *", Once, "10:09:59", "", "", 0, false},
		{"*/10 * * * *", Once, "10:10:00", "10:10:00", "10:10:00", 1, false},
		{"*/10 * * * *", Skip, "10:10:30", "10:10:00", "10:10:00", 1, false}, // late
		{"*/10 * * * *", Skip, "10:10:31", "", "", 0, true},                  // too late
		{"*/10 * * * *", Once, "10:10:31", "10:10:00", "10:10:00", 1, false},
		{"*/10 * * * *", All, "10:10:31", "10:10:00", "10:10:00", 1, false},
		{"*/10 * * * *", Once, "13:25:00", "13:20:00", "13:20:00", 1, true},
		{"*/10 * * * *", "", "13:25:00", "13:20:00", "13:20:00", 1, true},
		{"*/10 * * * *", Once, "13:20:05", "13:20:00", "13:20:00", 1, true}, // the late one is enough
		{"*/10 * * * *", Skip, "13:20:05", "13:20:00", "13:20:00", 1, true},
		{"*/10 * * * *", Skip, "13:25:00", "", "", 0, true},
		{"*/10 * * * *", All, "13:25:00", "10:10:00", "13:20:00", 20, false},
		{"* * * * * *", Once, "10:05:00", "10:04:30", "10:05:00", 31, true},
		{"* * * * * *", Skip, "10:05:00", "10:04:30", "10:05:00", 31, true},
		{"* * * * * *", All, "10:05:00", "10:00:01", "10:05:00", 300, false},
		{"* * * * * *", All, "10:17:00", "10:00:01", "10:17:00", 1020, false},
		{"* * * * * *", All, "10:17:10", "10:00:01", "10:17:10", 1030, false}, // 1000 missed, 30 late
		{"* * * * * *", All, "10:17:20", "10:00:10", "10:17:20", 1031, true},  // and the newest late one is at 30 s
		{"* * * * * *", All, "23:00:00", "22:42:50", "23:00:00", 1031, true},
		{"@every 7s", All, "22:00:00", "20:02:56", "21:59:57", 1004, true},
		{"@every 7m", Once, "22:00:00", "21:54:00", "21:54:00", 1, true},
	} {
		t.Run(fmt.Sprint(c.spec, " ", c.missed, " ", c.now), func(t *testing.T) {
			on := func(s string) string {
				if s == "" {
					return ""
				}
				return "2026-03-01T" + s + "Z"
			}
			last := at(t, on("10:00:00"))
			p, err := parse(&beck.Schedule{Name: "s", Spec: c.spec, Missed: c.missed, Last: last})
			if err != nil {
				t.Fatal(err)
			}
			got, givenUp := step(p, last, at(t, on(c.now)))
			if len(got) != c.count || givenUp != c.givenUp {
				t.Fatalf("%d are published, given up %v; want %d, %v", len(got), givenUp, c.count, c.givenUp)
			}
			if c.count > 0 && (!got[0].Equal(at(t, on(c.first))) || !got[len(got)-1].Equal(at(t, on(c.last)))) {
				t.Errorf("from %v to %v; want %s to %s", got[0], got[len(got)-1], c.first, c.last)
			}
			for i := range got[:max(0, len(got)-1)] {
				if !got[i].Before(got[i+1]) {
					t.Errorf("%v comes before %v", got[i], got[i+1])
				}
			}
		})
	}
}

func TestYearsOfMissedTicksAreFoundFast(t *testing.T) {
	begin := time.Now()
	for _, missed := range []string{Once, Skip, All} {
		last := at(t, "2016-03-01T10:00:00Z")
		p, err := parse(&beck.Schedule{Name: "s", Spec: "* * * * 1 *", Zone: "Europe/Berlin", Missed: missed})
		if err != nil {
			t.Fatal(err)
		}
		step(p, last, at(t, "2026-03-01T10:00:00Z"))
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}
