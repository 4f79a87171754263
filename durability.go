package beck

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// Durability is what must hold of a message, beyond being written, before its id is
// returned: how many replicas must have it, whether it must be synced to disk, and
// how long to wait for that, 5 seconds unless it says otherwise. The zero value asks
// for nothing more; the disk engine syncs every message all the same.
//
// What is not reached in time is [ErrDurability], with the ids of the messages, which
// are stored; publishing them again would store them twice, unless they have a
// DedupeID. What the engine can never give is [ErrOption], and nothing is stored.
type Durability = driver.Durability

const (
	// maxReplicas is more than any Redis has.
	maxReplicas = 1000
	// maxWithin bounds how long publishing may wait for its durability.
	maxWithin = time.Minute
)

func checkDurability(d Durability) error {
	switch {
	case d.Replicas < 0 || d.Replicas > maxReplicas:
		return fmt.Errorf("%w: a durability of %d replicas; it takes 0 to %d", ErrOption, d.Replicas, maxReplicas)
	case d.Within < 0 || d.Within > maxWithin:
		return fmt.Errorf("%w: a durability within %v; it takes up to %v", ErrOption, d.Within, maxWithin)
	case d.Within > 0 && d.Within < time.Millisecond:
		return fmt.Errorf("%w: a durability within %v; the shortest is a millisecond", ErrOption, d.Within)
	}
	return nil
}

// checked is what the engine is given of a message: with the durability of the bus
// if it has none of its own.
func (b *Bus) checked(m *Message) (driver.Message, error) {
	out, err := m.check(b.maxBody)
	if out.Durability == nil {
		out.Durability = b.durable
	}
	return out, err
}

// notDurable is ErrDurability with the ids of what is stored.
type notDurable struct {
	ids []string
	err error // the engine's
}

const (
	storedAs = "stored as "
	// storedShown is how many ids are shown of a batch.
	storedShown = 3
)

// withIDs says under which ids messages are stored that are not known to be as
// durably stored as asked; other errors it leaves as they are.
func withIDs(ids []string, err error) error {
	// A server has said it already.
	if len(ids) == 0 || !errors.Is(err, ErrDurability) || strings.HasPrefix(err.Error(), storedAs) {
		return err
	}
	return &notDurable{ids: ids, err: err}
}

func (e *notDurable) Error() string {
	shown, rest := e.ids, ""
	if len(shown) > storedShown {
		shown, rest = shown[:storedShown], fmt.Sprintf(" and %d more", len(e.ids)-storedShown)
	}
	s := storedAs + strings.Join(shown, ", ") + rest + ", but not as durably as asked"
	// What the engine says of it, without saying the same again.
	why := strings.Replace(e.err.Error(), ErrDurability.Error(), "", 1)
	if why = strings.Trim(strings.Replace(why, ": : ", ": ", 1), ": "); why != "" {
		s += ": " + why
	}
	return s
}

// Unwrap returns the engine's error.
func (e *notDurable) Unwrap() error { return e.err }
