package cli

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/beckmq/beck"
)

// queue is one of those that a worker takes tasks from.
type queue struct {
	*consumer
	weight int
	// pass is how much this queue has had, divided by its weight: the one with
	// the least is asked first.
	pass float64
	// ask says that asking pays, due when it does without a hint; zero for never.
	ask bool
	due time.Time
}

// queues takes tasks from several queues in proportion to their weights.
type queues struct {
	list  []*queue
	total int // of the weights

	mu     sync.Mutex
	hinted map[*queue]bool
	wake   chan struct{} // has room for one: a queue was hinted at
	stops  []func()
}

// watchQueues begins to watch the queues of some consumers. stop must be called.
func watchQueues(consumers []*consumer, weights map[string]int) (*queues, error) {
	q := &queues{hinted: map[*queue]bool{}, wake: make(chan struct{}, 1)}
	for _, c := range consumers {
		one := &queue{consumer: c, weight: max(1, weights[c.topic]), ask: true}
		hints, unwatch, err := c.bus.Watch(c.topic)
		if err != nil {
			q.stop()
			return nil, err
		}
		ended, forwarded := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(forwarded)
			q.forward(one, hints, ended)
		}()
		q.stops = append(q.stops, func() { unwatch(); close(ended); <-forwarded })
		q.list, q.total = append(q.list, one), q.total+one.weight
	}
	return q, nil
}

func (q *queues) stop() {
	for _, stop := range q.stops {
		stop()
	}
}

func (q *queues) forward(one *queue, hints <-chan struct{}, ended <-chan struct{}) {
	for {
		select {
		case <-hints:
			q.mu.Lock()
			q.hinted[one] = true
			q.mu.Unlock()
			signalOne(q.wake)
		case <-ended:
			return
		}
	}
}

// next leases at most most tasks of one queue. With wait it waits for the first
// one; without, it returns none where no queue has any.
func (q *queues) next(ctx context.Context, most int, wait bool) (*queue, leased, error) {
	if !wait {
		for _, one := range q.list {
			one.ask = true
		}
	}
	for {
		q.takeHints()
		for one := q.first(); one != nil; one = q.first() {
			got, err := one.take(ctx, q.share(one, most))
			if err != nil {
				return nil, leased{}, err
			}
			if len(got.Messages) > 0 {
				q.count(one, len(got.Messages))
				return one, got, nil
			}
		}
		if !wait {
			return nil, leased{}, nil
		}
		if err := q.await(ctx); err != nil {
			return nil, leased{}, err
		}
	}
}

// takeHints marks the queues that have been hinted at, or are due.
func (q *queues) takeHints() {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	for _, one := range q.list {
		if q.hinted[one] || !one.due.IsZero() && !now.Before(one.due) {
			one.ask, one.due = true, time.Time{}
		}
	}
	clear(q.hinted)
}

// first is the queue to ask first, or nil if asking none pays.
func (q *queues) first() *queue {
	var first *queue
	for _, one := range q.list {
		if one.ask && (first == nil || one.pass < first.pass) {
			first = one
		}
	}
	return first
}

// share is how many tasks to take of a queue at once, so that large portions keep
// the proportions, too.
func (q *queues) share(one *queue, most int) int {
	return max(1, most*one.weight/q.total)
}

// count notes what a queue has had. One that had nothing to give for a while must
// not be owed all of it.
func (q *queues) count(one *queue, n int) {
	least := math.Inf(1)
	for _, other := range q.list {
		if other != one && other.ask {
			least = min(least, other.pass)
		}
	}
	if !math.IsInf(least, 1) {
		one.pass = max(one.pass, least-1)
	}
	one.pass += float64(n) / float64(one.weight)
}

// take asks one queue.
func (one *queue) take(ctx context.Context, most int) (got leased, err error) {
	o := beck.FetchOptions{Consumer: one.name, Max: most}
	if got, err = one.fetchSurely(ctx, o); err != nil {
		return got, err
	}
	// A short answer says that there is nothing for now.
	one.ask = got.More || len(got.Messages) >= most
	one.due = time.Time{}
	if got.Next > 0 {
		one.due = time.Now().Add(got.Next)
	}
	return got, nil
}

// await waits until asking some queue pays.
func (q *queues) await(ctx context.Context) error {
	var due time.Time
	for _, one := range q.list {
		if !one.due.IsZero() && (due.IsZero() || one.due.Before(due)) {
			due = one.due
		}
	}
	var timer <-chan time.Time
	if !due.IsZero() {
		t := time.NewTimer(time.Until(due))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-q.wake:
	case <-timer:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}
