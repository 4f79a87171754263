package cli

import (
	"slices"
	"sync"

	"github.com/beckmq/beck"
)

// held are the ids of the messages that a consumer is handling, so that what a
// lost connection makes it ask for again is not handled twice. Its methods work
// on nil, which holds nothing.
type held struct {
	mu  sync.Mutex
	ids map[string]bool
}

func newHeld() *held { return &held{ids: map[string]bool{}} }

func (h *held) add(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ids[id] = true
}

func (h *held) remove(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.ids, id)
}

func (h *held) len() int {
	if h == nil {
		return 0
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ids)
}

// others returns the messages that are not held.
func (h *held) others(messages []*beck.Message) []*beck.Message {
	if h == nil {
		return messages
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(messages, func(m *beck.Message) bool { return h.ids[m.ID] })
}
