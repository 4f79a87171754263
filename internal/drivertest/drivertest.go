package drivertest

import (
	"context"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// Harness is what the suite must know about an engine.
type Harness struct {
	// Open returns a fresh, empty engine, which the suite closes.
	Open func(t testing.TB) driver.Engine

	// Reopen closes an engine and opens it again on the same data. Nil if the
	// engine can't.
	Reopen func(t testing.TB, e driver.Engine) driver.Engine

	// Crash ends an engine as kill -9 would, without Close, and opens it again
	// on the same data. Nil if it can't.
	Crash func(t testing.TB, e driver.Engine) driver.Engine

	// Remove takes messages out of a topic behind the engine's back, as a
	// foreign client may. Nil if nobody can.
	Remove func(t testing.TB, e driver.Engine, topic string, ids ...string)

	// Advance moves the engine's clock forward, so that histories may let
	// leases end. Nil if the clock is the real one.
	Advance func(e driver.Engine, d time.Duration)

	// Durability says which levels of durability the engine gives. The cases of those
	// that are left out are skipped.
	Durability Durabilities

	// Skip names cases that an engine can't keep, as group/name, and why.
	Skip map[string]string

	// Patience is how long the suite waits for what must come in the end.
	// Defaults to 30 seconds.
	Patience time.Duration

	histories int // how many random ones; 0 for a dozen
}

// Case is one promise and the test of it.
type Case struct {
	Group, Name string
	// Promise is what the engine promises, as one line of docs/conformance.md.
	Promise string

	needs need
	alone bool // not side by side with other cases
	run   func(t *T)
}

// need is what a harness must offer for a case.
type need int

const (
	needReopen need = iota + 1
	needCrash
	needRemove
	needGiven
	needMissed
	needNever
)

// Run tests an engine against the whole suite: first the cases that need to be
// alone, then all others side by side, so that those that wait hold up nobody.
func Run(t *testing.T, h Harness) {
	for _, group := range groups() {
		t.Run(group.name, func(t *testing.T) {
			group.run(t, h, func(c Case) bool { return c.alone })
			t.Parallel()
			group.run(t, h, func(c Case) bool { return !c.alone })
		})
	}
}

func (g group) run(t *testing.T, h Harness, chosen func(Case) bool) {
	for _, c := range g.cases {
		if !chosen(c) {
			continue
		}
		c.Group = g.name
		t.Run(c.Name, func(t *testing.T) {
			if reason := c.skipped(h); reason != "" {
				t.Skip(reason)
			}
			if !c.alone {
				t.Parallel()
			}
			c.test(t, h)
		})
	}
}

// Cases lists the whole suite, in the order of docs/conformance.md.
func Cases() []Case {
	var list []Case
	for _, group := range groups() {
		for _, c := range group.cases {
			c.Group = group.name
			list = append(list, c)
		}
	}
	return list
}

type group struct {
	name  string
	cases []Case
}

func groups() []group {
	return []group{
		{"append", appendCases()},
		{"read", readCases()},
		{"watch", watchCases()},
		{"join", joinCases()},
		{"fetch", fetchCases()},
		{"lease", leaseCases()},
		{"settle", settleCases()},
		{"inspect", inspectCases()},
		{"remove", removeCases()},
		{"restart", restartCases()},
		{"calls", callCases()},
		{"queue", queueCases()},
		{"bounds", boundsCases()},
		{"delay", delayCases()},
		{"dedupe", dedupeCases()},
		{"durability", durabilityCases()},
		{"dead letters", deadCases()},
		{"seek", seekCases()},
		{"pause", pauseCases()},
		{"purge", purgeCases()},
		{"look", outstandingCases()},
		{"schedules", scheduleCases()},
		{"broadcast", liveCases()},
		{"request", requestCases()},
		{"histories", historyCases()},
		{"bus publish", busPublishCases()},
		{"bus durability", busDurabilityCases()},
		{"bus follow", busFollowCases()},
		{"bus subscribe", busSubscribeCases()},
		{"bus pull", busPullCases()},
		{"bus queue", busQueueCases()},
		{"bus steer", busSteerCases()},
		{"bus confirm", busConfirmCases()},
		{"bus live", busLiveCases()},
	}
}

func (c Case) skipped(h Harness) string {
	if reason := h.Skip[c.Group+"/"+c.Name]; reason != "" {
		return reason
	}
	switch {
	case c.needs == needReopen && h.Reopen == nil:
		return "this engine can't be opened again on the same data"
	case c.needs == needCrash && h.Crash == nil:
		return "this engine can't be made to crash"
	case c.needs == needRemove && h.Remove == nil:
		return "nobody else can remove messages from this engine"
	case c.needs == needGiven && len(h.Durability.Gives) == 0:
		return "nothing is known of a durability beyond written that this engine gives"
	case c.needs == needMissed && h.Durability.Misses == nil:
		return "nothing is known of a durability that this engine takes and doesn't reach"
	case c.needs == needNever && h.Durability.Never == nil:
		return "nothing is known of a durability that this engine refuses"
	}
	return ""
}

// test runs the case on a fresh engine.
func (c Case) test(tb testing.TB, h Harness) {
	t := &T{TB: tb, h: h, patience: h.Patience}
	if t.patience == 0 {
		t.patience = 30 * time.Second
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the promise that was broken: %s", c.Promise)
		}
	})
	t.engine = h.Open(tb)
	tb.Cleanup(func() {
		if t.engine != nil {
			t.close()
		}
	})
	c.run(t)
}

// close ends the engine; it must not fail and not hang.
func (t *T) close() {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), t.patience)
	defer cancel()
	if err := t.engine.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
	t.engine = nil
}
