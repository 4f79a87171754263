package beck

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// A worker runs handlers, one after the other, as long as there are messages.
type worker struct {
	*consumer
	handlers context.Context // ends when handlers must
	ctx      context.Context // of the running handler: ends when its lease is lost, too
	cancel   context.CancelCauseFunc
	doing    []*delivery // given to the handler that runs
}

// employ starts as many workers as there is work for.
func (c *consumer) employ(handlers context.Context) {
	if c.work.batch != nil {
		c.employForBatch(handlers)
		return
	}
	for range min(c.options.Concurrency-c.workers, c.schedule.len()) {
		c.workers++
		go c.serve(handlers)
	}
}

func (c *consumer) serve(handlers context.Context) {
	w := &worker{consumer: c, handlers: handlers}
	w.ctx, w.cancel = context.WithCancelCause(handlers)
	defer func() {
		w.cancel(context.Canceled)
		if len(w.doing) > 0 {
			w.abandon()
		}
	}()
	switch {
	case c.work.batch != nil:
		w.serveBatches()
	case c.turn != nil:
		w.serveInTurn()
	default:
		for d := w.take(); d != nil; {
			d = w.finish(d, w.process(d))
		}
	}
}

// serveInTurn handles messages, each when the turn is its queue's among those of
// several. Between two of them it stands in line before it makes room: a queue
// whose handlers all run must not lose its turn by that.
func (w *worker) serveInTurn() {
	in := w.turn.enter(w.quit)
	defer func() {
		if in {
			w.turn.leave()
		}
	}()
	for {
		d := w.take()
		if d == nil {
			return
		}
		s := w.process(d)
		w.mu.Lock()
		w.record(d, s)
		w.schedule.finish(d)
		w.mu.Unlock()
		if in {
			in = w.turn.again(w.quit)
		}
	}
}

// abandon ends a worker whose handler has ended the goroutine, by
// runtime.Goexit. Another takes its place.
func (w *worker) abandon() {
	verdicts := make([]driver.Settlement, len(w.doing))
	for i, d := range w.doing {
		verdicts[i] = w.verdict(d.message, errors.New("the handler ended its goroutine"))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, d := range w.doing {
		w.record(d, verdicts[i])
	}
	w.finishAll(w.doing)
	w.retire()
	if !w.stopping {
		w.employ(w.handlers)
	}
}

// take returns the next delivery to handle, or nil if the worker must end.
func (w *worker) take() *delivery {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.next()
}

func (w *worker) next() *delivery {
	c := w.consumer
	if w.ctx.Err() != nil && w.handlers.Err() == nil {
		w.ctx, w.cancel = context.WithCancelCause(w.handlers)
	}
	for !c.stopping {
		d := c.schedule.take()
		if d == nil {
			break
		}
		if d.lost || d.decided != 0 {
			c.schedule.finish(d)
			continue
		}
		d.cancel = w.cancel
		return d
	}
	c.retire()
	return nil
}

// retire takes a worker off the count.
func (c *consumer) retire() {
	c.workers--
	if c.stopping && c.workers == 0 {
		close(c.idle)
	}
	signal(c.freed)
}

// finish records the outcome of one delivery and takes the next.
func (w *worker) finish(d *delivery, s driver.Settlement) *delivery {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.record(d, s)
	w.schedule.finish(d)
	return w.next()
}

func (c *consumer) record(d *delivery, s driver.Settlement) {
	d.cancel = nil
	c.handled++
	// Work that was done is acknowledged even if the lease was lost meanwhile.
	if !d.lost || s.Do == driver.Acknowledge {
		c.decide(d, s)
	}
}

// decide hands an outcome to the settler.
func (c *consumer) decide(d *delivery, s driver.Settlement) {
	d.decided = s.Do
	if s.Do == driver.Acknowledge || s.Do == driver.DeadLetter {
		delete(c.unheard, s.ID)
	}
	c.outcomes = append(c.outcomes, outcome{s, d})
	if len(c.outcomes) == 1 {
		signal(c.decided)
	}
}

// process runs the handler on a message, unless it had its attempts.
func (w *worker) process(d *delivery) driver.Settlement {
	if w.exhausted(d) {
		return bury(d.message)
	}
	w.doing = append(w.doing[:0], d)
	w.bus.stats.handling.Add(1)
	defer w.bus.stats.handling.Add(-1)
	s := w.call(d.message)
	w.doing = w.doing[:0]
	return s
}

// exhausted reports whether a message had its attempts: the consumer of the last
// one ended without an outcome.
func (c *consumer) exhausted(d *delivery) bool {
	most := c.options.MaxAttempts
	return most > 0 && d.message.Attempt > most && !d.unseen
}

func bury(m *Message) driver.Settlement {
	return driver.Settlement{ID: m.ID, Do: driver.DeadLetter,
		Reason: fmt.Sprintf("delivered %d times; the last consumer ended without an outcome", m.Attempt-1)}
}

// call runs the handler. What it, or the text of its error, panics with is a
// failed attempt.
func (w *worker) call(m *Message) (s driver.Settlement) {
	defer func() {
		if p := recover(); p != nil {
			w.log.Error("beck: handler panicked", "id", m.ID, "attempt", m.Attempt, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			s = w.verdict(m, fmt.Errorf("handler panicked: %v", p))
		}
	}()
	return w.outcome(m, w.work.handle(w.ctx, m))
}

// outcome is what becomes of a message, given what its handler returned.
func (w *worker) outcome(m *Message, err error) driver.Settlement {
	if err == nil {
		return driver.Settlement{ID: m.ID, Do: driver.Acknowledge}
	}
	if w.handlers.Err() != nil && !isDead(err) {
		// It was cut short, by us: that doesn't count.
		return driver.Settlement{ID: m.ID, Do: driver.Release}
	}
	s := w.verdict(m, err)
	w.log.Debug("beck: handler failed", "id", m.ID, "attempt", m.Attempt, "error", s.Reason)
	return s
}

// verdict is what a handler's error means for the message.
func (c *consumer) verdict(m *Message, err error) driver.Settlement {
	s := driver.Settlement{ID: m.ID, Do: driver.Retry, Reason: reason(err)}
	var later *retryAfter
	switch {
	case isDead(err), c.options.MaxAttempts > 0 && m.Attempt >= c.options.MaxAttempts:
		s.Do = driver.DeadLetter
	case errors.As(err, &later):
		s.After = later.after
	default:
		s.After = c.backoff(m.Attempt)
	}
	return s
}

// backoff asks the user's function; one that panics is no worse than none.
func (c *consumer) backoff(attempt int) (after time.Duration) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("beck: Backoff panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			after = defaultBackoff(attempt)
		}
	}()
	return max(0, c.options.Backoff(attempt))
}
