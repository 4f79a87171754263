package beck

import (
	"context"
	"errors"
	"log/slog"
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
	work        work
	turn        *turnstile // among the handlers of several queues; nil for one alone
	options     SubscribeOptions
	named       bool // by the user: it may have run before
	log         *slog.Logger
	window      window

	mu       sync.Mutex
	held     map[string]*delivery // everything leased and not yet settled
	schedule schedule
	workers  int           // running
	handled  int           // since the last fetch
	lease    time.Duration // as last told by the engine
	average  int           // bytes of a message, about
	unheard  unheard
	outcomes []outcome // decided, not yet sent
	sending  int       // the number of the call that settles now; 0 if none
	stopping bool
	gathers  bool // a worker waits for its batch to fill

	quit    chan struct{} // closed when stopping is set
	leased  chan struct{} // lease has changed
	freed   chan struct{} // there may be room in held
	decided chan struct{} // there may be something in outcomes
	idle    chan struct{} // the last worker ended after stopping
	arrived chan struct{} // there is more for the worker that gathers
}

// A delivery is one message leased to this consumer. The consumer's mutex guards
// it.
type delivery struct {
	message *Message
	count   int                     // deliveries as the engine counts them
	leased  time.Time               // when the lease began, or was renewed
	since   time.Time               // when the lease began
	cancel  context.CancelCauseFunc // ends the running handler's context
	decided driver.Action           // what is to be done with it; 0 until that is known
	lost    bool                    // another consumer may have it
	unseen  bool                    // no handler has seen it, whatever its attempt number

	sent  int       // the number of the call that settles it
	again *delivery // the same message, delivered again during that call
}

// An outcome is what is to be done with a delivery.
type outcome struct {
	driver.Settlement
	of *delivery
}

func newConsumer(b *Bus, topic, name string, w work, o SubscribeOptions) *consumer {
	return &consumer{
		bus: b, topic: topic, name: name, work: w, options: o,
		log:      b.log.With("topic", topic, "subscription", name, "consumer", o.Consumer),
		window:   newWindow(o.Prefetch, o.Concurrency*w.size()),
		held:     map[string]*delivery{},
		unheard:  unheard{},
		schedule: newSchedule(o.Concurrency),
		lease:    driver.DefaultLease,
		leased:   make(chan struct{}, 1),
		freed:    make(chan struct{}, 1),
		decided:  make(chan struct{}, 1),
		quit:     make(chan struct{}),
		idle:     make(chan struct{}),
		arrived:  make(chan struct{}, 1),
	}
}

const (
	// fetchGrace is how long a fetch that runs may go on after the end, so that
	// what it was leased can be released.
	fetchGrace = 2 * time.Second
	// fetchBytes is about how many bytes a fetch asks for at the most.
	fetchBytes = 16 << 20
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
	recovering, failed := c.named, false
	lost := 0 // fetches whose answers were lost, in a row
	var seen eras
	for {
		room := c.awaitRoom(stop)
		if room == 0 {
			return nil
		}
		req := driver.FetchRequest{Consumer: c.options.Consumer, Max: room, Recover: recovering}
		if recovering {
			req.Max += c.holding() // which come again
		}
		asked := time.Now()
		got, err := c.bus.engine.Fetch(asking, c.topic, c.name, req)
		switch {
		case err != nil && stop.Err() != nil:
			return nil
		case err != nil && !transient(err):
			return err
		case err != nil:
			recovering, failed = true, true
			if errors.Is(err, ErrUncertain) {
				lost++
			}
			if trouble.wait(stop, c.log, what, err) != nil {
				return nil
			}
			continue
		}
		trouble.over(c.log, what)
		if seen.changed(got.Era) {
			c.mayHaveLost()
		}
		if got.Lost > 0 {
			c.bus.stats.lost.Add(uint64(got.Lost))
			c.log.Warn("beck: the subscription lost messages: they were removed from the topic before they were acknowledged", "messages", got.Lost)
		}
		// What was leased by a fetch whose answer was lost, no handler has seen.
		c.add(got, asked, recovering && failed, lost, handlers)
		lost = 0
		if recovering {
			recovering, failed = !failed && onlyRecovered(got, req.Max), false
			continue
		}
		if got.More {
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

// onlyRecovered reports whether there may be more that the consumer holds: there
// was room for nothing else.
func onlyRecovered(got driver.Fetched, asked int) bool {
	n := len(got.Messages)
	return n > 0 && n >= asked && got.Messages[n-1].Attempt > 1
}

// awaitRoom waits until a fetch is worth its while, and returns how much is to be
// fetched; 0 at the end. That is when half of the window is free, or a handler
// could run and there is nothing to handle.
func (c *consumer) awaitRoom(stop context.Context) int {
	for stop.Err() == nil {
		if room := c.room(time.Now()); room > 0 {
			return room
		}
		select {
		case <-c.freed:
		case <-stop.Done():
		}
	}
	return 0
}

func (c *consumer) room(now time.Time) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	held := len(c.held)
	idle := (c.workers < c.options.Concurrency || c.gathers) && c.schedule.len() == 0
	if held > c.window.size/2 && !(idle && held < c.window.size) {
		return 0
	}
	size := c.window.adapt(c.handled, now)
	c.handled = 0
	return min(size-held, MaxFetch, max(1, fetchBytes/max(1, c.average)))
}

func (c *consumer) holding() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.held)
}

// add takes in what was fetched and sees that workers handle it. asked is when
// the leases began at the earliest; lost is how many fetches before this one may
// have leased the same messages, without an answer.
func (c *consumer) add(got driver.Fetched, asked time.Time, unseen bool, lost int, handlers context.Context) {
	c.bus.stats.delivered.Add(uint64(len(got.Messages)))
	c.mu.Lock()
	defer c.mu.Unlock()
	if got.Lease > 0 && got.Lease != c.lease {
		c.lease = got.Lease
		signal(c.leased)
	}
	bytes := 0
	for i := range got.Messages {
		// A copy of its own, so that a message that takes long doesn't keep all
		// others in memory.
		m := Message(got.Messages[i])
		m.Topic = c.topic
		bytes += messageOverhead + len(m.Body)
		d := &delivery{message: &m, count: m.Attempt, leased: asked, since: asked, unseen: unseen}
		if known := c.held[m.ID]; known != nil {
			c.addAgain(known, d)
			continue
		}
		c.unheard.add(m.ID, min(lost, m.Attempt-1))
		m.Attempt = c.unheard.heard(m.ID, m.Attempt)
		c.held[m.ID] = d
		c.schedule.add(d)
	}
	if n := len(got.Messages); n > 0 {
		c.average = bytes / n
	}
	c.employ(handlers)
}

// addAgain takes in a message that is held already. If its retry is on the way
// to the engine, or its burial, the engine may have done that and delivered it anew
// (a dead letter when somebody requeued it) before the answer came back: then it
// has to be handled once the answer is here. In all
// other cases the lease had ended, or this is a recovery, and what is known of
// the message goes on to be true.
func (c *consumer) addAgain(known, again *delivery) {
	known.leased = again.leased
	comesAgain := known.decided == driver.Retry || known.decided == driver.Release || known.decided == driver.DeadLetter
	if comesAgain && c.sending != 0 && known.sent == c.sending {
		again.message.Attempt = c.unheard.heard(known.message.ID, again.count)
		known.again = again
		return
	}
	c.notHeard(known, again)
}

// notHeard takes note that the engine has counted a delivery that no handler gets.
func (c *consumer) notHeard(known, again *delivery) {
	c.unheard.add(known.message.ID, again.count-known.count)
	known.count = again.count
}

// drain releases what no handler has begun, and waits for those that have.
func (c *consumer) drain() {
	c.mu.Lock()
	c.stopping = true
	close(c.quit)
	for _, d := range c.schedule.giveBack(0) {
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
