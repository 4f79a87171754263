package onhttp

import (
	"context"
	"sync"
	"time"

	"github.com/beckmq/beck/internal/wire"
)

// linger is how long the stream of a topic nobody watches any more is kept, for
// those who watch now and then.
const linger = 10 * time.Second

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
	take := func(got event) error {
		if got.name == wire.EventWake {
			e.hint(w)
		}
		return nil
	}
	e.keep(ctx, ctx, nil, topicPath(topic)+"/wake", take, nil)
}

// wait returns once all streams have ended.
func (ws *watches) wait(ctx context.Context) error {
	ws.mu.Lock()
	for _, w := range ws.byTopic {
		w.unused.Stop()
		clear(w.watchers)
	}
	ws.mu.Unlock()
	return waitFor(ctx, &ws.running)
}
