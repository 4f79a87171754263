package torture

import (
	"fmt"
	"slices"
)

// life is one incarnation of a process, while its history is read.
type life struct {
	*record
	number  int32
	process string
	running map[string]string // by consumer and key, the message that is handled
	firsts  map[string]string // by consumer and key, the newest id delivered for the first time
	open    map[string]int    // by consumer and id, the delivery that is not done
}

// publishing takes in what a publisher did, and what was done to all.
func (l *life) publishing(e Event) error {
	l.end = max(l.end, e.Wall)
	switch e.Kind {
	case Started:
		l.process = e.Process
	case Begun:
		return l.begun(e)
	case Acked, Weak, Denied, Unsure:
		return l.published(e)
	case Due:
		if e.Role == "follower" {
			l.reader(e.Topic, e.Sub)
			break
		}
		s := l.subscription(e.Topic, e.Sub)
		s.lease, s.queue, s.givenBack = e.Took, e.Role == "queue", e.GivenBack
	case Fault:
		l.report.Faults[e.Name]++
		l.windows = append(l.windows, window{name: e.Name, target: e.Target, harm: e.Harm, from: e.Wall, to: forever})
		if e.Harm == Kills {
			l.killed[e.Target] = e.Wall
		}
		if e.Harm == Fails {
			l.report.Window.Failovers++
		}
	case Healed:
		for i, w := range slices.Backward(l.windows) {
			if w.target == e.Target && w.to == forever {
				l.windows[i].to = e.Wall
				break
			}
		}
	case Stalled:
		w := window{name: "stall", target: l.process, harm: Stops, from: e.Wall - e.Took, to: e.Wall}
		if e.Target != "" {
			w.target, w.harm = e.Target, Cuts
		}
		l.windows = append(l.windows, w)
	case Left:
		l.report.Stuck.add("%s", e.Text)
	}
	return nil
}

func (l *life) begun(e Event) error {
	s := l.streams[e.Stream]
	if s == nil {
		s = &stream{name: e.Stream, topic: e.Topic, once: e.Once, level: e.Level}
		l.streams[e.Stream] = s
	}
	if e.N <= int64(len(s.messages)) {
		if s.once {
			return nil // tried again
		}
		return fmt.Errorf("%s publishes %s %d again", l.process, e.Stream, e.N)
	}
	if e.N != int64(len(s.messages))+1 || e.Count < 1 {
		return fmt.Errorf("%s publishes %s %d behind %d", l.process, e.Stream, e.N, len(s.messages))
	}
	for range e.Count {
		s.messages = append(s.messages, message{begun: e.Wall, delay: e.Delay})
	}
	return nil
}

func (l *life) published(e Event) error {
	s := l.streams[e.Stream]
	if s == nil || s.at(e.N) == nil || s.at(e.N+e.Count-1) == nil {
		return fmt.Errorf("%s tells of %s %d, which it never began", l.process, e.Stream, e.N)
	}
	for i := range e.Count {
		m := s.at(e.N + i)
		m.ended = e.Wall
		stored := int(i) < len(e.IDs)
		result := map[Kind]outcome{Acked: acked, Weak: weak, Denied: denied, Unsure: unsure}[e.Kind]
		if stored && e.Kind != Weak {
			result = acked // also at the front of a batch that failed
		}
		// Of a message that is tried again and again, one attempt may be unsure and
		// another one refused: it may be there.
		m.outcome = max(m.outcome, result)
		if stored && m.delay == 0 && m.entry == 0 {
			m.entry = l.topic(s.topic).add(e.IDs[i], s, e.N+i) + 1
		}
	}
	if len(e.IDs) > 0 {
		l.acks.add(e.Wall)
	}
	return nil
}

// reading takes in what followers and consumers were given.
func (l *life) reading(e Event) error {
	switch e.Kind {
	case Started:
		l.process = e.Process
	case Seen:
		return l.seen(e)
	case Gap:
		l.report.GapsTold++
		f := l.reader(e.Topic, e.Sub)
		f.items = append(f.items, item{at: e.Wall, entry: -1, life: l.number})
	case Got:
		return l.got(e)
	case Done:
		return l.done(e)
	case Gaps:
		l.report.Window.Told += int(e.Count)
	}
	return nil
}

// find returns a message that was delivered, or nil if it was never published.
func (l *life) find(e Event) (*stream, *message) {
	if e.Bad != "" {
		l.report.Invented.add("%s: %s of %s: %s", l.process, e.ID, e.Topic, e.Bad)
		return nil, nil
	}
	s := l.streams[e.Stream]
	var m *message
	if s != nil {
		m = s.at(e.N)
	}
	switch {
	case m == nil:
		l.report.Invented.add("%s: %s of %s is %s %d, which was never published", l.process, e.ID, e.Topic, e.Stream, e.N)
		return nil, nil
	case s.topic != e.Topic:
		l.report.Invented.add("%s: %s of %s is %s %d, which was published to %s", l.process, e.ID, e.Topic, e.Stream, e.N, s.topic)
		return nil, nil
	case m.outcome == denied:
		l.report.Invented.add("%s: %s of %s is %s %d, whose publisher was told that it is not stored", l.process, e.ID, e.Topic, e.Stream, e.N)
	}
	if e.Wall < m.begun+m.delay-clockSlack {
		l.report.Early.add("%s: %s %d of %s came %d ms before its time", l.process, e.Stream, e.N, e.Topic, (m.begun+m.delay-e.Wall)/1000)
	}
	return s, m
}

// clockSlack is what clocks may differ by, in microseconds.
const clockSlack = 20_000

// Audit is the follower that reads everything at the end.
const Audit = "audit"

func (l *life) seen(e Event) error {
	s, m := l.find(e)
	if s == nil {
		return nil
	}
	t := l.topic(e.Topic)
	i := t.add(e.ID, s, e.N)
	l.sameAs(t, i, s, e)
	if m.entry == 0 {
		m.entry = i + 1
	}
	if e.Sub == Audit {
		t.audited, t.entries[i].present, m.present = true, true, true
	} else {
		l.report.Followed++
		l.deliveries.add(e.Wall)
	}
	f := l.reader(e.Topic, e.Sub)
	f.items = append(f.items, item{at: e.Wall, entry: i, life: l.number})
	return nil
}

// sameAs checks that an id has the message that others saw under it. A primary that
// comes back from standing still, and its successor, may give the same id in the same
// millisecond: then it is that of the one seen last.
func (l *life) sameAs(t *topicLog, i int32, s *stream, e Event) {
	if known := &t.entries[i]; known.stream != s || known.n != e.N {
		other := known.stream.at(known.n)
		if slices.ContainsFunc(l.windows, func(w window) bool {
			return w.harm == Fails && w.from <= e.Wall && w.to >= other.begun
		}) {
			known.stream, known.n, known.reused, other.entry = s, e.N, true, 0
			return
		}
		l.report.Invented.add("%s: %s of %s is %s %d here, and %s %d elsewhere", l.process, e.ID, e.Topic, e.Stream, e.N, known.stream.name, known.n)
	}
}

func (l *life) got(e Event) error {
	s, m := l.find(e)
	if s == nil {
		return nil
	}
	l.report.Delivered++
	l.deliveries.add(e.Wall)
	sub := l.subscription(e.Topic, e.Sub)
	t := l.topic(e.Topic)
	i := t.add(e.ID, s, e.N)
	l.sameAs(t, i, s, e)
	if m.entry == 0 {
		m.entry = i + 1
	} else if m.entry != i+1 && sub.queue && !l.lineages(m) {
		l.report.Twice.add("%s: %s %d is stored as %s and as %s", e.Topic, e.Stream, e.N, t.entries[m.entry-1].id, e.ID)
	}
	sub.deliveries = append(sub.deliveries, delivery{stream: s, n: e.N, at: e.Wall, process: l.process, attempt: int32(e.Attempt)})
	where := e.Topic + " " + e.Sub + " " + e.Consumer + " "
	l.open[where+e.ID] = len(sub.deliveries)
	if e.Key == "" {
		return nil
	}
	if other := l.running[where+e.Key]; other != "" {
		l.report.Disordered.add("%s: %s of %s is handled while %s with the same key %s still is", l.process, e.ID, e.Topic, other, e.Key)
	}
	l.running[where+e.Key] = e.ID
	if e.Attempt != 1 {
		return nil
	}
	if before := l.firsts[where+e.Key]; e.ID < before {
		sub.suspects = append(sub.suspects, suspect{s, e.N, e.Wall,
			fmt.Sprintf("%s: %s of %s came behind %s with the same key %s", l.process, e.ID, e.Topic, before, e.Key)})
	} else {
		l.firsts[where+e.Key] = e.ID
	}
	return nil
}

// lineages reports whether a message may have entered its queue on a server that was
// replaced, or that lost it, and then again: what is left of a queue at the end does
// not tell, unlike a topic.
func (l *life) lineages(m *message) bool {
	return slices.ContainsFunc(l.windows, func(w window) bool {
		return (w.harm == Fails || w.harm == Destroys) && w.to >= m.begun
	})
}

func (l *life) done(e Event) error {
	where := e.Topic + " " + e.Sub + " " + e.Consumer + " "
	delete(l.running, where+e.Key)
	i := l.open[where+e.ID]
	if i == 0 {
		return nil // it was no message that was ever published
	}
	delete(l.open, where+e.ID)
	d := &l.subscription(e.Topic, e.Sub).deliveries[i-1]
	d.done, d.acked = e.Wall, e.Result == "ack"
	return nil
}
