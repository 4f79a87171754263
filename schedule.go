package beck

import (
	"slices"
	"strings"
	"time"
)

// schedule is the order in which deliveries are handled: as they came, but one
// with a key only when no other with that key is being handled or comes before
// it.
type schedule struct {
	ready []*delivery
	head  int // of ready; what is before it has been taken
	// byKey has an entry for every key with a delivery that is ready or being
	// handled, and in it those that wait for their turn. It is nil where only
	// one is handled at a time, so that the order is kept anyway.
	byKey map[string][]*delivery
}

func newSchedule(concurrency int) schedule {
	if concurrency == 1 {
		return schedule{}
	}
	return schedule{byKey: map[string][]*delivery{}}
}

func (s *schedule) add(d *delivery) {
	if key := d.message.Key; key != "" && s.byKey != nil {
		if waiting, busy := s.byKey[key]; busy {
			s.byKey[key] = append(waiting, d)
			return
		}
		s.byKey[key] = nil
	}
	s.push(d)
}

func (s *schedule) push(d *delivery) {
	if s.head > 16 && s.head > len(s.ready)/2 {
		n := copy(s.ready, s.ready[s.head:])
		clear(s.ready[n:])
		s.ready, s.head = s.ready[:n], 0
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

// takeWith returns the next delivery with the same key as one that was taken and
// not finished, or nil. Both are finished by one finish.
func (s *schedule) takeWith(d *delivery) *delivery {
	waiting := s.byKey[d.message.Key]
	if len(waiting) == 0 {
		return nil
	}
	s.byKey[d.message.Key] = waiting[1:]
	return waiting[0]
}

// finish makes the next delivery with the same key ready.
func (s *schedule) finish(d *delivery) {
	key := d.message.Key
	waiting, busy := s.byKey[key]
	switch {
	case !busy:
	case len(waiting) == 0:
		delete(s.byKey, key)
	default:
		s.byKey[key] = waiting[1:]
		s.push(waiting[0])
	}
}

// oldest is the next delivery to be taken, or nil.
func (s *schedule) oldest() *delivery {
	if s.len() == 0 {
		return nil
	}
	return s.ready[s.head]
}

// giveBack takes out all but the first few deliveries, in topic order.
func (s *schedule) giveBack(keep int) []*delivery {
	from := min(s.head+keep, len(s.ready))
	back := slices.Clone(s.ready[from:])
	clear(s.ready[from:])
	s.ready = s.ready[:from]
	for _, d := range back {
		if waiting, busy := s.byKey[d.message.Key]; busy {
			back = append(back, waiting...)
			delete(s.byKey, d.message.Key)
		}
	}
	for key, waiting := range s.byKey {
		back = append(back, waiting...)
		s.byKey[key] = nil
	}
	slices.SortFunc(back, func(a, b *delivery) int { return strings.Compare(a.message.ID, b.message.ID) })
	return back
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

// newWindow has room for what is asked for, or else for at least what can be
// handled at a time.
func newWindow(fixed, least int) window {
	if fixed > 0 {
		return window{size: fixed, least: fixed, most: fixed}
	}
	return window{size: least, least: least, most: max(least, mostWindow)}
}

// shrink sets the size back, when what is held takes too long.
func (w *window) shrink() { w.size = w.least }

// fixed reports whether the size was asked for by the user.
func (w *window) fixed() bool { return w.least == w.most }

// adapt sets the size for the next fetch, given how many messages were handled
// since the last one.
func (w *window) adapt(handled int, now time.Time) int {
	took := now.Sub(w.since)
	w.since = now
	switch {
	case handled == 0:
	case took < windowTime:
		if handled >= (w.size+1)/2 {
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
