package onhttp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/wire"
)

const (
	// linger is how long the stream of a topic nobody watches any more is kept,
	// for those who watch now and then.
	linger = 10 * time.Second
	// quietTime is how long a stream may bring nothing, not even a heartbeat,
	// before it counts as lost.
	quietTime = 50 * time.Second
	// A stream that was lost is made again after a pause between these.
	minPause, maxPause = 50 * time.Millisecond, 3 * time.Second
)

// watches are the streams of hints, one for each topic that is watched.
type watches struct {
	mu      sync.Mutex
	byTopic map[string]*watch
	running sync.WaitGroup
}

// A watch is the stream of one topic.
type watch struct {
	watchers map[chan struct{}]bool // guarded by watches.mu
	cancel   context.CancelFunc
	unused   *time.Timer // ends the stream once nobody has watched for a while
}

// Watch asks for hints. The server's first hint on each new stream makes up for
// all that happened before it.
func (e *engine) Watch(topic string) (<-chan struct{}, func()) {
	hints := make(chan struct{}, 1)
	e.watches.mu.Lock()
	defer e.watches.mu.Unlock()
	w := e.watches.byTopic[topic]
	if w == nil {
		w = e.startWatch(topic)
	}
	w.watchers[hints] = true
	return hints, func() { e.stopWatching(w, hints) }
}

// startWatch needs the lock.
func (e *engine) startWatch(topic string) *watch {
	ctx, cancel := context.WithCancel(e.ctx)
	w := &watch{watchers: map[chan struct{}]bool{}, cancel: cancel}
	w.unused = time.AfterFunc(linger, func() {
		e.watches.mu.Lock()
		defer e.watches.mu.Unlock()
		if len(w.watchers) == 0 && e.watches.byTopic[topic] == w {
			delete(e.watches.byTopic, topic)
			cancel()
		}
	})
	e.watches.byTopic[topic] = w
	if ctx.Err() == nil {
		e.watches.running.Go(func() { e.keepWatching(ctx, topic, w) })
	}
	return w
}

func (e *engine) stopWatching(w *watch, hints chan struct{}) {
	e.watches.mu.Lock()
	defer e.watches.mu.Unlock()
	if !w.watchers[hints] {
		return
	}
	delete(w.watchers, hints)
	if len(w.watchers) == 0 {
		w.unused.Reset(linger)
	}
}

// hint tells all who watch.
func (e *engine) hint(w *watch) {
	e.watches.mu.Lock()
	defer e.watches.mu.Unlock()
	for hints := range w.watchers {
		select {
		case hints <- struct{}{}:
		default: // it has one already
		}
	}
}

// keepWatching has a stream of the topic, always a new one when one ends.
func (e *engine) keepWatching(ctx context.Context, topic string, w *watch) {
	pause, failed := minPause, false
	for {
		began := time.Now()
		err := e.readStream(ctx, topic, w)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > maxPause {
			pause = minPause
		}
		if !errors.Is(err, errEnded) && !failed {
			e.log.Warn("lost the stream of hints; trying again", "server", e.name, "topic", topic, "error", err)
		}
		failed = !errors.Is(err, errEnded)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause + rand.N(pause/2)):
		}
		pause = min(2*pause, maxPause)
	}
}

// errEnded says that the server has ended a stream as it should.
var errEnded = errors.New("the server has ended the stream")

// readStream passes on the hints of one stream until it ends.
func (e *engine) readStream(ctx context.Context, topic string, w *watch) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(quietTime, func() {
		cancel(fmt.Errorf("%w: nothing was heard for %v", driver.ErrUnavailable, quietTime))
	})
	defer quiet.Stop()

	c := call{method: http.MethodGet, path: topicPath(topic) + "/wake"}
	answer, err := e.send(ctx, c, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
		return e.refused(c, answer, body)
	}
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		quiet.Reset(quietTime)
		if lines.Text() == wire.EventWake {
			e.hint(w)
		}
	}
	if err := lines.Err(); err != nil {
		return e.lost(ctx, c, err, true)
	}
	return errEnded
}

// wait returns once all streams have ended.
func (ws *watches) wait(ctx context.Context) error {
	ws.mu.Lock()
	for _, w := range ws.byTopic {
		w.unused.Stop()
		clear(w.watchers)
	}
	ws.mu.Unlock()
	done := make(chan struct{})
	go func() { ws.running.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("streams were still open: %w", context.Cause(ctx))
	}
}
