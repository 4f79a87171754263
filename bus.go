package beck

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// Options are what every engine's Open takes. The zero value works.
type Options struct {
	// Logger gets what a program can't be told by an error: connections lost
	// and found, retries, lost leases, panics of handlers. Defaults to
	// slog.Default().
	Logger *slog.Logger

	// MaxBody is the largest body, in bytes, that may be published. Defaults to
	// DefaultMaxBody.
	MaxBody int

	// Durability is what must hold of a message before its id is returned, unless its
	// own Durability says otherwise. Defaults to nothing beyond being written; over
	// HTTP, to what the server asks for.
	Durability Durability

	// Publishing, if not nil, is called with messages that are about to be
	// published, pushed or sent as a request to topic, and may put other headers
	// into them, but must not change the maps that are there. What it returns, if
	// not nil, is called when that is done. It is meant for tracing. Defaults to
	// nil.
	Publishing func(ctx context.Context, topic string, messages []Message) (done func(ids []string, err error))
}

// Bus is a connection to an engine, through which messages are published and
// received. It is opened by onredis.Open, ondisk.Open or onhttp.Open, and may be
// used by many goroutines at a time.
type Bus struct {
	engine  driver.Engine
	log     *slog.Logger
	maxBody int
	durable *Durability // of messages without one; nil for nothing beyond written
	before  func(ctx context.Context, topic string, messages []Message) (done func([]string, error))
	stats   counters
	readers readers
	queues  queues
	pulls   pulls
	mark    string // of eras that this bus hands out

	// ctx ends when Close begins; hard ends when Close gives up waiting.
	ctx, hard    context.Context
	close, abort context.CancelFunc

	mu      sync.Mutex
	state   state
	running int           // calls and goroutines that use the engine
	drained chan struct{} // closed once closing has come to running == 0
}

type state int

const (
	working state = iota
	closing       // nothing new that goes on by itself
	closed        // nothing at all
)

// New returns a Bus on an engine; it is for the engines of this module.
func New(engine driver.Engine, o *Options) (*Bus, error) {
	if engine == nil {
		return nil, fmt.Errorf("beck: %w: no engine", ErrOption)
	}
	if o == nil {
		o = &Options{}
	}
	if o.MaxBody < 0 {
		return nil, fmt.Errorf("beck: %w: MaxBody %d is negative", ErrOption, o.MaxBody)
	}
	if err := checkDurability(o.Durability); err != nil {
		return nil, fmt.Errorf("beck: %w", err)
	}
	b := &Bus{engine: engine, log: o.Logger, maxBody: o.MaxBody, before: o.Publishing, mark: rand.Text()[:8] + "."}
	if o.Durability != (Durability{}) {
		durable := o.Durability
		b.durable = &durable
	}
	if b.log == nil {
		b.log = slog.Default()
	}
	if b.maxBody == 0 {
		b.maxBody = DefaultMaxBody
	}
	b.ctx, b.close = context.WithCancel(context.Background())
	b.hard, b.abort = context.WithCancel(context.Background())
	b.drained = make(chan struct{})
	b.readers.byTopic = map[string]*reader{}
	return b, nil
}

// String says which engine the bus is on, and where, without secrets.
func (b *Bus) String() string { return b.engine.String() }

// MaxBody is the largest body, in bytes, that may be published.
func (b *Bus) MaxBody() int { return b.maxBody }

// Ping reports whether the engine can be reached and used right now.
func (b *Bus) Ping(ctx context.Context) error {
	return b.do("ping", nil, func() error { return b.engine.Ping(ctx) })
}

// Close ends everything that runs on the bus: follows end, subscriptions take no
// more deliveries, their handlers may finish until ctx ends, and may publish
// while they do, and what they settled is stored. Handlers that still run then
// have their context cancelled, and their messages are delivered again later.
// Only the first Close does anything; after it, every call returns ErrClosed. A
// handler must not call it, since it would wait for itself.
func (b *Bus) Close(ctx context.Context) error {
	b.mu.Lock()
	if b.state != working {
		b.mu.Unlock()
		return nil
	}
	b.state = closing
	b.checkDrained()
	b.mu.Unlock()

	b.close()
	var late error
	select {
	case <-b.drained:
	case <-ctx.Done():
		late = fmt.Errorf("handlers were still running: %w", context.Cause(ctx))
		b.abort()
		select {
		case <-b.drained:
		case <-time.After(abortGrace):
			// A handler that ignores its context can't be waited for. The
			// engine is closed under it: what it settles then is refused.
		}
	}
	b.abort()
	b.mu.Lock()
	b.state = closed
	b.mu.Unlock()
	// The engine may need a moment to end, even if ctx has none left.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), engineGrace)
	defer cancel()
	if err := errors.Join(late, b.engine.Close(ending)); err != nil {
		return &Error{Op: "close", Err: err}
	}
	return nil
}

const (
	// abortGrace is how long Close waits for handlers whose context it has
	// cancelled.
	abortGrace = time.Second
	// engineGrace is how long Close waits for the engine to end.
	engineGrace = 10 * time.Second
)

// begin counts a call that uses the engine; end must be called when it is done.
func (b *Bus) begin() (end func(), err error) { return b.beginUnless(closed) }

// beginLasting is begin for what goes on until the bus ends.
func (b *Bus) beginLasting() (end func(), err error) { return b.beginUnless(closing) }

func (b *Bus) beginUnless(s state) (end func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state >= s {
		return nil, ErrClosed
	}
	b.running++
	return b.end, nil
}

func (b *Bus) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running--
	b.checkDrained()
}

func (b *Bus) checkDrained() {
	if b.state == closing && b.running == 0 {
		b.state = closed
		close(b.drained)
	}
}

// at names what a call concerns: nothing, a topic, or a topic and a subscription.
type at []string

// do runs one call on the engine and says what failed.
func (b *Bus) do(op string, where at, call func() error) error {
	end, err := b.begin()
	return wrap(op, where, where.run(end, err, call))
}

// doLasting is do for a call that goes on until the bus ends.
func (b *Bus) doLasting(op string, where at, call func() error) error {
	end, err := b.beginLasting()
	return wrap(op, where, where.run(end, err, call))
}

func (a at) run(end func(), err error, call func() error) error {
	if err == nil {
		defer end()
		err = a.check()
	}
	if err == nil {
		err = call()
	}
	return err
}

func (a at) check() error {
	for _, name := range a {
		if err := CheckName(name); err != nil {
			return err
		}
	}
	return nil
}

func wrap(op string, where at, err error) error {
	if err == nil {
		return nil
	}
	e := &Error{Op: op, Err: err}
	if errors.Is(err, ErrName) {
		// The cause shows the name, cut short and quoted; it must not be
		// repeated raw.
		return e
	}
	if len(where) > 0 {
		e.Topic = where[0]
	}
	if len(where) > 1 {
		e.Subscription = where[1]
	}
	return e
}
