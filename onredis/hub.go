package onredis

import (
	"math/rand/v2"
	"sync"
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
}

type watchers struct {
	hints map[chan struct{}]struct{}
	sweep time.Time // when to hint without cause
}

func newHub() *hub { return &hub{topics: map[string]*watchers{}} }

func (h *hub) watch(topic string) (hints <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.topics[topic]
	if w == nil {
		w = &watchers{hints: map[chan struct{}]struct{}{}, sweep: nextSweep(time.Now())}
		h.topics[topic] = w
	}
	w.hints[c] = struct{}{}
	return c, func() { h.unwatch(topic, c) }
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

func (h *hub) watched(topic string) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.topics[topic] != nil
}

func (h *hub) hint(topic string) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	h.topics[topic].hint()
}

func (h *hub) hintAll() {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, w := range h.topics {
		w.hint()
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

// sweep hints at all watched topics in turn until stop is closed.
func (h *hub) sweep(stop <-chan struct{}) {
	tick := time.NewTicker(sweepStep)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case now := <-tick.C:
			h.sweepDue(now)
		}
	}
}

func (h *hub) sweepDue(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.topics {
		if now.After(w.sweep) {
			w.hint()
			w.sweep = nextSweep(now)
		}
	}
}

func nextSweep(now time.Time) time.Time {
	return now.Add(minSweep + rand.N(maxSweep-minSweep))
}
