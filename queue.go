package beck

import (
	"context"
	"fmt"
)

// Push adds tasks to a queue: a topic with one subscription, whose messages are
// removed once they are acknowledged. The queue is made if it does not exist. It
// is Publish in all else, and an error is ErrWrongType if there is a topic of that
// name that has subscriptions.
func (b *Bus) Push(ctx context.Context, queue string, messages ...Message) (ids []string, err error) {
	err = b.do("push", at{queue}, func() error {
		if err := b.makeQueue(ctx, queue); err != nil {
			return err
		}
		ids, err = b.publish(ctx, queue, messages)
		return err
	})
	return ids, err
}

// makeQueue makes a queue, unless this bus has seen it before.
func (b *Bus) makeQueue(ctx context.Context, queue string) error {
	return fmt.Errorf("%w: unbuilt", ErrOption)
}

// Work handles the tasks of a queue until ctx ends; each goes to one worker, in
// any process. It is Subscribe in all else: nil removes the task, an error has it
// retried.
func (b *Bus) Work(ctx context.Context, queue string, handle Handler, o *SubscribeOptions) error {
	return b.WorkAll(ctx, map[string]int{queue: 1}, handle, o)
}

// WorkAll works on several queues with one set of handlers, whose number is
// Concurrency. While more than one queue has tasks, handlers take them in
// proportion to the weights, so that an urgent queue goes first and none starves.
// A weight is at least 1.
func (b *Bus) WorkAll(ctx context.Context, weights map[string]int, handle Handler, o *SubscribeOptions) error {
	return fmt.Errorf("%w: unbuilt", ErrOption)
}
