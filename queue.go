package beck

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// queueKnown is for how long a bus takes a queue that it has made, or seen, for
	// there. Should it be deleted meanwhile, the tasks wait in a topic of its name
	// until somebody works on it.
	queueKnown = time.Minute
	// maxQueuesKnown bounds how many are remembered.
	maxQueuesKnown = 10_000
	maxWeight      = 1000
)

// queues remembers which queues are there.
type queues struct {
	mu    sync.Mutex
	known map[string]time.Time // until when
}

func (q *queues) knows(name string, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return now.Before(q.known[name])
}

func (q *queues) learn(name string, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.known == nil || len(q.known) >= maxQueuesKnown {
		q.known = map[string]time.Time{}
	}
	q.known[name] = now.Add(queueKnown)
}

// Push adds tasks to a queue: a topic with one subscription, whose messages are
// removed once they are acknowledged. The queue is made if it does not exist. It
// is Publish in all else, and an error is ErrWrongType if there is a topic of that
// name that has other subscriptions.
func (b *Bus) Push(ctx context.Context, queue string, messages ...Message) (ids []string, err error) {
	err = b.do("push", at{queue}, func() error {
		if now := time.Now(); !b.queues.knows(queue, now) {
			if _, err := b.Join(ctx, queue, QueueSubscription, &JoinOptions{Queue: true}); err != nil {
				// Whatever became of that, no task is stored.
				return unsent(cause(err))
			}
			b.queues.learn(queue, now)
		}
		ids, err = b.publish(ctx, queue, messages)
		return err
	})
	return ids, err
}

// unsent makes of an uncertain error one that says that nothing was published.
func unsent(err error) error {
	if errors.Is(err, ErrUncertain) {
		return fmt.Errorf("%w: making the queue: %v", ErrUnavailable, err)
	}
	return err
}

// Work handles the tasks of a queue until ctx ends; each goes to one worker, in
// any process. The queue is made if it does not exist. It is Subscribe in all
// else: nil removes the task, an error has it retried. SubscribeOptions.From has
// no meaning here, and is refused.
func (b *Bus) Work(ctx context.Context, queue string, handle Handler, o *SubscribeOptions) error {
	return b.doLasting("work", at{queue}, func() error {
		return b.workAll(ctx, map[string]int{queue: 1}, work{handle: handle}, o)
	})
}

// WorkAll works on several queues with one set of handlers, whose number is
// Concurrency. While more than one queue has tasks, handlers take them in
// proportion to the queues' weights, from 1 to 1000, so that an urgent queue goes
// first and none starves. It ends when one of them can't be worked on.
func (b *Bus) WorkAll(ctx context.Context, weights map[string]int, handle Handler, o *SubscribeOptions) error {
	return b.doLasting("work", nil, func() error {
		if err := at(slices.Collect(maps.Keys(weights))).check(); err != nil {
			return err
		}
		return b.workAll(ctx, weights, work{handle: handle}, o)
	})
}

func (b *Bus) workAll(ctx context.Context, weights map[string]int, w work, o *SubscribeOptions) error {
	if len(weights) == 0 {
		return fmt.Errorf("%w: no queue to work on", ErrOption)
	}
	for name, weight := range weights {
		if weight < 1 || weight > maxWeight {
			return fmt.Errorf("%w: the weight of %s is %d; it takes 1 to %d", ErrOption, name, weight, maxWeight)
		}
	}
	if o != nil && o.From != "" {
		return fmt.Errorf("%w: From is given, but a queue has no beginning", ErrOption)
	}
	options, err := o.filled()
	if err != nil {
		return err
	}
	var all []*consumer
	slots := newGate(options.Concurrency)
	for _, name := range slices.Sorted(maps.Keys(weights)) {
		c, err := b.join(ctx, name, QueueSubscription, w, options, true)
		if endedBy(ctx, err) {
			return nil
		}
		if err != nil {
			return of(name, len(weights), err)
		}
		c.named = o != nil && o.Consumer != ""
		if len(weights) > 1 {
			c.turn = slots.add(weights[name])
		}
		all = append(all, c)
	}
	return runAll(ctx, all)
}

// of says of which queue an error speaks, where there are several.
func of(queue string, queues int, err error) error {
	if queues == 1 {
		return err
	}
	return fmt.Errorf("%s: %w", queue, err)
}

// runAll runs consumers until ctx ends, or one of them can't go on.
func runAll(ctx context.Context, all []*consumer) error {
	if len(all) == 1 {
		return all[0].run(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(all))
	var running sync.WaitGroup
	for i, c := range all {
		running.Go(func() {
			defer cancel()
			if errs[i] = c.run(ctx); errs[i] != nil && !errors.Is(errs[i], ErrClosed) {
				errs[i] = fmt.Errorf("%s: %w", c.topic, errs[i])
			}
		})
	}
	running.Wait()
	for _, err := range errs {
		if errors.Is(err, ErrClosed) {
			return err
		}
	}
	return errors.Join(errs...)
}
