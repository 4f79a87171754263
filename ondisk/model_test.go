package ondisk

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beckmq/beck/internal/driver"
)

// modelSub is what a subscription does, in its simplest form: every message that
// was delivered and not settled, with all there is to say of it.
type modelSub struct {
	t         *testing.T
	clock     *fakeClock
	lease     time.Duration
	ids       []string
	delivered int // of ids
	pending   map[string]*modelPending
	trimmed   int // of ids
	dead      []string
	paused    bool
}

type modelPending struct {
	id      string
	owner   string // empty while it waits
	attempt int
	due     time.Time
	copied  bool // it was requeued
}

// sorted returns what is pending, by order.
func (m *modelSub) sorted(order func(a, b *modelPending) int) []*modelPending {
	var list []*modelPending
	for _, p := range m.pending {
		list = append(list, p)
	}
	slices.SortFunc(list, order)
	return list
}

func byID(a, b *modelPending) int  { return cmp.Compare(a.id, b.id) }
func byDue(a, b *modelPending) int { return cmp.Or(a.due.Compare(b.due), byID(a, b)) }

// fetch returns what Fetch has to.
func (m *modelSub) fetch(req driver.FetchRequest) (want []modelPending) {
	if m.paused {
		return nil
	}
	give := func(p *modelPending) {
		if len(want) < req.Max {
			p.attempt++
			p.owner, p.due = req.Consumer, m.clock.at.Add(m.lease)
			want = append(want, *p)
		}
	}
	if req.Recover {
		for _, p := range m.sorted(byID) {
			if p.owner == req.Consumer {
				give(p)
			}
		}
	}
	for _, p := range m.sorted(byDue) {
		if !p.due.After(m.clock.at) {
			give(p)
		}
	}
	for len(want) < req.Max && m.delivered < len(m.ids) {
		p := &modelPending{id: m.ids[m.delivered]}
		m.pending[p.id] = p
		m.delivered++
		give(p)
	}
	return want
}

// settle does a settlement and says whether the message was held.
func (m *modelSub) settle(consumer string, s driver.Settlement) bool {
	p := m.pending[s.ID]
	if p == nil || p.owner == "" || s.Do != driver.Acknowledge && p.owner != consumer {
		return false
	}
	switch s.Do {
	case driver.DeadLetter:
		m.bury(s.ID)
		m.dead = append(m.dead, s.ID)
		delete(m.pending, s.ID)
	case driver.Acknowledge:
		delete(m.pending, s.ID)
	case driver.Renew:
		p.due = m.clock.at.Add(m.lease)
	case driver.Retry:
		p.owner, p.due = "", m.clock.at.Add(s.After)
	case driver.Release:
		p.owner, p.due = "", m.clock.at
		p.attempt--
	}
	return true
}

// check compares what can be asked without changing anything.
func (m *modelSub) check(e *engine) {
	m.t.Helper()
	info, err := e.Topic(m.t.Context(), "a")
	if err != nil {
		m.t.Fatal(err)
	}
	waiting, held := int64(0), map[string]int64{}
	for _, p := range m.pending {
		if p.owner == "" {
			waiting++
		} else {
			held[p.owner]++
		}
	}
	s := info.Subscriptions[0]
	if int(s.Dead) != len(m.dead) || s.Paused != m.paused {
		m.t.Fatalf("%+v, want %d dead letters, paused %v", s, len(m.dead), m.paused)
	}
	if s.Waiting != waiting || s.Pending != int64(len(m.pending))-waiting || s.Lag != int64(len(m.ids)-m.delivered) {
		m.t.Fatalf("%+v, want %d pending, %d of them waiting", s, len(m.pending), waiting)
	}
	for _, c := range s.Consumers {
		if c.Pending != held[c.Name] {
			m.t.Fatalf("%s holds %d, want %d", c.Name, c.Pending, held[c.Name])
		}
	}
}

// keeps returns the first id that a trim must keep.
func (m *modelSub) keeps() string {
	first := ""
	if m.delivered < len(m.ids) {
		first = m.ids[m.delivered]
	}
	for _, p := range m.sorted(byID) {
		if !p.copied {
			return cmp.Or(min(first, p.id), p.id)
		}
	}
	return first
}

// TestLikeModel has a subscription and its model do the same at random, and
// reopens the directory now and then.
func TestLikeModel(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			likeModel(t, rand.New(rand.NewPCG(seed, 1)))
		})
	}
}

func likeModel(t *testing.T, random *rand.Rand) {
	t.Helper()
	m := &modelSub{t: t, clock: newClock(), lease: time.Second, pending: map[string]*modelPending{}}
	set := settings{fs: vfs.NewMem(), reserve: 1, now: m.clock.now}
	e := mustOpen(t, "db", set)
	join(t, e, "a", "s", driver.JoinConfig{Lease: m.lease})
	for range 200 {
		// Two calls never set the same deadline.
		m.clock.at = m.clock.at.Add(time.Duration(1+random.IntN(100)) * time.Millisecond)
		switch random.IntN(24) {
		case 20, 21, 22, 23:
			m.steer(e, random)
		case 0:
			shut(t, e)
			e = mustOpen(t, "db", set)
		case 1, 2, 3:
			m.ids = append(m.ids, publish(t, e, "a", bodies(0, 1+random.IntN(20))...)...)
		case 4:
			m.trim(e)
		case 5, 6, 7, 8, 9:
			m.tryFetch(e, driver.FetchRequest{
				Consumer: []string{"c", "d"}[random.IntN(2)], Max: 1 + random.IntN(15), Recover: random.IntN(10) == 0,
			})
		default:
			m.trySettle(e, random)
		}
		m.check(e)
	}
	shut(t, e)
}

func (m *modelSub) trim(e *engine) {
	m.t.Helper()
	if _, err := e.Trim(m.t.Context(), "a", driver.Position{Kind: driver.End}); err != nil {
		m.t.Fatal(err)
	}
	if info, err := e.Topic(m.t.Context(), "a"); err != nil || info.FirstID != m.keeps() {
		m.t.Fatalf("the trimmed topic begins with %q, want %q, %v", info.FirstID, m.keeps(), err)
	}
	m.trimmed = len(m.ids)
	if i := slices.Index(m.ids, m.keeps()); i >= 0 {
		m.trimmed = i
	}
}

func (m *modelSub) tryFetch(e *engine, req driver.FetchRequest) {
	m.t.Helper()
	got, err := e.Fetch(m.t.Context(), "a", "s", req)
	if err != nil {
		m.t.Fatal(err)
	}
	want := m.fetch(req)
	if !slices.EqualFunc(got.Messages, want, func(g driver.Message, w modelPending) bool {
		return g.ID == w.id && g.Attempt == w.attempt && g.Body != nil
	}) {
		m.t.Fatalf("fetch %+v: got %v, want %+v", req, got.Messages, want)
	}
}

// trySettle settles at random some of what is pending, and of what is not.
func (m *modelSub) trySettle(e *engine, random *rand.Rand) {
	m.t.Helper()
	consumer := []string{"c", "d"}[random.IntN(2)]
	for _, id := range m.ids[max(0, m.delivered-30):] {
		if random.IntN(3) > 0 {
			continue
		}
		m.clock.at = m.clock.at.Add(time.Millisecond)
		s := driver.Settlement{ID: id, Do: driver.Acknowledge, After: time.Duration(random.IntN(500)) * time.Millisecond}
		if random.IntN(3) == 0 {
			s.Do = driver.Action(1 + random.IntN(5))
		}
		notHeld := settle(m.t, e, "a", "s", consumer, s)
		if held := m.settle(consumer, s); held != (len(notHeld) == 0) {
			m.t.Fatalf("%+v by %s: not held %v, want held %v", s, consumer, notHeld, held)
		}
	}
}
