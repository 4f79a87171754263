package beck

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// A consumer is one running Subscribe: a loop that fetches, workers that handle,
// a loop that settles in batches, and one that renews leases.
//
//	fetch ──► schedule ──► workers ──► settler
//	  ▲    (key order)                   │
//	  └───────── room in held ◄──────────┘
type consumer struct {
	bus         *Bus
	topic, name string
	handle      Handler
	options     SubscribeOptions
	log         *slog.Logger
	window      window

	mu       sync.Mutex
	held     map[string]*delivery // everything leased and not yet settled
	schedule schedule
	workers  int           // running
	handled  int           // since the last fetch
	lease    time.Duration // as last told by the engine
	outcomes []outcome     // decided, not yet sent
	sending  int           // the number of the call that settles now; 0 if none
	stopping bool

	leased  chan struct{} // lease has changed
	freed   chan struct{} // there may be room in held
	decided chan struct{} // there may be something in outcomes
	idle    chan struct{} // the last worker ended after stopping
}

// A delivery is one message leased to this consumer. The consumer's mutex guards
// it.
type delivery struct {
	message *Message
	leased  time.Time               // when the lease began
	cancel  context.CancelCauseFunc // ends the running handler's context
	decided driver.Action           // what is to be done with it; 0 until that is known
	lost    bool                    // another consumer may have it

	sent  int       // the number of the call that settles it
	again *delivery // the same message, delivered again during that call
}

// An outcome is what is to be done with a delivery.
type outcome struct {
	driver.Settlement
	of *delivery
}

func newConsumer(b *Bus, topic, name string, handle Handler, o SubscribeOptions) *consumer {
	return &consumer{
		bus: b, topic: topic, name: name, handle: handle, options: o,
		log:      b.log.With("topic", topic, "subscription", name, "consumer", o.Consumer),
		window:   newWindow(o),
		held:     map[string]*delivery{},
		schedule: schedule{byKey: map[string][]*delivery{}},
		lease:    driver.DefaultLease,
		leased:   make(chan struct{}, 1),
		freed:    make(chan struct{}, 1),
		decided:  make(chan struct{}, 1),
		idle:     make(chan struct{}),
	}
}

const (
	// fetchGrace is how long a fetch that runs may go on after the end, so that
	// what it was leased can be released.
	fetchGrace = 2 * time.Second
	// flushGrace is how long settlements may take after the last handler.
	flushGrace = 5 * time.Second
	// flushAborted is the same when Close has given up waiting.
	flushAborted = abortGrace / 2
)

// run consumes until ctx or the bus ends, or an error that trying again can't
// mend.
func (c *consumer) run(ctx context.Context) error {
	c.bus.stats.consumers.Add(1)
	defer c.bus.stats.consumers.Add(-1)

	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.bus.ctx, cancel)()
	handlers, endHandlers := linger(ctx, c.bus.hard, c.options.Grace)
	defer endHandlers()
	settling, endSettling := context.WithCancel(context.WithoutCancel(ctx))
	defer endSettling()

	var loops sync.WaitGroup
	renewing, endRenewing := context.WithCancel(settling)
	defer endRenewing()
	loops.Go(func() { c.renewLoop(renewing) })
	flushed := make(chan struct{})
	drained := make(chan struct{})
	loops.Go(func() {
		defer close(flushed)
		c.settleLoop(settling, handlers, drained)
	})

	err := c.fetchLoop(stop, handlers)

	c.drain()
	close(drained)
	grace := flushGrace
	if c.bus.hard.Err() != nil {
		grace = flushAborted
	}
	select {
	case <-flushed:
		c.leave(settling)
	case <-time.After(grace):
		c.log.Warn("beck: the last settlements could not be sent; these messages will be delivered again")
	}
	endSettling()
	loops.Wait()
	if err == nil && c.bus.ctx.Err() != nil {
		err = ErrClosed
	}
	return err
}

// leave takes this consumer off the list, as far as that is possible quickly.
func (c *consumer) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := c.bus.engine.Leave(ctx, c.topic, c.name, c.options.Consumer); err != nil {
		c.log.Debug("beck: leaving", "error", err)
	}
}

// linger returns a context with the values of ctx that ends some time after ctx
// does, or when hard ends.
func linger(ctx, hard context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stopSoft := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(d, func() { cancel(context.Cause(ctx)) })
		context.AfterFunc(out, func() { timer.Stop() })
	})
	stopHard := context.AfterFunc(hard, func() { cancel(ErrClosed) })
	return out, func() {
		stopSoft()
		stopHard()
		cancel(context.Canceled)
	}
}

// fetchLoop keeps the consumer supplied. It returns nil when stop ends.
func (c *consumer) fetchLoop(stop, handlers context.Context) error {
	hints, unwatch := c.bus.engine.Watch(c.topic)
	defer unwatch()
	asking, cancel := linger(stop, c.bus.hard, fetchGrace)
	defer cancel()

	var trouble retrying
	what := "consuming " + c.topic + " as " + c.name
	// Under a name of its own, a consumer may hold what it was leased before a
	// crash.
	recovering := true
	for {
		room := c.awaitRoom(stop)
		if room == 0 {
			return nil
		}
		req := driver.FetchRequest{Consumer: c.options.Consumer, Max: min(room, MaxFetch)}
		if recovering {
			req.Recover, req.Max = true, c.holding()+room
		}
		got, err := c.bus.engine.Fetch(asking, c.topic, c.name, req)
		switch {
		case err != nil && stop.Err() != nil:
			return nil
		case err != nil && !transient(err):
			return err
		case err != nil:
			recovering = true
			if trouble.wait(stop, c.log, what, err) != nil {
				return nil
			}
			continue
		}
		recovering = false
		trouble.over(c.log, what)
		c.add(got, handlers)
		if got.More || req.Recover {
			continue
		}
		select {
		case <-hints:
		case <-after(got.Next):
		case <-stop.Done():
			return nil
		}
	}
}

// awaitRoom waits until at least half of the window is free, so that fetches are
// worth their while, and returns how much; 0 at the end.
func (c *consumer) awaitRoom(stop context.Context) int {
	for {
		if stop.Err() != nil {
			return 0
		}
		c.mu.Lock()
		held, handled := len(c.held), c.handled
		c.mu.Unlock()
		if size := c.window.size; held <= size/2 {
			size = c.window.adapt(handled, time.Now())
			c.mu.Lock()
			c.handled = 0
			c.mu.Unlock()
			if room := size - held; room > 0 {
				return room
			}
		}
		select {
		case <-c.freed:
		case <-stop.Done():
		}
	}
}

func (c *consumer) holding() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.held)
}

// add takes in what was fetched and sees that workers handle it.
func (c *consumer) add(got driver.Fetched, handlers context.Context) {
	c.bus.stats.delivered.Add(uint64(len(got.Messages)))
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if got.Lease > 0 && got.Lease != c.lease {
		c.lease = got.Lease
		signal(c.leased)
	}
	deliveries := make([]delivery, len(got.Messages))
	for i, m := range shared(c.topic, got.Messages) {
		d := &deliveries[i]
		*d = delivery{message: m, leased: now}
		if known := c.held[m.ID]; known != nil {
			c.addAgain(known, d)
			continue
		}
		c.held[m.ID] = d
		c.schedule.add(d)
	}
	c.employ(handlers)
}

// addAgain takes in a message that is held already. If its retry is on the way
// to the engine, the engine may have done that and delivered it anew before the
// answer came back: then it has to be handled once the answer is here. In all
// other cases the lease had ended, or this is a recovery, and what is known of
// the message goes on to be true.
func (c *consumer) addAgain(known, again *delivery) {
	known.leased = again.leased
	retried := known.decided == driver.Retry || known.decided == driver.Release
	if retried && c.sending != 0 && known.sent == c.sending {
		known.again = again
	}
}

// employ starts as many workers as there is work for.
func (c *consumer) employ(handlers context.Context) {
	for range min(c.options.Concurrency-c.workers, c.schedule.len()) {
		c.workers++
		go c.work(handlers)
	}
}

// work handles messages while there are any.
func (c *consumer) work(handlers context.Context) {
	ctx, cancel := context.WithCancelCause(handlers)
	defer func() { cancel(context.Canceled) }()
	for d := c.take(cancel); d != nil; {
		settlement := c.process(ctx, d.message)
		if ctx.Err() != nil && handlers.Err() == nil {
			ctx, cancel = context.WithCancelCause(handlers)
		}
		d = c.finish(d, settlement, cancel)
	}
}

// take returns the next delivery to handle, or nil if the worker must end.
func (c *consumer) take(cancel context.CancelCauseFunc) *delivery {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.takeLocked(cancel)
}

func (c *consumer) takeLocked(cancel context.CancelCauseFunc) *delivery {
	for !c.stopping {
		d := c.schedule.take()
		if d == nil {
			break
		}
		if d.lost {
			c.schedule.finish(d)
			continue
		}
		d.cancel = cancel
		return d
	}
	if c.workers--; c.workers == 0 && c.stopping {
		close(c.idle)
	}
	return nil
}

// finish records the outcome of one delivery and takes the next.
func (c *consumer) finish(d *delivery, s driver.Settlement, cancel context.CancelCauseFunc) *delivery {
	c.mu.Lock()
	defer c.mu.Unlock()
	d.cancel = nil
	c.handled++
	c.schedule.finish(d)
	// Work that was done is acknowledged even if the lease was lost meanwhile.
	if !d.lost || s.Do == driver.Acknowledge {
		c.decide(d, s)
	}
	return c.takeLocked(cancel)
}

// decide hands an outcome to the settler.
func (c *consumer) decide(d *delivery, s driver.Settlement) {
	d.decided = s.Do
	c.outcomes = append(c.outcomes, outcome{s, d})
	if len(c.outcomes) == 1 {
		signal(c.decided)
	}
}

// process runs the handler on a message, unless it had its attempts.
func (c *consumer) process(ctx context.Context, m *Message) driver.Settlement {
	if most := c.options.MaxAttempts; most > 0 && m.Attempt > most {
		return driver.Settlement{ID: m.ID, Do: driver.DeadLetter,
			Reason: fmt.Sprintf("delivered %d times; the last consumer ended without an outcome", m.Attempt-1)}
	}
	c.bus.stats.handling.Add(1)
	defer c.bus.stats.handling.Add(-1)
	result := c.call(ctx, m)
	if result != nil {
		c.log.Debug("beck: handler failed", "id", m.ID, "attempt", m.Attempt, "error", result)
	}
	return c.verdict(m, result)
}

func (c *consumer) call(ctx context.Context, m *Message) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("handler panicked: %v", p)
			c.log.Error("beck: handler panicked", "id", m.ID, "attempt", m.Attempt, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	return c.handle(ctx, m)
}

// drain releases what no handler has begun, and waits for those that have.
func (c *consumer) drain() {
	c.mu.Lock()
	c.stopping = true
	for _, d := range c.schedule.drain() {
		if !d.lost {
			c.decide(d, driver.Settlement{ID: d.message.ID, Do: driver.Release})
		}
	}
	working := c.workers > 0
	c.mu.Unlock()
	if working {
		<-c.idle
	}
}

// signal puts a token into a channel that has room for one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
