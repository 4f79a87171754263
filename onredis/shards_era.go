package onredis

import "sync"

// eras tells the eras of topics, see era.go, as if a topic were always at one instance:
// each counts eras by itself, and nothing is lost when a topic moves.
type eras struct {
	mu sync.Mutex
	of map[string]*shownEra
}

type shownEra struct {
	at         *engine
	era, shown string
}

// shown is the era to tell readers of, given that of the topic's instance.
func (s *eras) shown(topic string, at *engine, era string) string {
	if era == "" {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.of[topic]
	switch {
	case t == nil:
		if s.of == nil || len(s.of) >= maxKnownTopics {
			s.of = map[string]*shownEra{}
		}
		s.of[topic] = &shownEra{at, era, era}
		return era
	case t.at != at:
		t.at, t.era = at, era
	case t.era != era:
		t.era = era
		t.shown += "," + era // another one than ever before
		if len(t.shown) > 100 {
			t.shown = "," + era
		}
	}
	return t.shown
}
