package beck

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

var now = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)

func TestPositions(t *testing.T) {
	for _, c := range []struct {
		p    Position
		want driver.Position
	}{
		{FromStart, driver.Position{Kind: driver.Start}},
		{FromNew, driver.Position{Kind: driver.End}},
		{"1732176000000-0042", driver.Position{Kind: driver.AtID, ID: "1732176000000-0042"}},
		{FromID("m7"), driver.Position{Kind: driver.AtID, ID: "m7"}},
		{AtID("m7"), driver.Position{Kind: driver.AtID, ID: "m7"}},
		{"2026-11-21T07:00:00Z", driver.Position{Kind: driver.AtTime, Time: now.Add(-time.Hour)}},
		{"2026-11-21T08:30:00+01:00", driver.Position{Kind: driver.AtTime, Time: now.Add(-30 * time.Minute)}},
		{FromTime(now.Add(-1500 * time.Millisecond)), driver.Position{Kind: driver.AtTime, Time: now.Add(-1500 * time.Millisecond)}},
		{FromAgo(10 * time.Minute), driver.Position{Kind: driver.AtTime, Time: now.Add(-10 * time.Minute)}},
		{"-90s", driver.Position{Kind: driver.AtTime, Time: now.Add(-90 * time.Second)}},
	} {
		got, err := c.p.resolve(now)
		if err != nil || got.Kind != c.want.Kind || got.ID != c.want.ID || !got.Time.Equal(c.want.Time) {
			t.Errorf("%s resolves to %+v, %v, want %+v", c.p, got, err, c.want)
		}
	}
	for _, p := range []Position{"", "@", "-", "--5s", "-ten", "a b", "ä", "2026-11-21T09:00:00Z", "x\n", Position(strings.Repeat("1", 129))} {
		if got, err := p.resolve(now); !errors.Is(err, ErrPosition) {
			t.Errorf("%q resolves to %+v, %v, want ErrPosition", p, got, err)
		}
	}
}

func FuzzPosition(f *testing.F) {
	for _, seed := range []string{"start", "new", "@1-1", "-10m", "2026-11-21T07:00:00Z", "1732176000000-0042"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := Position(s).resolve(now)
		switch {
		case err != nil && !errors.Is(err, ErrPosition):
			t.Errorf("%q: %v", s, err)
		case err == nil && p.Kind == driver.AtTime && p.Time.After(now):
			t.Errorf("%q lies in the future: %v", s, p.Time)
		case err == nil && p.Kind == driver.AtID && (p.ID == "" || len(p.ID) > 128 || strings.ContainsAny(p.ID, " \r\n\x00")):
			t.Errorf("%q has the id %q", s, p.ID)
		}
	})
}
