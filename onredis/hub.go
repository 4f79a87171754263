package onredis

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Every watched topic is hinted at, without cause, after a time between
	// these two, for whatever change Redis did not tell of: a partition, a
	// primary that became a replica.
	minSweep = 5 * time.Second
	maxSweep = 30 * time.Second
	// sweepStep is how often the sweep looks whose time has come.
	sweepStep = time.Second
)

// hub hands hints to those who watch topics.
type hub struct {
	mu     sync.RWMutex
	topics map[string]*watchers
	marks  atomic.Uint64 // the last mark made
}

type watchers struct {
	mark  atomic.Uint64
	hints map[chan struct{}]struct{}
	sweep time.Time // when to hint without cause
}

func newHub() *hub { return &hub{topics: map[string]*watchers{}} }

func (h *hub) watch(topic string) (hints <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	return c, h.watchBy(topic, c)
}

// watchBy is watch with a channel that there is already, which has room for a hint.
func (h *hub) watchBy(topic string, c chan struct{}) (stop func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.topics[topic]
	if w == nil {
		w = &watchers{hints: map[chan struct{}]struct{}{}, sweep: nextSweep(time.Now())}
		h.topics[topic] = w
		w.mark.Store(h.marks.Add(1))
	}
	w.hints[c] = struct{}{}
	return func() { h.unwatch(topic, c) }
}

func (h *hub) unwatch(topic string, c chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.topics[topic]
	if w == nil {
		return
	}
	delete(w.hints, c)
	if len(w.hints) == 0 {
		delete(h.topics, topic)
	}
}

// all are the topics that somebody watches.
func (h *hub) all() []string {
	h.mu.RLock()
	defer h.mu.RUnlock()
	topics := make([]string, 0, len(h.topics))
	for topic := range h.topics {
		topics = append(topics, topic)
	}
	return topics
}

func (h *hub) watched(topic string) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.topics[topic] != nil
}

// mark changes whenever the subscriptions of a watched topic may have been
// steered. It is 0 while nobody watches the topic, and so nobody is told.
func (h *hub) mark(topic string) uint64 {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if w := h.topics[topic]; w != nil {
		return w.mark.Load()
	}
	return 0
}

// hint hints that something of a topic has changed, among that its subs if steered.
func (h *hub) hint(topic string, steered bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	w := h.topics[topic]
	if w != nil && steered {
		w.mark.Store(h.marks.Add(1))
	}
	w.hint()
}

// hintIf hints at all topics for which concerned is true, as if everything of them
// had changed.
func (h *hub) hintIf(concerned func(topic string) bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for topic, w := range h.topics {
		if concerned(topic) {
			w.mark.Store(h.marks.Add(1))
			w.hint()
		}
	}
}

// hint never blocks: a hint that waits to be seen says it all.
func (w *watchers) hint() {
	if w == nil {
		return
	}
	for c := range w.hints {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// sweep hints at all watched topics in turn, and has look see what is due in them,
// until stop is closed.
func (h *hub) sweep(stop <-chan struct{}, look func(topic string)) {
	tick := time.NewTicker(sweepStep)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case now := <-tick.C:
			for _, topic := range h.sweepDue(now) {
				look(topic)
			}
		}
	}
}

func (h *hub) sweepDue(now time.Time) (topics []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for topic, w := range h.topics {
		if now.After(w.sweep) {
			w.hint()
			w.sweep = nextSweep(now)
			topics = append(topics, topic)
		}
	}
	return topics
}

func nextSweep(now time.Time) time.Time {
	return now.Add(minSweep + rand.N(maxSweep-minSweep))
}
