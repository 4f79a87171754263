package drivertest

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/drivertest/model"
)

func historyCases() []Case {
	return []Case{
		{Name: "random", Promise: "random operations, with restarts where the engine can, are answered as the reference model answers them", run: randomHistories},
		{Name: "concurrent", Promise: "publishers, followers and consumers at once, some of whom crash: nothing lost, nothing invented, in order, no duplicate without cause, nothing stuck", run: concurrentHistory},
	}
}

// history is one run of random operations on an engine and on the model.
type history struct {
	*T
	model   *model.Engine
	random  *rand.Rand
	ahead   time.Duration       // by which clocks were advanced
	toModel map[string]string   // topic and id of the engine → id of the model
	toReal  map[string]string   // topic and id of the model → id of the engine
	given   map[string][]string // topic → the engine's ids, also those gone
	former  map[string]int      // topic → how many of given were deleted with a former topic
	late    map[string][]string // topic → the engine's ids of delayed messages
	bound   map[string]int64    // topic → how many messages it may have
	log     []string
}

// Few names, so that operations meet.
var (
	historyTopics        = []string{"t0", "t1", historyQueue}
	historySubscriptions = []string{"s0", "s1"}
	historyConsumers     = []string{"c0", "c1", "c2"}
)

func randomHistories(t *T) {
	seed, count, steps := uint64(time.Now().UnixNano()), cmp.Or(t.h.histories, 12), 200
	if s := os.Getenv("BECK_HISTORIES"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("BECK_HISTORIES is %q, want a number of histories", s)
		}
		count = n
	}
	if s := os.Getenv("BECK_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("BECK_SEED is %q, want a number that a failure has printed", s)
		}
		seed, count = n, 1
	}
	for i := range count {
		t.randomHistory(seed+uint64(i), steps)
	}
}

func (t *T) randomHistory(seed uint64, steps int) {
	h := &history{
		T:       &T{TB: t.TB, h: t.h, patience: t.patience, engine: t.h.Open(t.TB)},
		random:  rand.New(rand.NewPCG(seed, 0)),
		toModel: map[string]string{}, toReal: map[string]string{},
		given: map[string][]string{}, former: map[string]int{}, late: map[string][]string{}, bound: map[string]int64{},
	}
	h.model = model.New(func() time.Time { return time.Now().Add(h.ahead) })
	done := false
	defer func() {
		if !done {
			t.Logf("this history is made again by BECK_SEED=%d; it was:\n%s", seed, strings.Join(h.log, "\n"))
		}
		h.close()
	}()
	for range steps {
		h.step()
	}
	h.drain()
	done = true
}

// step does one operation, chosen by weight.
func (h *history) step() {
	steps := []struct {
		weight int
		do     func()
	}{
		{20, h.stepAppend}, {20, h.stepRead}, {8, h.stepJoin}, {25, h.stepFetch}, {25, h.stepSettle},
		{3, h.stepLeave}, {8, h.stepTrim}, {6, h.stepInspect}, {1, h.stepDeleteSubscription}, {1, h.stepDeleteTopic},
		{2, h.stepRestart}, {5, h.stepAdvance},
		{2, h.stepBound}, {5, h.stepDeadLetters}, {3, h.stepSeek}, {4, h.stepPause}, {1, h.stepPurge}, {3, h.stepDelay}, {6, h.stepLook},
	}
	total := 0
	for _, s := range steps {
		total += s.weight
	}
	n := h.random.IntN(total)
	for _, s := range steps {
		if n < s.weight {
			s.do()
			return
		}
		n -= s.weight
	}
}

// note writes one line of the history.
func (h *history) note(format string, args ...any) {
	h.log = append(h.log, fmt.Sprintf("%4d  ", len(h.log)+1)+fmt.Sprintf(format, args...))
}

func pick[E any](h *history, from []E) E { return from[h.random.IntN(len(from))] }

// lease doesn't end by itself while a history runs.
func (h *history) lease() time.Duration {
	if h.h.Advance == nil {
		return long
	}
	return time.Minute
}

// both makes a call on both engines, which must agree about how it ends. It
// returns whether it succeeded.
func (h *history) both(what string, call func(ctx context.Context, e driver.Engine) error) bool {
	h.Helper()
	ctx, cancel := h.ctx()
	defer cancel()
	got, want := call(ctx, h.engine), call(ctx, h.model)
	if kind(got) != kind(want) {
		h.Fatalf("%s: the engine returns %v, the model %v", what, got, want)
	}
	return want == nil
}

// modelID translates an id of the engine.
func (h *history) modelID(topic, id string) string {
	h.Helper()
	if id == "" {
		return ""
	}
	m, ok := h.toModel[topic+" "+id]
	if !ok {
		h.Fatalf("the engine shows the id %s in %s, which it never gave out there", id, topic)
	}
	return m
}

func (h *history) modelIDs(topic string, ids []string) []string {
	h.Helper()
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = h.modelID(topic, id)
	}
	return out
}

// position makes a random position, for the engine and for the model.
func (h *history) position(topic string, ids []string) (forEngine, forModel driver.Position) {
	switch n := h.random.IntN(10); {
	case n == 0:
		return end, end
	case n > 2 && len(ids) > 0:
		id := pick(h, ids)
		return at(id), at(h.modelID(topic, id))
	}
	return start, start
}

// stepRestart closes and opens the engine, or has it crash, if it can.
func (h *history) stepRestart() {
	again := h.h.Reopen
	if h.h.Crash != nil && (again == nil || h.random.IntN(2) == 0) {
		again = h.h.Crash
	}
	if again != nil {
		h.note("restart")
		h.engine = again(h.TB, h.engine)
	}
}

// stepAdvance moves both clocks, but not so that a lease ends just now.
func (h *history) stepAdvance() {
	if h.h.Advance == nil {
		return
	}
	d := time.Duration(1+h.random.IntN(40)) * time.Second
	h.ahead += d
	for h.model.EndsWithin(time.Second) {
		d += 3 * time.Second
		h.ahead += 3 * time.Second
	}
	h.note("advance %v", d)
	h.h.Advance(h.engine, d)
}
