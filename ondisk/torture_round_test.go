package ondisk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/beckmq/beck/internal/driver"
)

// round has everybody work on a directory.
type round struct {
	*world
	files *vfs.MemFS
	all   sync.WaitGroup
	done  chan struct{}
	// over says that cuts tell nothing any more.
	cutting sync.RWMutex
	over    bool
	// refused are the errors that callers got.
	errs    sync.Mutex
	refused []error
}

// start opens what there is, and a copy of it as the twin, and lets everybody in.
func (w *world) start(files *vfs.MemFS, faults errorfs.Injector) *round {
	w.t.Helper()
	r := &round{world: w, files: files, done: make(chan struct{})}
	set := settings{fs: cloneAfterCrash(files, "all", 0), reserve: 1, now: w.behind.now, sweep: time.Hour, memory: 1 << 20}
	w.twin = mustOpen(w.t, "db", set)
	for _, c := range w.clients {
		if err := moveWhole(context.Background(), w.twin, c.topic); err != nil {
			w.t.Fatal(err)
		}
		if err := c.begin(w.twin); err != nil {
			w.t.Fatal(err)
		}
	}
	set.fs, set.now, set.memory = &watchedFS{FS: files, onSync: r.onSync, plant: w.plant}, w.clock.now, 128<<10
	if faults != nil {
		set.fs = errorfs.Wrap(set.fs, faults)
	}
	w.real = mustOpen(w.t, "db", set)
	for _, s := range w.shared {
		join(w.t, w.real, s.topic, s.sub, driver.JoinConfig{Lease: 30 * time.Second, Queue: s.queue})
	}
	return r
}

// onSync has every sync be a moment at which the machine may crash. Each leaves one
// sort of leftovers, or if there is time, those of other files than the log leave
// all.
func (r *round) onSync(path string, dir bool) {
	r.cutting.RLock()
	defer r.cutting.RUnlock()
	if r.over {
		return // an engine that could not be closed in time may go on a while
	}
	w := r.world
	kind := fileKind(path, dir)
	w.mu.Lock()
	w.seen++
	n := w.seen
	w.syncs[kind]++
	w.mu.Unlock()
	if n%w.sparing > 0 {
		return
	}
	lefts := slices.Sorted(maps.Keys(leftovers))
	if !w.thorough || kind == "log" {
		lefts = lefts[n%3 : n%3+1]
	}
	if kind == "log" {
		// Whoever is answered before the sync is done gets to know it now.
		time.Sleep(time.Millisecond)
	}
	for i, left := range lefts {
		if w.failed() {
			return
		}
		seed := w.seed<<20 + uint64(3*n+i)
		c := w.cutOff(r.files, fmt.Sprintf("seed %d, sync %d, of %s", w.seed, n, path), left, seed)
		c.drain = (n+i)%w.every == 0
		w.cuts <- c
	}
}

// work lets everybody do something until the round is over.
func (r *round) work() {
	for _, c := range r.clients {
		r.repeat(c.topic, func(int) error {
			refused, wrong := c.step(r.twin, r.real)
			if wrong != nil {
				return fmt.Errorf("%w: %w", errWrong, wrong)
			}
			return refused
		})
	}
	for _, s := range r.shared {
		for p := range 2 {
			who := fmt.Sprintf("%d.%d", r.syncsSeen(), p)
			random, other := rand.New(rand.NewPCG(r.random.Uint64(), 1)), rand.New(rand.NewPCG(r.random.Uint64(), 2))
			r.repeat(s.topic, func(n int) error { return s.publish(r.real, who, n, random) })
			r.repeat(s.topic, func(int) error { return s.consume(r.real, who, other) })
		}
	}
	random := rand.New(rand.NewPCG(r.random.Uint64(), 3))
	r.repeat("time", func(int) error { return r.passTime(time.Duration(random.IntN(3000)) * time.Millisecond) })
}

func (w *world) syncsSeen() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

// repeat does something until the round is over or the engine refuses it.
func (r *round) repeat(what string, do func(n int) error) {
	r.all.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-r.done:
				return
			default:
			}
			time.Sleep(r.pace)
			if what == "time" {
				time.Sleep(2 * time.Millisecond)
			}
			err := r.once(what == "time", n, do)
			if err == nil {
				continue
			}
			if errors.Is(err, errTimeStops) {
				return
			}
			if errors.Is(err, errWrong) || !isRefusal(err) {
				r.found(fmt.Sprintf("seed %d: %s", r.seed, what), err)
			}
			r.errs.Lock()
			r.refused = append(r.refused, err)
			r.errs.Unlock()
			return
		}
	})
}

// once does it while time stands still, or alone.
func (r *round) once(alone bool, n int, do func(n int) error) error {
	if alone {
		r.gate.Lock()
		defer r.gate.Unlock()
	} else {
		r.gate.RLock()
		defer r.gate.RUnlock()
	}
	return do(n)
}

var errTimeStops = errors.New("time stops")

// passTime has time pass, on the twin first, and what is due enter its topic.
func (r *round) passTime(d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), opTime)
	defer cancel()
	for _, c := range r.clients {
		// A call that came to nothing certain must stay the last one.
		if c.invoked.Load() != c.completed.Load() || r.real.failed() != nil {
			return errTimeStops
		}
	}
	r.behind.forward(d)
	for _, c := range r.clients {
		if err := moveWhole(ctx, r.twin, c.topic); err != nil {
			return fmt.Errorf("%w: the twin: %w", errWrong, err)
		}
		if err := c.expect(ctx, r.twin, "time passed"); err != nil {
			return fmt.Errorf("%w: the twin: %w", errWrong, err)
		}
		c.invoked.Add(1)
	}
	r.clock.forward(d)
	for _, c := range r.clients {
		if err := moveWhole(ctx, r.real, c.topic); err != nil {
			return err
		}
		c.completed.Add(1)
	}
	return nil
}

// moveWhole is moveAll for those who go on after an error.
func moveWhole(ctx context.Context, e *engine, topic string) error {
	for range 100 {
		t := e.find(topic)
		if t == nil {
			return nil
		}
		if due := t.nextDue.Load(); due == 0 || due > e.now().UnixMilli() {
			return nil
		}
		if err := e.move(ctx, topic); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: delayed messages of %s never enter", errWrong, topic)
}

// crash ends the round in the midst of its work, and returns what that leaves.
func (r *round) crash(left string) *vfs.MemFS {
	// From now on nothing is answered as done; all that was has been synced.
	r.real.fail(errCrashed)
	c := r.cutOff(r.files, fmt.Sprintf("seed %d, end of a round", r.seed), left, r.random.Uint64())
	close(r.done)
	r.all.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), opTime)
	defer cancel()
	_ = r.real.Close(ctx)
	r.cutting.Lock()
	r.over = true
	r.cutting.Unlock()
	shut(r.t, r.twin)
	next := cloneAfterCrash(c.files, "all", 0)
	c.drain = true
	r.cuts <- c
	// The twin begins anew where the engine does.
	r.behind.millis.Store(r.clock.millis.Load())
	return next
}

// runFor waits until there were so many syncs more, or something is wrong.
func (r *round) runFor(syncs int) {
	last, since := r.syncsSeen(), time.Now()
	for end := last + syncs; last < end && !r.failed(); time.Sleep(time.Millisecond) {
		if now := r.syncsSeen(); now > last {
			last, since = now, time.Now()
		} else if time.Since(since) > 2*opTime {
			r.found(fmt.Sprintf("seed %d", r.seed), errors.New("stuck: there are no syncs any more"))
			return
		}
	}
}
