package ondisk

import "sync"

// hub tells those who watch topics that something changed.
type hub struct {
	mu     sync.Mutex
	topics map[string]map[chan struct{}]struct{}
}

// watch returns a channel with room for one hint.
func (h *hub) watch(topic string) (hints <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.topics == nil {
		h.topics = map[string]map[chan struct{}]struct{}{}
	}
	if h.topics[topic] == nil {
		h.topics[topic] = map[chan struct{}]struct{}{}
	}
	h.topics[topic][c] = struct{}{}
	return c, func() { h.stop(topic, c) }
}

func (h *hub) stop(topic string, c chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.topics[topic], c)
	if len(h.topics[topic]) == 0 {
		delete(h.topics, topic)
	}
}

// hint never blocks: who has a hint already needs no second.
func (h *hub) hint(topics []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, topic := range topics {
		for c := range h.topics[topic] {
			select {
			case c <- struct{}{}:
			default:
			}
		}
	}
}

// close drops all watches: they are never signalled again.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.topics = nil
}

// Watch hints at every change that the disk holds.
func (e *engine) Watch(topic string) (hints <-chan struct{}, stop func()) {
	return e.hub.watch(topic)
}
