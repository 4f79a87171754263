package beck

import "time"

// schedule is the order in which deliveries are handled: as they came, but one
// with a key only when no other with that key is being handled or comes before
// it.
type schedule struct {
	ready []*delivery
	head  int // of ready; what is before it has been taken
	// byKey has an entry for every key with a delivery that is ready or being
	// handled, and in it those that wait for their turn.
	byKey map[string][]*delivery
}

func (s *schedule) add(d *delivery) {
	if key := d.message.Key; key != "" {
		if waiting, busy := s.byKey[key]; busy {
			s.byKey[key] = append(waiting, d)
			return
		}
		s.byKey[key] = nil
	}
	s.ready = append(s.ready, d)
}

func (s *schedule) len() int { return len(s.ready) - s.head }

// take returns the next delivery, or nil; finish must be called for it.
func (s *schedule) take() *delivery {
	if s.len() == 0 {
		return nil
	}
	d := s.ready[s.head]
	s.ready[s.head] = nil
	if s.head++; s.head == len(s.ready) {
		s.ready, s.head = s.ready[:0], 0
	}
	return d
}

// finish makes the next delivery with the same key ready.
func (s *schedule) finish(d *delivery) {
	key := d.message.Key
	if key == "" {
		return
	}
	waiting := s.byKey[key]
	if len(waiting) == 0 {
		delete(s.byKey, key)
		return
	}
	s.byKey[key] = waiting[1:]
	s.ready = append(s.ready, waiting[0])
}

// drain takes everything that waits.
func (s *schedule) drain() []*delivery {
	all := append([]*delivery(nil), s.ready[s.head:]...)
	for _, waiting := range s.byKey {
		all = append(all, waiting...)
	}
	s.ready, s.head = nil, 0
	clear(s.byKey)
	return all
}

// window is how many messages a consumer holds: what it handles within about
// windowTime, so that it never waits for more, and hoards nothing that others
// could handle.
type window struct {
	size, least, most int
	since             time.Time // of the last change
}

const (
	windowTime = 250 * time.Millisecond
	mostWindow = 4096
)

func newWindow(o SubscribeOptions) window {
	if o.Prefetch > 0 {
		return window{size: o.Prefetch, least: o.Prefetch, most: o.Prefetch}
	}
	least := 2 * o.Concurrency
	return window{size: least, least: least, most: max(least, mostWindow)}
}

// adapt sets the size for the next fetch, given how many messages were handled
// since the last one.
func (w *window) adapt(handled int, now time.Time) int {
	took := now.Sub(w.since)
	w.since = now
	switch {
	case handled == 0:
	case took < windowTime:
		if handled >= w.size/2 {
			w.size = min(w.size*2, w.most)
		}
	case took > 2*windowTime && handled >= w.least/2:
		// The fetch before this one was enough for longer than wanted.
		if needed := int(float64(handled) * float64(windowTime) / float64(took)); needed < w.size/2 {
			w.size = max(w.size/2, w.least)
		}
	}
	return w.size
}
