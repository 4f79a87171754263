package beck

import (
	"context"
	"fmt"
	"slices"

	"github.com/beckmq/beck/internal/driver"
)

// Publish adds messages to the end of a topic, in order, in one round trip, and
// returns their ids. The topic is created if it does not exist. At most MaxBatch
// messages may be published at once. A message with a Delay is kept beside the
// topic until its time comes.
//
// When it returns without an error, the engine holds the messages as durably as
// it was asked to, see [Durability]. With an error, the ids of those messages at the
// front that are known to be stored are returned beside it: all of them, with
// ErrDurability; the others are not stored, unless the error is ErrUncertain or that
// of the context: then they may be.
func (b *Bus) Publish(ctx context.Context, topic string, messages ...Message) (ids []string, err error) {
	err = b.do("publish", at{topic}, func() error {
		ids, err = b.publish(ctx, topic, messages)
		return err
	})
	return ids, err
}

func (b *Bus) publish(ctx context.Context, topic string, messages []Message) (ids []string, err error) {
	if len(messages) > MaxBatch {
		return nil, fmt.Errorf("%w: %d messages, more than the %d that may be published at once", ErrTooLarge, len(messages), MaxBatch)
	}
	if b.before != nil {
		messages = slices.Clone(messages)
		if done := b.before(ctx, topic, messages); done != nil {
			defer func() { done(ids, err) }()
		}
	}
	checked := make([]driver.Message, len(messages))
	for i := range messages {
		if checked[i], err = b.checked(&messages[i]); err != nil {
			return nil, which(i, len(messages), err)
		}
	}
	if len(messages) == 0 {
		return nil, nil
	}
	ids, err = b.engine.Append(ctx, topic, checked)
	b.stats.published.Add(uint64(len(ids)))
	return ids, withIDs(ids, err)
}

// which says of which of several messages an error speaks.
func which(i, of int, err error) error {
	if of == 1 {
		return err
	}
	return fmt.Errorf("message %d of %d: %w", i+1, of, err)
}
