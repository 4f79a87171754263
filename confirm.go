package beck

import (
	"context"
	"fmt"
	"time"
)

const (
	// Confirm looks again after a while that grows from the first to the last.
	firstLook = 2 * time.Millisecond
	lastLook  = 250 * time.Millisecond
)

// Confirm waits until each of some subscriptions has acknowledged each of some
// messages, at most MaxFetch, or ctx ends, and then returns an
// [*UnconfirmedError] that says which have not. It doesn't wait for dead letters:
// once nothing else is open, it returns that error because of them.
// A subscription that does not exist is ErrSubscriptionNotFound, an id that the
// topic has not given out is ErrPosition. A message that began before a
// subscription counts as acknowledged by it.
func (b *Bus) Confirm(ctx context.Context, topic string, ids []string, subscriptions ...string) error {
	return b.doLasting("confirm", at{topic}, func() error {
		if len(subscriptions) == 0 {
			return fmt.Errorf("%w: no subscription to wait for", ErrOption)
		}
		if err := at(subscriptions).check(); err != nil {
			return err
		}
		if err := checkIDs(ids); err != nil || len(ids) == 0 {
			return err
		}
		return b.confirm(ctx, topic, ids, subscriptions)
	})
}

func (b *Bus) confirm(ctx context.Context, topic string, ids, subscriptions []string) error {
	looking, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(b.ctx, cancel)()
	open := map[string]map[string]State{}
	for _, name := range subscriptions {
		open[name] = nil
	}
	var trouble retrying
	for look := 0; ; look++ {
		err := b.lookForOpen(looking, topic, ids, open)
		switch {
		case err != nil && looking.Err() != nil:
		case err != nil && !transient(err):
			return err
		case err != nil:
			if trouble.wait(looking, b.log, "confirming "+topic, err) == nil {
				continue
			}
		default:
			trouble.over(b.log, "confirming "+topic)
			if len(open) == 0 {
				return nil
			}
			if onlyDead(open) {
				return &UnconfirmedError{Open: open}
			}
		}
		select {
		case <-time.After(jittered(backoff(look, firstLook, lastLook))):
		case <-looking.Done():
			if ctx.Err() == nil {
				return ErrClosed
			}
			return &UnconfirmedError{Open: known(open, ids), Err: context.Cause(ctx)}
		}
	}
}

// lookForOpen brings open up to date, and takes out the subscriptions that are
// done.
func (b *Bus) lookForOpen(ctx context.Context, topic string, ids []string, open map[string]map[string]State) error {
	for name, before := range open {
		ask := ids
		if before != nil {
			ask = make([]string, 0, len(before))
			for id := range before {
				ask = append(ask, id)
			}
		}
		found, err := b.engine.Outstanding(ctx, topic, name, ask)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if len(found) == 0 {
			delete(open, name)
			continue
		}
		open[name] = make(map[string]State, len(found))
		for id, state := range found {
			open[name][id] = State(state)
		}
	}
	return nil
}

func onlyDead(open map[string]map[string]State) bool {
	for _, states := range open {
		for _, state := range states {
			if state != StateDead {
				return false
			}
		}
	}
	return true
}

// known fills in what no answer came for.
func known(open map[string]map[string]State, ids []string) map[string]map[string]State {
	for name, states := range open {
		if states == nil {
			open[name] = map[string]State{}
			for _, id := range ids {
				open[name][id] = StateUnknown
			}
		}
	}
	return open
}
