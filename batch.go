package beck

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// A BatchHandler handles several messages of a subscription at once. Returning nil
// acknowledges all of them, a [BatchError] decides for each, and any other error
// is that of each, as if a [Handler] had returned it. The messages of one key are
// in order. The context is cancelled, as that of a Handler, when the lease of any
// of them is lost.
type BatchHandler func(ctx context.Context, messages []*Message) error

// BatchError is returned by a BatchHandler to decide for each message by itself:
// it has as many errors as there were messages, in the same order, nil for those
// that are done. It may be wrapped. With another number, or joined with other
// errors, it decides for none: all messages are retried.
type BatchError []error

func (e BatchError) Error() string {
	failed, first := 0, error(nil)
	for _, err := range e {
		if err != nil {
			failed++
			if first == nil {
				first = err
			}
		}
	}
	return fmt.Sprintf("%d of %d messages failed, the first: %v", failed, len(e), first)
}

// Unwrap returns the errors.
func (e BatchError) Unwrap() []error { return e }

// BatchOptions are SubscribeOptions for handlers of several messages. Concurrency
// is how many batches are handled at a time.
type BatchOptions struct {
	SubscribeOptions

	// Max is the most messages in a batch, up to MaxFetch. Defaults to 100.
	Max int

	// Wait is how long a batch that isn't full waits for more messages. Defaults
	// to 100 milliseconds.
	Wait time.Duration
}

const (
	defaultBatch     = 100
	defaultBatchWait = 100 * time.Millisecond
	maxBatchWait     = time.Minute
)

// work is what a consumer does with its messages: one by one, or in batches of at
// most max, for which it waits.
type work struct {
	handle Handler
	batch  BatchHandler
	max    int
	wait   time.Duration
}

func (w work) size() int { return max(1, w.max) }

// SubscribeBatch is Subscribe with a handler of several messages at a time.
func (b *Bus) SubscribeBatch(ctx context.Context, topic, name string, handle BatchHandler, o *BatchOptions) error {
	return b.doLasting("subscribe", at{topic, name}, func() error {
		w, err := o.work(handle)
		if err != nil {
			return err
		}
		return b.subscribe(ctx, topic, name, w, o.subscribeOptions())
	})
}

// WorkBatch is Work with a handler of several tasks at a time.
func (b *Bus) WorkBatch(ctx context.Context, queue string, handle BatchHandler, o *BatchOptions) error {
	return b.doLasting("work", at{queue}, func() error {
		w, err := o.work(handle)
		if err != nil {
			return err
		}
		return b.workAll(ctx, map[string]int{queue: 1}, w, o.subscribeOptions())
	})
}

func (o *BatchOptions) subscribeOptions() *SubscribeOptions {
	if o == nil {
		return nil
	}
	return &o.SubscribeOptions
}

func (o *BatchOptions) work(handle BatchHandler) (work, error) {
	w := work{batch: handle, max: defaultBatch, wait: defaultBatchWait}
	if o == nil {
		return w, nil
	}
	if o.Max < 0 || o.Max > MaxFetch {
		return w, fmt.Errorf("%w: Max is %d; it takes 1 to %d", ErrOption, o.Max, MaxFetch)
	}
	if o.Wait < 0 || o.Wait > maxBatchWait {
		return w, fmt.Errorf("%w: Wait is %v; it takes up to %v", ErrOption, o.Wait, maxBatchWait)
	}
	if o.Max > 0 {
		w.max = o.Max
	}
	if o.Wait > 0 {
		w.wait = o.Wait
	}
	if o.Prefetch > 0 && o.Prefetch < w.max {
		return w, fmt.Errorf("%w: Prefetch is %d, less than the %d messages of a batch", ErrOption, o.Prefetch, w.max)
	}
	return w, nil
}

// employForBatch starts a worker if there is work and none gathers already. One
// gathers at a time; when its batch is complete, the next begins.
func (c *consumer) employForBatch(handlers context.Context) {
	switch {
	case c.gathers:
		signal(c.arrived)
	case c.schedule.len() > 0 && c.workers < c.options.Concurrency:
		c.workers++
		c.gathers = true
		go c.serve(handlers)
	}
}

// serveBatches gathers and handles batches as long as there are messages, and no
// other worker gathers.
func (w *worker) serveBatches() {
	for {
		batch := w.gather()
		if batch == nil {
			return
		}
		w.handleBatch(batch)
		w.mu.Lock()
		if w.gathers {
			w.retire()
			w.mu.Unlock()
			return
		}
		w.gathers = true
		w.mu.Unlock()
	}
}

// gather returns the next batch, or nil if the worker has ended. The worker is
// the one that gathers.
func (w *worker) gather() []*delivery {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() {
		w.gathers = false
		if !w.stopping {
			w.employ(w.handlers)
		}
	}()
	first := w.next()
	if first == nil {
		return nil
	}
	first.cancel = nil // a lease that is lost while the batch fills concerns no other
	batch := w.fill([]*delivery{first})
	over := time.NewTimer(w.work.wait)
	defer over.Stop()
	for waiting := true; waiting && len(batch) < w.work.max && !w.stopping; batch = w.fill(batch) {
		signal(w.freed) // there is room for more
		w.mu.Unlock()
		select {
		case <-w.arrived:
		case <-w.quit:
		case <-w.handlers.Done():
			waiting = false
		case <-over.C:
			waiting = false
		}
		w.mu.Lock()
	}
	return batch
}

// fill adds to a batch what is there: first what has the key of its last message
// and has waited for that.
func (w *worker) fill(batch []*delivery) []*delivery {
	for len(batch) < w.work.max {
		d := w.schedule.takeWith(batch[len(batch)-1])
		if d == nil {
			d = w.schedule.take()
		}
		if d == nil {
			break
		}
		batch = append(batch, d)
	}
	return batch
}

// handleBatch runs the handler on those messages of a batch that are still held
// and have attempts left, and records what becomes of them.
func (w *worker) handleBatch(batch []*delivery) {
	outcomes := make([]driver.Settlement, len(batch))
	var messages []*Message
	var places []int // of the messages in the batch
	w.mu.Lock()
	for i, d := range batch {
		switch {
		case d.lost || d.decided != 0:
		case w.exhausted(d):
			outcomes[i] = bury(d.message)
		default:
			messages, places = append(messages, d.message), append(places, i)
			d.cancel = w.cancel
		}
	}
	w.mu.Unlock()
	if len(messages) > 0 {
		w.doing = batch
		for i, s := range w.callBatch(messages) {
			outcomes[places[i]] = s
		}
		w.doing = nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, d := range batch {
		d.cancel = nil
		if outcomes[i].Do != 0 {
			w.record(d, outcomes[i])
		}
	}
	w.finishAll(batch)
}

// finishAll makes way for those that have waited for the keys of a batch. It has
// the messages of one key side by side, and a key is finished once.
func (c *consumer) finishAll(batch []*delivery) {
	for i, d := range batch {
		if i+1 == len(batch) || batch[i+1].message.Key != d.message.Key {
			c.schedule.finish(d)
		}
	}
}

// callBatch runs the handler. A panic is a failed attempt for all.
func (w *worker) callBatch(messages []*Message) (outcomes []driver.Settlement) {
	outcomes = make([]driver.Settlement, len(messages))
	defer func() {
		if p := recover(); p != nil {
			w.log.Error("beck: handler panicked", "first", messages[0].ID, "messages", len(messages), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			for i, m := range messages {
				outcomes[i] = w.verdict(m, fmt.Errorf("handler panicked: %v", p))
			}
		}
	}()
	n := int64(len(messages))
	w.bus.stats.handling.Add(n)
	defer w.bus.stats.handling.Add(-n)
	for i, err := range ofEach(w.work.batch(w.ctx, messages), len(messages)) {
		outcomes[i] = w.outcome(messages[i], err)
	}
	return outcomes
}

// ofEach is what a handler's error says of each of n messages.
func ofEach(err error, n int) []error {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if _, ok := e.(*dead); ok {
			return slices.Repeat([]error{err}, n)
		}
		if some, ok := e.(BatchError); ok && len(some) == n {
			return some
		} else if ok {
			err = fmt.Errorf("the handler returned %d errors for %d messages: %v", len(some), n, err)
		}
	}
	if some := BatchError(nil); errors.As(err, &some) {
		// That one of them is dead, say, must not be taken to be said of all.
		err = errors.New(reason(err))
	}
	return slices.Repeat([]error{err}, n)
}
