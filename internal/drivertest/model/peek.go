package model

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/beckmq/beck/internal/driver"
)

// Peek implements driver.Steerer.
func (e *Engine) Peek(ctx context.Context, name, subscriptionName string, req driver.PeekRequest) (driver.Peeked, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.enter(ctx); err != nil {
		return driver.Peeked{}, err
	}
	t, err := e.findTopic(name)
	if err != nil {
		return driver.Peeked{}, err
	}
	var entries []driver.Entry
	if req.State == driver.Delayed {
		entries = t.peekDelayed(req.After)
	} else {
		_, s, err := e.findToSteer(ctx, name, subscriptionName)
		if err != nil {
			return driver.Peeked{}, err
		}
		if entries, err = s.peek(t, req.State, req.After); err != nil {
			return driver.Peeked{}, err
		}
	}
	n := min(req.Max, len(entries))
	return driver.Peeked{Entries: entries[:n], More: n < len(entries)}, nil
}

func (t *topic) peekDelayed(after string) (entries []driver.Entry) {
	for _, d := range t.delayed {
		if d.message.ID > after {
			entries = append(entries, driver.Entry{Message: d.message, State: driver.Delayed, Since: d.since, Due: d.due})
		}
	}
	return entries
}

// peek lists the messages in a state that come behind the one named, in the order
// of that state.
func (s *subscription) peek(t *topic, state driver.State, after string) (entries []driver.Entry, err error) {
	seen := driver.Entry{Message: driver.Message{ID: after}}
	switch state {
	case driver.Ready:
		for _, m := range s.fresh(t) {
			entries = append(entries, driver.Entry{Message: m, State: state, Since: m.Time})
		}
		return behind(entries, seen, byID), nil
	case driver.Held:
		for _, d := range s.pending {
			entries = append(entries, d.entry(state))
		}
		return behind(entries, seen, byID), nil
	case driver.Waiting:
		for _, d := range s.waiting {
			entries = append(entries, d.entry(state))
		}
		seen.Due = s.places[after]
		return behind(entries, seen, byDue), nil
	case driver.Buried:
		for _, d := range s.dead {
			entries = append(entries, d.entry(state))
			if d.message.ID == after {
				entries = nil
			}
		}
		return entries, nil
	}
	return nil, fmt.Errorf("model: there is no state %q", state)
}

// behind sorts, and leaves what comes after the entry that was seen last.
func behind(entries []driver.Entry, seen driver.Entry, order func(a, b driver.Entry) int) []driver.Entry {
	slices.SortFunc(entries, order)
	return slices.DeleteFunc(entries, func(e driver.Entry) bool { return seen.Message.ID != "" && order(e, seen) <= 0 })
}

func byID(a, b driver.Entry) int { return cmp.Compare(a.Message.ID, b.Message.ID) }

func byDue(a, b driver.Entry) int { return cmp.Or(a.Due.Compare(b.Due), byID(a, b)) }

func (d *delivery) entry(state driver.State) driver.Entry {
	return driver.Entry{
		Message: d.message, State: state, Consumer: d.consumer, Since: d.since, Due: d.until, Reason: d.reason,
	}
}
