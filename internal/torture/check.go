package torture

import (
	"slices"
	"sort"
	"time"
)

// Check reads the histories in a directory and decides.
func Check(dir string) (*Report, error) {
	r, err := load(dir)
	if err != nil {
		return nil, err
	}
	for _, t := range r.topics {
		r.checkTopic(t)
	}
	followers := map[string][]*follower{}
	for _, f := range r.readers {
		if f.name != Audit {
			followers[f.topic] = append(followers[f.topic], r.checkFollower(f))
		}
	}
	for _, s := range r.subs {
		r.checkSubscription(s)
	}
	for _, s := range r.streams {
		r.checkStream(s, followers[s.topic])
	}
	r.report.LongestPublishStall = r.acks.longest()
	r.report.LongestDeliveryStall = r.deliveries.longest()
	return r.report, nil
}

// Levels of durability, as a publisher states them.
const (
	Written    = "written"
	Replicated = "replicated"
	Synced     = "synced"
)

// checkTopic checks the order of what is stored at the end: that of each publisher,
// and that of publishes of which one had returned before the other began.
func (r *record) checkTopic(t *topicLog) {
	sorted := t.order()
	last := map[*stream]int64{}
	places := map[*stream]map[int64]string{}
	earliest := int64(forever) // of the ends of all publishes behind
	for i := len(sorted) - 1; i >= 0; i-- {
		e := t.entries[sorted[i]]
		if !e.present {
			continue
		}
		if places[e.stream] == nil {
			places[e.stream] = map[int64]string{}
		}
		if other := places[e.stream][e.n]; other != "" {
			r.report.Twice.add("%s: %s %d is stored as %s and as %s", t.name, e.stream.name, e.n, e.id, other)
			continue
		}
		places[e.stream][e.n] = e.id
		m := e.stream.at(e.n)
		if m.delay > 0 || m.outcome < weak {
			continue
		}
		if behind := last[e.stream]; behind != 0 && behind <= e.n {
			r.report.Disordered.add("%s: %s %d stands before %d", t.name, e.stream.name, behind, e.n)
		}
		last[e.stream] = e.n
		if earliest < m.begun-clockSlack {
			r.report.Disordered.add("%s: %s %d stands before a message that was acknowledged %d ms before it was published",
				t.name, e.stream.name, e.n, (m.begun-earliest)/1000)
		}
		earliest = min(earliest, m.ended)
	}
}

// checkStream looks for messages that were published and not delivered.
func (r *record) checkStream(s *stream, followers []*follower) {
	t := r.topic(s.topic)
	for i := range s.messages {
		m := &s.messages[i]
		switch m.outcome {
		case acked:
			r.report.Published++
		case weak:
			r.report.Weak++
		case denied:
			r.report.Denied++
		default:
			r.report.Unsure++
		}
		if m.outcome != acked || !t.audited || m.present {
			continue
		}
		n := int64(i) + 1
		w := r.taken(s, m)
		switch {
		case w == nil:
			r.report.Lost.add("%s: %s %d, acknowledged as %s, is not there at the end", s.topic, s.name, n, s.level)
			continue
		case w.harm == Destroys:
			r.report.Destroyed++
		default:
			r.report.Window.Messages++
			w.lose(m.ended)
			r.report.Window.Span = max(r.report.Window.Span, time.Duration(w.lastLost-w.firstLost)*time.Microsecond)
			r.report.Window.Before = max(r.report.Window.Before, time.Duration(w.from-w.firstLost)*time.Microsecond)
		}
		for _, f := range followers {
			f.mustKnow(r, s, n, m, w)
		}
	}
}

// taken returns the fault that may have taken a message away, or nil. Where both a
// failover and a fault that destroys may have, it is the latter, so that what failovers
// lose is not overestimated.
func (r *record) taken(s *stream, m *message) *window {
	var failed, destroyed *window
	for i := range r.windows {
		w := &r.windows[i]
		switch {
		case w.harm == Destroys && m.begun <= w.to && destroyed == nil:
			destroyed = w
		case w.harm == Fails && s.level == Written && m.begun <= w.to && m.ended >= w.from-failWindow && failed == nil:
			failed = w
		}
	}
	if destroyed != nil && (failed == nil || destroyed.from-m.ended-m.delay < patience) {
		return destroyed
	}
	return failed
}

// failWindow is how long before a failover a message may have been acknowledged
// that is lost by it.
const failWindow = int64(60 * time.Second / time.Microsecond)

// follower is a reader, with what is needed to know what it was told.
type follower struct {
	*reader
	gaps  []int   // the places of the gaps among the items
	begun []int64 // for each item, the latest begin of a publish up to it
	ranks []int32 // for each item, the highest rank up to it
	knows map[int32]bool
	saw   map[*message]bool // under whatever id
}

// checkFollower checks that a follower saw a topic in order, each message once, and
// everything, or was told.
func (r *record) checkFollower(f *reader) *follower {
	t := r.topic(f.topic)
	sorted := t.order()
	out := &follower{reader: f, begun: make([]int64, len(f.items)), ranks: make([]int32, len(f.items)), knows: map[int32]bool{}, saw: map[*message]bool{}}
	silent := map[int32]skip{} // what was skipped, and did not come behind a gap
	last := int32(-1)          // the rank of the last message, or -1
	told := true               // the first message may be any that nothing present stands before
	var latest int64
	highest := int32(-1)
	for i, it := range f.items {
		if it.entry < 0 {
			out.gaps = append(out.gaps, i)
			out.begun[i], out.ranks[i] = latest, highest
			told = true
			continue
		}
		rank := t.ranks[it.entry]
		e := &t.entries[it.entry]
		m := e.stream.at(e.n)
		out.saw[m] = true
		latest = max(latest, m.begun)
		highest = max(highest, rank)
		out.begun[i], out.ranks[i] = latest, highest
		if last >= 0 && rank <= last && !told {
			r.report.Disordered.add("%s: %s got %s behind %s", f.topic, f.name, e.id, t.entries[sorted[last]].id)
		}
		for skipped := last + 1; skipped < rank && !told; skipped++ {
			// What was acknowledged and is not there any more is judged by
			// checkStream, and anything else that went was promised to nobody.
			if missed := &t.entries[sorted[skipped]]; missed.present && !out.knows[sorted[skipped]] {
				silent[sorted[skipped]] = skip{it.entry, len(out.gaps)}
			}
		}
		if out.knows[it.entry] && !e.reused {
			r.report.Disordered.add("%s: %s got %s twice", f.topic, f.name, e.id)
		}
		out.knows[it.entry] = true
		if s, is := silent[it.entry]; is && len(out.gaps) > s.gaps {
			delete(silent, it.entry) // after a failover a follower goes back, and says so
		}
		if told || rank > last {
			last = rank
		}
		told = false
	}
	for _, i := range sorted {
		e := &t.entries[i]
		s, skipped := silent[i]
		switch {
		case !e.present:
		case skipped:
			r.report.SilentGaps.add("%s: %s got %s and never %s before it", f.topic, f.name, t.entries[s.by].id, e.id)
		case out.knows[i]:
		case out.passedOver(r, e.stream.at(e.n)):
			r.report.Window.Passed++
		default:
			r.report.Lost.add("%s: %s never got %s (%s %d)", f.topic, f.name, e.id, e.stream.name, e.n)
		}
	}
	return out
}

// skip is what a follower got in the place of a message, and how many gaps it had been
// told of by then.
type skip struct {
	by   int32
	gaps int
}

// passedOver reports whether a follower was told a gap by a failover after a message
// that it never saw had come: a primary that comes back from standing still gives ids
// that are higher than those its successor has given, and a follower that got one of
// them goes on behind it.
func (f *follower) passedOver(r *record, m *message) bool {
	return slices.ContainsFunc(r.windows, func(w window) bool {
		return w.harm == Fails && m.ended+m.delay >= w.from && slices.ContainsFunc(f.gaps, func(g int) bool {
			at := f.items[g].at
			return at >= w.from && at <= w.to && m.begun <= at
		})
	})
}

// mustKnow checks that a follower saw a message that a fault took away, or was told
// by a gap that something is missing at its place.
func (f *follower) mustKnow(r *record, s *stream, n int64, m *message, w *window) {
	if f.saw[m] {
		return
	}
	// Its place is before the first message whose publish began after it had entered
	// the topic, and before the first one with a higher id, if one of its ids is known.
	entered := m.ended
	if m.delay > 0 {
		entered += m.delay + delayLate
	}
	behind := sort.Search(len(f.begun), func(i int) bool { return f.begun[i] > entered })
	if m.entry != 0 {
		rank := r.topic(f.topic).ranks[m.entry-1]
		behind = max(behind, sort.Search(len(f.ranks), func(i int) bool { return f.ranks[i] > rank }))
	}
	since := m.begun
	if w.harm == Fails {
		// A primary that comes back from standing still takes messages for a while
		// after the followers have left it, and were told.
		since = min(since, w.from)
	}
	g := sort.Search(len(f.gaps), func(i int) bool { return f.items[f.gaps[i]].at >= since })
	switch {
	case g < len(f.gaps) && f.gaps[g] <= behind:
	case m.delay > 0 && m.begun+m.delay >= w.from:
		// It had not entered the topic, so nothing is missing in it.
	case w.harm == Fails && f.wasAway(behind, w):
		r.report.Window.Away++
	case behind == len(f.begun) && len(f.items) > 0 && f.items[len(f.items)-1].at < m.begun:
		r.report.Lost.add("%s: %s got nothing any more after %s %d", f.topic, f.name, s.name, n)
	default:
		r.report.SilentGaps.add("%s: %s was not told that %s %d is missing", f.topic, f.name, s.name, n)
	}
}

// delayLate is by how much a delayed message may enter its topic late on a machine
// that has too much to do, in microseconds.
const delayLate = 2_000_000

// wasAway reports whether the follower that got an item had not run since before a
// fault: it may find the last message it knew, and can't know of those behind it.
func (f *follower) wasAway(item int, w *window) bool {
	if item >= len(f.items) || item == 0 {
		return true
	}
	life := f.items[item].life
	for i := item; i >= 0 && f.items[i].life == life; i-- {
		if f.items[i].at < w.from {
			return false
		}
	}
	return true
}
