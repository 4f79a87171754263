package torture

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// place is what a fault strikes. Of the faults at a time, no two strike one place.
type place string

const (
	engine    place = "engine"
	link      place = "link"
	processes place = "process"
)

// fault is a kind of fault. It is injected by do, which returns how it is healed.
type fault struct {
	name  string
	place place
	harm  Harm
	// live says that the engine must work for it, as for what is done by a command.
	live bool
	// hold is for how long it lasts at least, and up to double that.
	hold time.Duration
	do   func(r *run) (target string, heal func())
}

// nemesis injects faults, as the seed says.
type nemesis struct {
	*run
	chance  *rand.Rand
	faults  []fault
	refills int
	queue   []fault // those that are to come before any comes again
}

// torment injects one fault, or two together, and heals them.
func (n *nemesis) torment() {
	chosen := []fault{n.next(nil)}
	if n.chance.IntN(3) == 0 {
		chosen = append(chosen, n.next(&chosen[0]))
	}
	var heal []func()
	var hold time.Duration
	// What needs a living engine goes first.
	slices.SortStableFunc(chosen, func(a, b fault) int {
		switch {
		case a.live == b.live:
			return 0
		case a.live:
			return -1
		}
		return 1
	})
	for _, f := range chosen {
		if f.do == nil {
			continue
		}
		heal = append(heal, n.inject(f))
		if f.hold > 0 {
			hold = max(hold, f.hold+time.Duration(n.chance.Int64N(int64(f.hold))))
		}
	}
	time.Sleep(hold)
	for _, h := range slices.Backward(heal) {
		h()
	}
}

// inject writes down a fault before it begins, and once it is over.
func (n *nemesis) inject(f fault) (heal func()) {
	target := f.name
	if f.place == processes {
		target = n.pick(f)
		n.target = target
	}
	n.write(Event{Kind: Fault, Name: f.name, Target: target, Harm: f.harm})
	said, undo := f.do(n.run)
	n.t.Logf("%6.1f s: %s %s", time.Since(n.begun).Seconds(), f.name, said)
	return func() {
		if undo != nil {
			undo()
		}
		n.write(Event{Kind: Healed, Name: f.name, Target: target})
	}
}

// pick chooses a process for a fault, by the first word of its kind in the name.
func (n *nemesis) pick(f fault) string {
	_, kind, _ := strings.Cut(f.name, " ")
	var names []string
	for _, w := range n.workers {
		if strings.HasPrefix(w.Process, kind) && w.process.running() {
			names = append(names, w.Process)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return names[n.chance.IntN(len(names))]
}

// next is the next fault: all come once, by chance, before any comes twice. With
// another one at the same time it is of another place.
func (n *nemesis) next(with *fault) fault {
	for range 2 {
		for i, f := range n.queue {
			if with == nil || f.place != with.place && !(f.live && with.harm == Cuts) && !(with.live && f.harm == Cuts) {
				n.queue = slices.Delete(n.queue, i, i+1)
				return f
			}
		}
		if with != nil {
			return fault{}
		}
		n.refill()
	}
	return fault{}
}

// refill has all faults come again, but those that destroy messages only every other
// time: what is destroyed says little of what is kept.
func (n *nemesis) refill() {
	n.queue = slices.DeleteFunc(slices.Clone(n.faults), func(f fault) bool { return f.harm == Destroys && n.refills%2 == 1 })
	n.refills++
	n.chance.Shuffle(len(n.queue), func(i, j int) { n.queue[i], n.queue[j] = n.queue[j], n.queue[i] })
}

// processFaults kill processes and have them stand still for longer than a lease.
func processFaults() (all []fault) {
	for _, kind := range []string{"publisher", "follower", "consumer"} {
		all = append(all, fault{
			name: "kill " + kind, place: processes, harm: Kills, hold: 300 * time.Millisecond,
			do: func(r *run) (string, func()) {
				w := r.worker(r.target)
				w.process.kill()
				return w.Process, func() { r.restart(w) }
			},
		})
	}
	for _, kind := range []string{"consumer", "follower"} {
		all = append(all, fault{
			name: "stop " + kind, place: processes, harm: Stops, hold: lease * 3 / 2,
			do: func(r *run) (string, func()) {
				w := r.worker(r.target)
				w.process.stop()
				return w.Process, w.process.proceed
			},
		})
	}
	return all
}

// linkFaults are those of the proxies between the processes and the engine.
func linkFaults(proxies ...*Proxy) (all []fault) {
	for name, l := range map[string]Link{"cut": Closed, "partition": Silent, "half-open": HalfOpen, "slow": Slow} {
		all = append(all, fault{
			name: name + " link", place: link, harm: Cuts, hold: 1500 * time.Millisecond,
			do: func(r *run) (string, func()) {
				which := r.chance.IntN(len(proxies) + 1)
				chosen := proxies
				if which < len(proxies) {
					chosen = proxies[which : which+1]
				}
				for _, p := range chosen {
					p.Set(l)
				}
				return fmt.Sprintf("of %d", len(chosen)), func() {
					for _, p := range chosen {
						p.Set(Open)
					}
				}
			},
		})
	}
	slices.SortFunc(all, func(a, b fault) int { return strings.Compare(a.name, b.name) })
	return all
}
