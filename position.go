package beck

import (
	"fmt"
	"strings"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// Position is a place in a topic. It has the text that the command line and the
// HTTP API use as well:
//
//	start                    the oldest message stored
//	new                      behind the newest message
//	1732176000000-0042       behind the message with this id
//	@1732176000000-0042      at the message with this id, which comes first
//	2026-11-21T08:00:00Z     the first message not older than this time
//	-10m                     the first message not older than ten minutes
//
// Reading from an id begins behind that message: it is where a reader that has
// seen it goes on. If the message isn't there any more, the reader gets a [Gap].
// Reading at an id begins with that message, or if it isn't there with the first
// one after it; nobody has missed anything then.
type Position string

// The two ends of a topic.
const (
	FromStart Position = "start"
	FromNew   Position = "new"
)

// FromID is the position behind the message with an id.
func FromID(id string) Position { return Position(id) }

// AtID is the position right before the message with an id.
func AtID(id string) Position { return Position("@" + id) }

// FromTime is the position of the first message not older than t, to the
// millisecond.
func FromTime(t time.Time) Position {
	return Position(t.UTC().Format("2006-01-02T15:04:05.000Z07:00"))
}

// FromAgo is the position of the first message not older than d.
func FromAgo(d time.Duration) Position { return Position("-" + d.String()) }

const maxPosition = 128

// resolve reads a position. The engine checks ids, and whether they exist. Both
// the position behind a message and the one at it are AtID for an engine; resumes
// tells them apart.
func (p Position) resolve(now time.Time) (driver.Position, error) {
	s := string(p)
	switch {
	case p == FromStart:
		return driver.Position{Kind: driver.Start}, nil
	case p == FromNew:
		return driver.Position{Kind: driver.End}, nil
	case s == "" || s == "@" || len(s) > maxPosition || strings.IndexFunc(s, notVisible) >= 0:
		return driver.Position{}, fmt.Errorf("%w %.40q: give start, new, an id, a time such as 2026-11-21T08:00:00Z, or -10m", ErrPosition, s)
	case s[0] == '@':
		return driver.Position{Kind: driver.AtID, ID: s[1:]}, nil
	case s[0] == '-':
		ago, err := time.ParseDuration(s[1:])
		if err != nil || ago < 0 {
			return driver.Position{}, fmt.Errorf("%w %q: behind the minus it takes a duration such as 90s, 10m or 24h", ErrPosition, s)
		}
		return driver.Position{Kind: driver.AtTime, Time: now.Add(-ago)}, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		if t.After(now) {
			return driver.Position{}, fmt.Errorf("%w %s: it lies in the future; for messages to come, use new", ErrPosition, s)
		}
		return driver.Position{Kind: driver.AtTime, Time: t}, nil
	}
	return driver.Position{Kind: driver.AtID, ID: s}, nil
}

// resumes reports whether a reader at this position has seen the message it
// names, so that the continuity rule applies.
func (p Position) resumes() bool { return !strings.HasPrefix(string(p), "@") }

func notVisible(r rune) bool { return r <= ' ' || r >= 0x7f }

// behind returns the position behind the newest id a topic gave out.
func behind(last string) Position {
	if last == "" {
		return FromStart
	}
	return FromID(last)
}
