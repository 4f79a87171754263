package beck

import "sync"

// gate lets at most so many handlers of several queues run at a time. While more
// than one queue has handlers waiting, they are let in in proportion to the
// queues' weights, evenly mixed.
type gate struct {
	mu     sync.Mutex
	free   int
	queues []*turnstile
}

// turnstile is the gate as one queue sees it.
type turnstile struct {
	gate    *gate
	weight  int
	credit  int // grows by the weight while others are let in
	waiting []chan struct{}
}

func newGate(slots int) *gate { return &gate{free: slots} }

func (g *gate) add(weight int) *turnstile {
	t := &turnstile{gate: g, weight: weight}
	g.queues = append(g.queues, t)
	return t
}

// enter waits for a place, and reports false if quit is closed first. leave must
// be called for a place.
func (t *turnstile) enter(quit <-chan struct{}) bool {
	g := t.gate
	g.mu.Lock()
	if g.free > 0 { // then nobody waits
		g.free--
		g.mu.Unlock()
		return true
	}
	turn := make(chan struct{})
	t.waiting = append(t.waiting, turn)
	g.mu.Unlock()
	return t.wait(turn, quit)
}

// again is leave and then enter, but the queue is among those that wait when it is
// decided whose turn it is.
func (t *turnstile) again(quit <-chan struct{}) bool {
	turn := make(chan struct{})
	t.gate.mu.Lock()
	t.waiting = append(t.waiting, turn)
	t.gate.mu.Unlock()
	t.leave()
	return t.wait(turn, quit)
}

func (t *turnstile) wait(turn, quit <-chan struct{}) bool {
	select {
	case <-turn:
		return true
	case <-quit:
	}
	if !t.giveUp(turn) {
		t.leave() // its turn came meanwhile
	}
	return false
}

// giveUp takes one that waits off the list, and reports whether it was there.
func (t *turnstile) giveUp(turn <-chan struct{}) bool {
	t.gate.mu.Lock()
	defer t.gate.mu.Unlock()
	for i, w := range t.waiting {
		if w == turn {
			t.waiting = append(t.waiting[:i], t.waiting[i+1:]...)
			return true
		}
	}
	return false
}

// leave gives a place to whose turn it is.
func (t *turnstile) leave() {
	g := t.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	next := g.next()
	if next == nil {
		g.free++
		return
	}
	close(next.waiting[0])
	next.waiting = next.waiting[1:]
}

// next is the queue to be let in. A queue that waits gains its weight with each
// choice, and the one chosen pays for all; one that doesn't wait saves nothing up.
func (g *gate) next() *turnstile {
	var best *turnstile
	total := 0
	for _, t := range g.queues {
		if len(t.waiting) == 0 {
			t.credit = 0
			continue
		}
		t.credit += t.weight
		total += t.weight
		if best == nil || t.credit > best.credit {
			best = t
		}
	}
	if best != nil {
		best.credit -= total
	}
	return best
}
