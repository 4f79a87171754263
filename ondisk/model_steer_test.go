package ondisk

import (
	"math/rand/v2"
	"slices"

	"github.com/beckmq/beck/internal/driver"
)

// bury takes a dead letter away, if it is there.
func (m *modelSub) bury(id string) (found bool) {
	i := slices.Index(m.dead, id)
	if i >= 0 {
		m.dead = slices.Delete(m.dead, i, i+1)
	}
	return i >= 0
}

// state is where a message stands.
func (m *modelSub) state(id string) driver.State {
	i := slices.Index(m.ids, id)
	switch p := m.pending[id]; {
	case p != nil && p.owner != "":
		return driver.Held
	case p != nil:
		return driver.Waiting
	case i >= max(m.delivered, m.trimmed):
		return driver.Ready
	case slices.Contains(m.dead, id):
		return driver.Buried
	}
	return ""
}

// steer does something at random that steers the subscription, and compares what
// stands in which state.
func (m *modelSub) steer(e *engine, random *rand.Rand) {
	m.t.Helper()
	switch random.IntN(8) {
	case 0:
		m.seek(e, random)
	case 1:
		m.paused = random.IntN(3) == 0
		pause(m.t, e, m.paused)
	case 2, 3, 4:
		m.exhume(e, random)
	}
	m.compareStates(e, 1+random.IntN(20))
}

func (m *modelSub) seek(e *engine, random *rand.Rand) {
	m.t.Helper()
	to := driver.Position{Kind: driver.PositionKind(random.IntN(2))}
	m.delivered = m.trimmed
	if to.Kind == driver.End {
		m.delivered = len(m.ids)
	} else if len(m.ids) > 0 {
		i := random.IntN(len(m.ids))
		to = driver.Position{Kind: driver.AtID, ID: m.ids[i]}
		m.delivered = max(m.trimmed, i+1)
	}
	clear(m.pending)
	seek(m.t, e, to)
}

// exhume requeues or drops some dead letters.
func (m *modelSub) exhume(e *engine, random *rand.Rand) {
	m.t.Helper()
	ids := []string{"1-1"}
	for _, id := range m.ids[max(0, m.delivered-30):] {
		if slices.Contains(m.dead, id) && random.IntN(2) == 0 || random.IntN(20) == 0 {
			ids = append(ids, id)
		}
	}
	requeue := random.IntN(4) > 0
	do := dropping(m.t, e)
	if requeue {
		do = requeuing(m.t, e)
	}
	missing := exhume(m.t, do, ids...)
	for _, id := range ids {
		found := m.bury(id)
		if found == slices.Contains(missing, id) {
			m.t.Fatalf("of %v are missing %v, found %s: %v", ids, missing, id, found)
		}
		if state := m.state(id); found && requeue && state == "" {
			m.pending[id] = &modelPending{id: id, due: m.clock.at, copied: true}
		}
	}
}

// compareStates peeks, by so many at a time, and asks for what is outstanding.
func (m *modelSub) compareStates(e *engine, limit int) {
	m.t.Helper()
	want := map[driver.State][]string{driver.Buried: m.dead}
	for _, p := range m.sorted(byID) {
		if p.owner != "" {
			want[driver.Held] = append(want[driver.Held], p.id)
		}
	}
	for _, p := range m.sorted(byDue) {
		if p.owner == "" {
			want[driver.Waiting] = append(want[driver.Waiting], p.id)
		}
	}
	want[driver.Ready] = m.ids[max(m.delivered, m.trimmed):]
	for state, ids := range want {
		var got []string
		for more := true; more; {
			after := ""
			if len(got) > 0 {
				after = got[len(got)-1]
			}
			p := peek(m.t, e, state, after, limit)
			for _, e := range p.Entries {
				got = append(got, e.Message.ID)
				if p := m.pending[e.Message.ID]; p != nil && state != driver.Buried && e.Message.Attempt != p.attempt {
					m.t.Fatalf("%s: attempt %d of %s, want %d", state, e.Message.Attempt, p.id, p.attempt)
				}
			}
			more = p.More
		}
		if !slices.Equal(got, ids) {
			m.t.Fatalf("%s: %v, want %v", state, got, ids)
		}
	}
	open, err := e.Outstanding(m.t.Context(), "a", "s", m.ids)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, id := range m.ids {
		if open[id] != m.state(id) {
			m.t.Fatalf("%s is %q, want %q", id, open[id], m.state(id))
		}
	}
}
