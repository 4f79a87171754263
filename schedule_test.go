package beck

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func given(keys string) (s schedule, all []*delivery) {
	s = newSchedule(2)
	for key := range strings.FieldsSeq(keys) {
		d := &delivery{message: &Message{Key: strings.Trim(key, "-")}}
		s.add(d)
		all = append(all, d)
	}
	return s, all
}

func TestScheduleGivesBackAllButAFew(t *testing.T) {
	s, all := given("a a b - a b c")
	running := s.take() // the first a
	back := s.giveBack(1)
	if kept := s.take(); kept != all[2] || s.take() != nil {
		t.Errorf("kept %+v", kept)
	}
	if len(back) != 5 || slices.Contains(back, all[0]) || slices.Contains(back, all[2]) {
		t.Errorf("gave back %d", len(back))
	}
	s.finish(running)
	s.finish(all[2])
	if s.take() != nil || len(s.byKey) != 0 {
		t.Errorf("left: %+v", s)
	}
}

func TestScheduleStaysSmall(t *testing.T) {
	s, _ := given("")
	for range 100 {
		s.add(&delivery{message: &Message{}})
	}
	for range 100_000 {
		s.add(&delivery{message: &Message{}})
		s.take()
	}
	if s.len() != 100 || cap(s.ready) > 1000 {
		t.Errorf("%d wait in a slice of %d", s.len(), cap(s.ready))
	}
}

func TestWindowFollowsTheHandlers(t *testing.T) {
	w := newWindow(0, 2)
	now := time.Now()
	for range 20 {
		now = now.Add(time.Millisecond)
		w.adapt(w.size, now)
	}
	if w.size != mostWindow {
		t.Errorf("fast handlers have a window of %d", w.size)
	}
	for range 20 {
		now = now.Add(10 * time.Second)
		w.adapt(2, now)
	}
	if w.size != 2 {
		t.Errorf("slow handlers have a window of %d", w.size)
	}
	if w = newWindow(7, 1); w.adapt(7, now) != 7 || !w.fixed() {
		t.Errorf("a prefetch of 7 is a window of %d", w.size)
	}
}
