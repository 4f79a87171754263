package ondisk

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// world is an engine under test on a disk that is cut at every sync, those who
// use it, and those who look at what each cut left.
type world struct {
	t      *testing.T
	seed   uint64
	random *rand.Rand
	plant  *plant

	clients []*twinned
	shared  []*shared
	clock   *movingClock // of the engine under test
	behind  *movingClock // of the twin
	real    *engine
	twin    *engine
	// gate is held for reading during each call, so that time passes between them.
	gate sync.RWMutex

	cuts    chan cut
	judges  sync.WaitGroup
	syncs   map[string]int // by kind of file
	judged  atomic.Int64
	drained atomic.Int64
	every   int // one cut in so many is drained
	// thorough says that there is time.
	thorough bool
	// pace is how long everybody waits between two calls.
	pace time.Duration
	// sparing is at how many syncs there is one cut.
	sparing int

	mu    sync.Mutex
	wrong []string
	seen  int // syncs
}

// cut is what a crash left, and what was known then.
type cut struct {
	files   *vfs.MemFS
	what    string
	millis  int64
	clients []window
	states  [][]*topicState
	shared  []window
	drain   bool
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, seed: seed, random: rand.New(rand.NewPCG(seed, 11)), syncs: map[string]int{}, every: 8, sparing: 1,
		clock: newMovingClock(), behind: newMovingClock(), cuts: make(chan cut, 4),
	}
	w.clients = []*twinned{newTwinned("one", false, seed), newTwinned("tasks", true, seed), newTwinned("third", false, seed)}
	w.shared = []*shared{newShared("feed", false), newShared("work", true)}
	for range 2 {
		w.judges.Go(func() {
			for c := range w.cuts {
				w.judge(c)
			}
		})
	}
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		t.Logf("seed %d: %d syncs (%v), %d cuts judged, %d of them drained", seed, w.seen, w.syncs, w.judged.Load(), w.drained.Load())
	})
	return w
}

// end waits for all verdicts and returns what was wrong.
func (w *world) end() []string {
	close(w.cuts)
	w.judges.Wait()
	if w.plant != nil {
		w.plant.running.Wait()
	}
	return w.wrong
}

func (w *world) found(what string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = append(w.wrong, fmt.Sprintf("%s: %v", what, err))
}

func (w *world) failed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.wrong) > 0
}

// known is what has been answered, or asked for, by now.
func (w *world) known(asked bool) (clients, shared []int64) {
	for _, c := range w.clients {
		n := c.completed.Load()
		if asked {
			n = c.invoked.Load()
		}
		clients = append(clients, n)
	}
	for _, s := range w.shared {
		shared = append(shared, int64(s.now()))
	}
	return clients, shared
}

// cutOff takes what a crash leaves now.
func (w *world) cutOff(files *vfs.MemFS, what, left string, seed uint64) cut {
	c := cut{what: what + ", left " + left}
	from, sharedFrom := w.known(false)
	c.files = cloneAfterCrash(files, left, seed)
	c.millis = w.clock.millis.Load()
	to, sharedTo := w.known(true)
	for i := range from {
		c.clients = append(c.clients, window{from[i], to[i]})
		c.states = append(c.states, w.clients[i].statesUpTo(to[i]))
	}
	for i := range sharedFrom {
		c.shared = append(c.shared, window{sharedFrom[i], sharedTo[i]})
	}
	return c
}

// judge opens what a cut left and says what is wrong with it.
func (w *world) judge(c cut) {
	if w.failed() {
		return
	}
	if err := w.verdict(c); err != nil {
		w.found(c.what, err)
	}
	w.judged.Add(1)
}

func (w *world) verdict(c cut) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*opTime)
	defer cancel()
	clock := &movingClock{}
	clock.millis.Store(c.millis)
	e, err := openEngine("db", quiet(settings{fs: c.files, reserve: 1, now: clock.now, memory: 128 << 10, sweep: time.Hour}))
	if err != nil {
		return fmt.Errorf("lost or corrupted: it can't be opened: %w", err)
	}
	defer func() { err = errors.Join(err, e.Close(ctx)) }()
	if err := w.judgeAll(ctx, e, c); err != nil || !c.drain {
		return err
	}
	w.drained.Add(1)
	for _, s := range w.shared {
		if err := w.settleDown(ctx, e); err != nil {
			return fmt.Errorf("stuck: %w", err)
		}
		if err := s.drain(ctx, e, clock); err != nil {
			return err
		}
	}
	return auditAll(ctx, e)
}

func (w *world) judgeAll(ctx context.Context, e *engine, c cut) error {
	if err := w.settleDown(ctx, e); err != nil {
		return fmt.Errorf("stuck: %w", err)
	}
	for i, client := range w.clients {
		if err := client.check(ctx, e, c.states[i], c.clients[i]); err != nil {
			return err
		}
	}
	for i, s := range w.shared {
		if err := s.judge(ctx, e, c.shared[i]); err != nil {
			return err
		}
	}
	return auditAll(ctx, e)
}

// settleDown has enter what is due, so that nothing moves while it is looked at.
func (w *world) settleDown(ctx context.Context, e *engine) (err error) {
	for _, c := range w.clients {
		err = errors.Join(err, moveWhole(ctx, e, c.topic))
	}
	for _, s := range w.shared {
		err = errors.Join(err, moveWhole(ctx, e, s.topic))
	}
	return err
}

// auditAll is audit for those who go on after an error.
func auditAll(ctx context.Context, e *engine) error {
	err := e.submit(ctx, &request{alone: true, decide: func(*transaction) error {
		for name := range e.state.topics {
			t, err := e.topic(name)
			if err == nil {
				err = auditTopic(e, t)
			}
			if err != nil {
				return fmt.Errorf("topic %s: %w", name, err)
			}
		}
		return nil
	}})
	if err != nil {
		return fmt.Errorf("corrupted: the records don't agree: %w", err)
	}
	return nil
}
