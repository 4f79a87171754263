package ondisk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// engine is a driver.Engine in a directory.
type engine struct {
	dir   string
	db    *pebble.DB
	log   *slog.Logger
	now   func() time.Time
	room  *room
	hub   hub
	air   air
	desk  *desk
	queue *queue
	// stamps is where the high-water mark is written.
	stamps stampFiles
	// closeLock gives the directory back.
	closeLock func() error

	// state and taken belong to the committer.
	state state
	taken []*request // from the queue, and not decided
	// applied is the last transaction that can be read from Pebble.
	applied atomic.Uint64
	mover   *mover
	// background are the goroutines that ask the committer for something now and
	// then; stop ends them.
	background sync.WaitGroup
	stop       context.CancelFunc

	// failure is why nothing can be changed any more, once that is so.
	failure atomic.Pointer[error]
	running sync.WaitGroup // committer and finisher

	// visible is what readers see: topics that the disk holds.
	mu      sync.RWMutex
	visible map[string]*topic

	// life is held for reading while Pebble is read, so that Close can wait.
	life   sync.RWMutex
	closed bool
}

var _ driver.Engine = (*engine)(nil)

// state is what the committer knows: the outcome of all it has decided, whether
// or not the disk holds it already.
type state struct {
	global globalRecord
	topics map[string]*topic
	recent recentIDs
	batch  uint64 // counts the transactions
}

// topic is a topic in memory.
type topic struct {
	name string

	// These belong to the committer.
	rec    topicRecord
	subs   map[string]*subscription
	config *driver.TopicConfig
	front  []found   // its oldest messages, if it has bounds: see bounds.go
	warned time.Time // that messages were dropped
	// due is the first of the messages that wait for their time, if there are, and
	// moves when it is to be moved, ms since 1970; 0 if there is none.
	due   streamid.ID
	moves int64
	// stuck says that it found no room the last time.
	stuck bool

	// warm is set once the topic was checked against its messages and the
	// pending messages of its subscriptions were loaded.
	warm atomic.Bool
	// durable is rec as far as the disk holds it.
	durable atomic.Pointer[topicRecord]
	// trimmed is rec.trimmed, and all there is once the topic is deleted; dense is
	// rec.dense. They are set before messages go, so that a reader who misses some
	// can tell why.
	trimmed, dense atomic.Uint64
	// removals counts the messages that were removed one by one since the topic
	// was opened, for those who read ahead of the committer.
	removals atomic.Uint64
	// floor is an id before which there is no message: reading need not look at
	// what was removed there.
	floor atomic.Pointer[streamid.ID]
	// nextDue is moves as far as the disk holds it: for whoever finds nothing due
	// any more, what was due can be read. maxAge is that of config.
	nextDue, maxAge atomic.Int64
	// expiring says that some of its subscriptions may expire.
	expiring atomic.Bool
	// oldest comes before all messages, or is the first one: for the sweep.
	oldest atomic.Pointer[streamid.ID]

	// visible are the subscriptions that the disk holds, under engine.mu.
	visible map[string]*subscription
}

func newTopic(name string, rec topicRecord) *topic {
	t := &topic{
		name: name, rec: rec, subs: map[string]*subscription{}, visible: map[string]*subscription{},
		config: &driver.DefaultTopicConfig,
	}
	t.maxAge.Store(int64(t.config.MaxAge))
	t.trimmed.Store(rec.trimmed)
	t.dense.Store(rec.dense)
	t.floor.Store(&streamid.ID{})
	t.oldest.Store(&streamid.ID{})
	t.durable.Store(&topicRecord{last: rec.last, counted: true})
	return t
}

// find returns a topic that readers may see, or nil.
func (e *engine) find(name string) *topic {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.visible[name]
}

// findWarm is find, and sees to it that the topic was checked.
func (e *engine) findWarm(ctx context.Context, name string) (*topic, error) {
	t := e.find(name)
	if t == nil || t.warm.Load() {
		return t, nil
	}
	err := e.submit(ctx, &request{decide: func(tx *transaction) error {
		_, err := e.topic(name)
		return err
	}})
	return t, err
}

// topic returns a topic for the committer to work on, checked and loaded, or
// nil.
func (e *engine) topic(name string) (*topic, error) {
	t := e.state.topics[name]
	if t == nil || t.warm.Load() {
		return t, nil
	}
	if err := e.warm(t); err != nil {
		return nil, err
	}
	t.warm.Store(true)
	return t, nil
}

// needTopic is topic, but one that is not there is an error.
func (e *engine) needTopic(name string) (*topic, error) {
	t, err := e.topic(name)
	if err == nil && t == nil {
		err = driver.ErrTopicNotFound
	}
	return t, err
}

// makeTopic is topic, but one that is not there is made.
func (e *engine) makeTopic(tx *transaction, name string) (*topic, error) {
	t, err := e.topic(name)
	if err != nil || t != nil {
		return t, err
	}
	t = newTopic(name, topicRecord{last: e.state.global.floor, counted: true})
	t.warm.Store(true)
	e.state.topics[name] = t
	tx.touch(t)
	tx.onDurable(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.visible[name] = t
	})
	return t, nil
}

// reading must succeed before Pebble is read outside the committer; end must be
// called soon.
func (e *engine) reading() (end func(), err error) {
	e.life.RLock()
	if e.closed {
		e.life.RUnlock()
		return nil, driver.ErrClosed
	}
	return e.life.RUnlock, nil
}

// fail makes the engine refuse all further changes; the first cause stays.
func (e *engine) fail(cause error) {
	if e.failure.CompareAndSwap(nil, &cause) {
		e.log.Error("beck: nothing is written any more until the directory is opened again", "dir", e.dir, "cause", cause)
	}
}

// failed returns why the engine refuses changes, or nil.
func (e *engine) failed() error {
	cause := e.failure.Load()
	if cause == nil {
		return nil
	}
	kind := driver.ErrUnavailable
	if isFull(*cause) {
		kind = driver.ErrFull
	}
	return fmt.Errorf("%w: writing to %s failed before (%v); nothing is written until it is opened again", kind, e.dir, *cause)
}

func (e *engine) String() string { return "disk " + e.dir }

// Ping reports whether the engine can still write.
func (e *engine) Ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	end, err := e.reading()
	if err != nil {
		return err
	}
	defer end()
	return e.failed()
}

// Close ends both goroutines once all that was asked for is done, and closes
// Pebble.
func (e *engine) Close(ctx context.Context) error {
	e.stop()
	stopped := make(chan struct{})
	go func() {
		e.desk.close()
		e.air.close()
		e.background.Wait()
		e.queue.close()
		e.running.Wait()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-ctx.Done():
		return fmt.Errorf("%s was still being written to: %w", e.dir, context.Cause(ctx))
	}
	e.life.Lock()
	defer e.life.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	e.hub.close()
	failed := e.failed()
	if failed == nil {
		// Messages in tables are guarded by checksums throughout; the end of a
		// log is not.
		if err := e.db.Flush(); err != nil {
			failed = err
		}
	}
	if failed != nil {
		// Pebble may hang for good after a failure.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, failedGrace)
		defer cancel()
	}
	closing := make(chan error, 1)
	go func() { closing <- errors.Join(e.db.Close(), e.closeLock()) }()
	select {
	case err := <-closing:
		if failed != nil {
			// Pebble's own complaints are consequences of that.
			return failed
		}
		if err == nil {
			err = e.stamps.writeMark(e.state.global.commits)
		}
		return e.problem(err)
	case <-ctx.Done():
		return errors.Join(failed, fmt.Errorf("closing %s: %w", e.dir, context.Cause(ctx)))
	}
}

// failedGrace is how long Close waits for a store that has failed.
const failedGrace = 2 * time.Second

// newID returns the id of a topic's next message, given the newest one.
func newID(last streamid.ID, now time.Time) streamid.ID {
	if at := streamid.At(now); at.Millis > last.Millis {
		return at
	}
	return last.Next()
}
