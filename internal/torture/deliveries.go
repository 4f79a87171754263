package torture

import (
	"cmp"
	"slices"
	"strings"
)

// checkSubscription checks that each message was delivered and handled to its end,
// that each further delivery has a cause, and the order of keys.
func (r *record) checkSubscription(s *subscription) {
	slices.SortFunc(s.deliveries, func(a, b delivery) int {
		return cmp.Or(strings.Compare(a.stream.name, b.stream.name), cmp.Compare(a.n, b.n), cmp.Compare(a.at, b.at))
	})
	got := map[*stream][]bool{}
	for from := 0; from < len(s.deliveries); {
		first := &s.deliveries[from]
		to := from + 1
		for to < len(s.deliveries) && s.deliveries[to].stream == first.stream && s.deliveries[to].n == first.n {
			to++
		}
		if got[first.stream] == nil {
			got[first.stream] = make([]bool, len(first.stream.messages)+1)
		}
		got[first.stream][first.n] = true
		r.checkDeliveries(s, s.deliveries[from:to])
		from = to
	}
	for _, stream := range r.streams {
		if stream.topic == s.topic {
			r.checkDelivered(s, stream, got[stream])
		}
	}
	for _, suspect := range s.suspects {
		if !s.before(suspect) && !r.givenBack(s, suspect) {
			r.report.Disordered.add("%s", suspect.text)
		}
	}
}

// before reports whether a message had been delivered before: then it comes again,
// and may be late.
func (s *subscription) before(u suspect) bool {
	i, found := slices.BinarySearchFunc(s.deliveries, u, func(d delivery, u suspect) int {
		return cmp.Or(strings.Compare(d.stream.name, u.stream.name), cmp.Compare(d.n, u.n))
	})
	return found && s.deliveries[i].at < u.at
}

// givenBack reports whether another consumer may have had a message and given it
// back, so that it comes late.
func (r *record) givenBack(s *subscription, u suspect) bool {
	begun := u.stream.at(u.n).begun
	return s.givenBack == "always" || slices.ContainsFunc(r.windows, func(w window) bool {
		// A server gives back what it fetched for a client that is gone. A consumer
		// that was cut off does not count attempts that it may not have heard of, and
		// takes what another one held unhandled for a first delivery. And a
		// subscription that lost what it was delivered, delivers it anew.
		late := w.harm == Cuts || w.harm == Kills || w.harm == Fails || w.harm == Forgets || w.harm == Destroys
		return late && w.from <= u.at && w.to >= begun
	})
}

func (r *record) checkDelivered(s *subscription, p *stream, got []bool) {
	for i := range p.messages {
		m := &p.messages[i]
		n := int64(i) + 1
		if m.outcome < weak || got != nil && got[n] {
			continue
		}
		if m.outcome == weak && !m.present {
			continue
		}
		w := r.taken(p, m)
		if !m.present && w != nil && w.from-m.ended-m.delay < patience {
			if s.queue && w.harm == Destroys {
				r.report.Destroyed++
			} else if s.queue {
				r.report.Window.Messages++
			}
			continue
		}
		r.report.Lost.add("%s: %s never got %s %d, acknowledged as %s", s.topic, s.name, p.name, n, p.level)
	}
}

// patience is after what time a message must have been delivered, in microseconds:
// what is destroyed later than that was lost before. It is longer than any fault lasts.
const patience = 90_000_000

// checkDeliveries looks at all deliveries of one message, in the order of time.
func (r *record) checkDeliveries(s *subscription, list []delivery) {
	handled := false
	for i := range list {
		handled = handled || list[i].acked
		if i > 0 {
			if cause := r.cause(s, &list[i-1], &list[i]); cause != "" {
				r.report.Duplicates[cause]++
			} else {
				r.report.Unexplained.add("%s: %s got %s %d as attempt %d in %s, %d ms after attempt %d in %s began, which %s",
					s.topic, s.name, list[i].stream.name, list[i].n, list[i].attempt, list[i].process,
					(list[i].at-list[i-1].at)/1000, list[i-1].attempt, list[i-1].process, list[i-1].fate(&list[i]))
			}
		}
	}
	last := &list[len(list)-1]
	if !handled && !r.tookAway(s, last) {
		r.report.Stuck.add("%s: %s got %s %d %d times, the last time as attempt %d in %s, and never handled it to the end",
			s.topic, s.name, last.stream.name, last.n, len(list), last.attempt, last.process)
	}
}

// tookAway reports whether a fault may have taken away a message that a
// subscription had been delivered.
func (r *record) tookAway(s *subscription, d *delivery) bool {
	m := d.stream.at(d.n)
	if m.present {
		return false
	}
	for _, w := range r.windows {
		// It may have been leased before the fault and be handled after it.
		lossy := w.harm == Destroys || w.harm == Fails && (d.stream.level == Written || m.outcome != acked)
		if lossy && w.to >= m.begun {
			return true
		}
	}
	return false
}

func (d *delivery) fate(next *delivery) string {
	switch {
	case d.done == 0:
		return "never ended"
	case d.done > next.at:
		return "still ran"
	case d.acked:
		return "was acknowledged"
	}
	return "was to be retried"
}

// The causes of duplicates.
const (
	causeRetry     = "retry"
	causeCrash     = "crash of a consumer"
	causeLease     = "expired lease"
	causeUnsettled = "acknowledgement not stored"
	causeGroup     = "subscription restored"
)

// cause says why a message was delivered again; empty if there is no reason.
func (r *record) cause(s *subscription, last, again *delivery) string {
	if last.done != 0 && last.done <= again.at && !last.acked && again.attempt > last.attempt {
		return causeRetry
	}
	if at := r.killed[last.process]; at != 0 && at <= again.at && (!last.acked || at-last.done <= settleSlack) {
		return causeCrash
	}
	cause := ""
	for _, w := range r.windows {
		// A delivery may have been leased for a while before its handler begins, and
		// what happened since then counts.
		if w.from > again.at || w.to < last.at-2*s.lease {
			continue
		}
		switch {
		case w.harm == Forgets, w.harm == Destroys, w.harm == Fails:
			return causeGroup
		case w.harm == Jumps && w.to >= last.at-s.lease:
			cause = causeLease
		case w.harm == Stops && w.target == last.process:
			cause = causeLease
		case w.harm == Stops && w.target == again.process && again.attempt <= last.attempt:
			cause = causeLease // it was leased before the other, and began later
		case w.harm == Cuts && last.acked && last.done <= again.at:
			if w.to >= last.done-settleSlack {
				cause = causeUnsettled
			}
		case w.harm == Cuts && again.at-last.at >= s.lease/2:
			cause = causeLease
		case w.harm == Cuts && again.attempt <= last.attempt:
			cause = causeLease
		case w.harm == Cuts && w.to-w.from >= s.lease/2 && w.to >= last.at-settleSlack:
			cause = causeLease // it was leased before the fault, and handed out after it
		}
	}
	return cause
}

// settleSlack is how long before a fault an acknowledgement may have been decided
// on that the fault keeps from being stored, in microseconds.
const settleSlack = 2_000_000
