package beck

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// State is where a message stands with a subscription, or before its topic.
type State string

// The states.
const (
	StateReady   = State(driver.Ready)   // stored and never delivered
	StateHeld    = State(driver.Held)    // leased to a consumer
	StateWaiting = State(driver.Waiting) // waiting for its retry
	StateDelayed = State(driver.Delayed) // its time has not come; it has no place in the topic yet
	StateDead    = State(driver.Buried)  // a dead letter
	StateUnknown = State("unknown")      // Confirm ended before it could learn the state
)

// Entry is one message and where it stands.
type Entry struct {
	// Message is whole; its Attempt counts the deliveries so far.
	Message  *Message
	State    State
	Consumer string    // who holds it, or was the last to (StateHeld, StateDead)
	Since    time.Time // when the state began; zero if unknown
	Due      time.Time // when its lease, wait or delay ends
	Reason   string    // of the last retry, or why it died
}

// PeekOptions say which entries, and how many.
type PeekOptions struct {
	// After is the id of the last entry seen. Defaults to "": from the first one.
	After string

	// Max is the most entries to return, up to MaxFetch. Defaults to 100.
	Max int
}

// Peek looks at the messages of a subscription that are in one state, without
// changing anything: those of StateReady and StateHeld in the order of the topic,
// those of StateWaiting and StateDelayed by when they are due, dead letters as they
// died. For StateDelayed the subscription is empty. more says that there are others
// behind these.
func (b *Bus) Peek(ctx context.Context, topic, subscription string, state State, o *PeekOptions) (entries []*Entry, more bool, err error) {
	if o == nil {
		o = &PeekOptions{}
	}
	where := at{topic, subscription}
	if state == StateDelayed && subscription == "" {
		where = at{topic}
	}
	err = b.do("peek", where, func() error {
		most := o.Max
		if most == 0 {
			most = 100
		}
		switch {
		case most < 0 || most > MaxFetch:
			return fmt.Errorf("%w: Max %d; it takes 1 to %d", ErrOption, o.Max, MaxFetch)
		case len(o.After) > maxPosition || strings.IndexFunc(o.After, notVisible) >= 0:
			return fmt.Errorf("%w: After %.40q is not an id", ErrPosition, o.After)
		case state == StateDelayed && subscription != "":
			return fmt.Errorf("%w: delayed messages belong to the topic, not to subscription %s", ErrOption, subscription)
		}
		switch state {
		case StateReady, StateHeld, StateWaiting, StateDelayed, StateDead:
		default:
			return fmt.Errorf("%w: state %.20q; there are ready, held, waiting, delayed and dead", ErrOption, state)
		}
		got, err := b.engine.Peek(ctx, topic, subscription, driver.PeekRequest{
			State: driver.State(state), After: o.After, Max: most,
		})
		more = got.More
		for i := range got.Entries {
			e := &got.Entries[i]
			e.Message.Topic = topic
			entries = append(entries, &Entry{
				Message: (*Message)(&e.Message), State: State(e.State), Consumer: e.Consumer,
				Since: e.Since, Due: e.Due, Reason: e.Reason,
			})
		}
		return err
	})
	return entries, more, err
}
