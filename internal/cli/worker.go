package cli

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/beckmq/beck"
)

const (
	// firstRetry is how long a task waits after its first failure; the wait is
	// doubled with each one, up to lastRetry.
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
)

// worker runs a command for each task.
type worker struct {
	from        *queues
	line        string
	maxAttempts int
	noWait      bool
	limited     bool
	left        int64         // how many more to begin, if limited
	slots       chan struct{} // one for each command that runs
	out, err    *together     // of the commands
	note        func(format string, args ...any)
}

// run begins tasks until there were enough, and waits for those that run.
func (w *worker) run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	// One that could not be settled ends all.
	working, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	for !w.limited || w.left > 0 {
		free, err := w.reserve(working)
		if err != nil {
			return err
		}
		from, got, err := w.from.next(working, free, !w.noWait)
		switch {
		case err != nil:
			return cmpCause(working, err)
		case from == nil:
			w.giveBack(free)
			return w.last(working, &running)
		}
		w.giveBack(free - len(got.Messages))
		w.left -= int64(len(got.Messages))
		for _, m := range got.Messages {
			from.held.add(m.ID)
			running.Go(func() {
				defer w.giveBack(1)
				defer from.held.remove(m.ID)
				if err := w.do(ctx, from, got, m); err != nil {
					fail(err)
				}
			})
		}
	}
	return w.last(working, &running)
}

// last waits for the tasks that run, and says whether one could not be settled.
func (w *worker) last(working context.Context, running *sync.WaitGroup) error {
	running.Wait()
	return context.Cause(working)
}

// cmpCause prefers why a context ended to what that led to.
func cmpCause(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return context.Cause(ctx)
	}
	return err
}

// reserve waits for a slot, and takes all that are free, as far as wanted.
func (w *worker) reserve(ctx context.Context) (n int, err error) {
	select {
	case w.slots <- struct{}{}:
		n = 1
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	for n < beck.MaxFetch && (!w.limited || int64(n) < w.left) {
		select {
		case w.slots <- struct{}{}:
			n++
			continue
		default:
		}
		break
	}
	return n, nil
}

func (w *worker) giveBack(n int) {
	for range n {
		<-w.slots
	}
}

// do runs the command for a task and settles it. It returns an error if it could
// not be settled.
func (w *worker) do(ctx context.Context, from *queue, got leased, m *beck.Message) error {
	settlement := w.handle(ctx, from, got, m)
	ending, cancel := outlive(ctx, settleGrace)
	defer cancel()
	tries := 0
	err := from.persist(ending, func() error {
		tries++
		return from.bus.Settle(ending, from.topic, from.as, from.name, settlement)
	})
	if errors.Is(err, beck.ErrNotHeld) {
		// Where the answer of an earlier try was lost, that one may have done it.
		if tries == 1 {
			w.note("task %s of %s had gone to another worker as well: its lease had ended", m.ID, from.topic)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w (task %s is delivered again)", err, m.ID)
	}
	return nil
}

// handle runs the command for a task and says what becomes of it.
func (w *worker) handle(ctx context.Context, from *queue, got leased, m *beck.Message) beck.Settlement {
	if w.maxAttempts > 0 && m.Attempt > w.maxAttempts {
		return beck.Bury(m.ID, fmt.Sprintf("delivered %d times; the last worker ended without an outcome", m.Attempt-1))
	}
	outliving, end := outlive(ctx, commandGrace)
	defer end()
	running, lost := context.WithCancelCause(outliving)
	defer lost(nil)
	defer from.keepTask(running, got, m.ID, lost)()
	stdout, stderr := w.out.one(), w.err.one()
	defer stdout.flush()
	defer stderr.flush()
	c := &command{line: w.line, body: m.Body, out: stdout, err: stderr, env: []string{
		"BECK_ID=" + m.ID, "BECK_QUEUE=" + from.topic, "BECK_ATTEMPT=" + strconv.Itoa(m.Attempt), environ("BECK_KEY", m.Key),
	}}
	_, err := c.run(running)
	switch {
	case err == nil:
		return beck.Ack(m.ID)
	case running.Err() != nil:
		return beck.Release(m.ID)
	}
	reason := err.Error()
	// What the command said stands on standard error already.
	if failed, ok := errors.AsType[*failedCommand](err); ok {
		err = failed.err
	}
	if w.maxAttempts > 0 && m.Attempt >= w.maxAttempts {
		w.note("task %s of %s is a dead letter after %s: %s", m.ID, from.topic, counted(int64(m.Attempt), "attempt"), oneLine(err))
		return beck.Bury(m.ID, reason)
	}
	after := retryAfter(m.Attempt)
	w.note("task %s of %s failed, attempt %d, and is tried again in %v: %s", m.ID, from.topic, m.Attempt, after.Round(100*time.Millisecond), oneLine(err))
	return beck.Retry(m.ID, after, reason)
}

// keepTask renews the lease of a task while its command runs, and calls lost when
// another worker has it.
func (q *queue) keepTask(ctx context.Context, got leased, id string, lost context.CancelCauseFunc) (stop func()) {
	if got.Lease <= 0 {
		return func() {}
	}
	renewing, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		due := time.NewTimer(time.Until(got.at.Add(got.Lease / 3)))
		defer due.Stop()
		for {
			select {
			case <-due.C:
			case <-renewing.Done():
				return
			}
			err := q.bus.Settle(renewing, q.topic, q.as, q.name, beck.Renew(id))
			switch {
			case errors.Is(err, beck.ErrNotHeld), errors.Is(err, beck.ErrSubscriptionNotFound):
				lost(err)
				return
			case err != nil && renewing.Err() == nil:
				q.note("%s", oneLine(err))
			}
			due.Reset(got.Lease / 3)
		}
	}()
	return func() { cancel(); <-done }
}

// retryAfter is how long a task waits after an attempt that failed, from 1: give
// or take a fifth, so that many that failed together don't come back together.
func retryAfter(attempt int) time.Duration {
	wait := lastRetry
	if attempt < 10 {
		wait = min(firstRetry<<max(0, attempt-1), lastRetry)
	}
	return time.Duration(float64(wait) * (0.8 + 0.4*rand.Float64()))
}
