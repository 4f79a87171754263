package onredis

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/beckmq/beck/internal/driver"
)

// askedAtOnce is how many messages one script asks for, so that it is short.
const askedAtOnce = 250

// portions are runs of some ids. Of none there is one, which is empty: it is still to
// be found out whether the subscription is there.
func portions(ids []string, size int) iter.Seq[[]string] {
	if len(ids) == 0 {
		return func(yield func([]string) bool) { yield(nil) }
	}
	return slices.Chunk(ids, size)
}

// Outstanding implements driver.Subscriber. A group that was lost is restored
// first, and what it has to do again is outstanding.
func (e *engine) Outstanding(ctx context.Context, topic, name string, ids []string) (map[string]driver.State, error) {
	s := e.subscription(topic, name)
	k := &s.keys
	keys := []string{k.stream, k.retry, k.dead, k.buried}
	open := map[string]driver.State{}
	for portion := range portions(ids, askedAtOnce) {
		args := []string{name}
		for _, text := range portion {
			id, err := parseID(text)
			if err != nil {
				return nil, err
			}
			args = append(args, id.Redis(), id.String())
		}
		reply, err := e.work.at(keys[0]).run(ctx, e.scripts.outstanding, keys, args...)
		for range maxHeals {
			if !isReply(err, "NOGROUP") {
				break
			}
			if err := e.heal(ctx, s); err != nil {
				return nil, err
			}
			reply, err = e.work.at(keys[0]).run(ctx, e.scripts.outstanding, keys, args...)
		}
		if err != nil {
			return nil, e.explain(ctx, err, k.stream, reading)
		}
		states, err := reply.AsStrSlice()
		if err != nil || len(states) != len(portion) {
			return nil, fmt.Errorf("%w: the script outstanding returned %d states for %d messages: %v", driver.ErrCorrupt, len(states), len(portion), err)
		}
		for i, state := range states {
			switch state {
			case "ahead":
				return nil, fmt.Errorf("%w: the topic has not given out %s", driver.ErrPosition, portion[i])
			case "":
			default:
				open[portion[i]] = driver.State(state)
			}
		}
	}
	return open, nil
}
