package onredis

import "sync"

// watches are the watches of topics. A watch stays what it is for who has it, and goes
// from one instance to another with its topic.
type watches struct {
	mu sync.Mutex
	of map[string]map[*topicWatch]struct{}
}

type topicWatch struct {
	hints chan struct{}
	at    *engine // nil while its instance can't be reached
	stop  func()
}

// Watch implements driver.Log.
func (s *shards) Watch(topic string) (<-chan struct{}, func()) {
	w := &topicWatch{hints: make(chan struct{}, 1)}
	s.watches.mu.Lock()
	defer s.watches.mu.Unlock()
	if s.watches.of[topic] == nil {
		s.watches.of[topic] = map[*topicWatch]struct{}{}
	}
	s.watches.of[topic][w] = struct{}{}
	w.move(topic, s.up()[s.place(topic)])
	return w.hints, func() {
		s.watches.mu.Lock()
		defer s.watches.mu.Unlock()
		if _, there := s.watches.of[topic][w]; !there {
			return
		}
		delete(s.watches.of[topic], w)
		if len(s.watches.of[topic]) == 0 {
			delete(s.watches.of, topic)
		}
		w.move(topic, nil)
	}
}

// move has a watch hinted at by another engine, and reports whether it is another one.
func (w *topicWatch) move(topic string, to *engine) bool {
	if w.at == to {
		return false
	}
	before := w.stop
	w.at, w.stop = to, nil
	if to != nil {
		w.stop = to.watchBy(topic, w.hints)
	}
	if before != nil {
		before()
	}
	return true
}

// watchBy is Watch with a channel that there is already.
func (e *engine) watchBy(topic string, hints chan struct{}) (stop func()) {
	ends := e.hub.watchBy(topic, hints)
	e.mover.look(topic)
	return func() {
		ends()
		e.mover.forget(topic)
	}
}

// rehome has all watches where their topics are now. Those that go elsewhere are hinted
// at, since nobody may have told them meanwhile.
func (s *shards) rehome() {
	s.watches.mu.Lock()
	defer s.watches.mu.Unlock()
	up := s.up()
	for topic, list := range s.watches.of {
		rehome(topic, list, up[s.place(topic)])
	}
}

// rehomeTopic is rehome for one topic.
func (s *shards) rehomeTopic(topic string) {
	s.watches.mu.Lock()
	defer s.watches.mu.Unlock()
	if list := s.watches.of[topic]; len(list) > 0 {
		rehome(topic, list, s.up()[s.place(topic)])
	}
}

func rehome(topic string, list map[*topicWatch]struct{}, to *engine) {
	for w := range list {
		if w.move(topic, to) {
			select {
			case w.hints <- struct{}{}:
			default:
			}
		}
	}
}
