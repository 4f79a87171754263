package torture

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/redistest"
)

// stored are the arguments of servers that have others to fall back on.
var stored = []string{"--appendonly", "yes", "--appendfsync", "everysec"}

// sentinels are a primary, a replica and three sentinels. There is no proxy before
// them: they tell their clients where the primary is.
func sentinels(t *testing.T, _ bool) deployment {
	g := redistest.Sentinel(t, stored...)
	d := deployment{name: "sentinel", at: []string{g.URL()}, direct: g.URL(), heal: g.Settle}
	owner := func(string) *redistest.Server { return g.Primary() }
	d.faults = slices.Concat(dataFaults(owner, g.Data...), []fault{
		{name: "failover on command", place: engine, harm: Fails, live: true, do: func(r *run) (string, func()) {
			old := g.Primary()
			sentinel := g.Sentinels[0]
			host, port, _ := strings.Cut(sentinel.Addr(), ":")
			// A failover that finds a machine with too much to do is given up, and asked
			// for again; one that is under way already is an error.
			for begin := time.Now(); !isNext(sentinel, old); time.Sleep(100 * time.Millisecond) {
				_ = exec.Command("redis-cli", "-h", host, "-p", port, "SENTINEL", "FAILOVER", redistest.MasterName).Run()
				if time.Since(begin) > endTime {
					r.t.Fatal("no failover on command")
				}
			}
			return "", g.Settle
		}},
		{name: "crash of the primary", place: engine, harm: Fails, live: true, hold: time.Second, do: func(*run) (string, func()) {
			_, old := g.Crash()
			return "", func() {
				old.Restart()
				g.Settle()
			}
		}},
		{name: "primary stands still and comes back", place: engine, harm: Fails, live: true, hold: time.Second, do: func(r *run) (string, func()) {
			old := g.Primary()
			old.Pause()
			awaitNext(r.t, g, old)
			return "", func() {
				old.Continue()
				g.Settle()
			}
		}},
		{name: "cut clients", place: link, harm: Cuts, live: true, do: func(*run) (string, func()) {
			g.Primary().Do("CLIENT", "KILL", "TYPE", "normal")
			return "", nil
		}},
		replicaFault("stop a replica", func(*run) *redistest.Server { return g.Replicas()[0] }, (*redistest.Server).Pause, (*redistest.Server).Continue, g.Settle),
		replicaFault("kill a replica", func(*run) *redistest.Server { return g.Replicas()[0] }, (*redistest.Server).Kill, (*redistest.Server).Restart, g.Settle),
		replicaFault("kill a sentinel", func(r *run) *redistest.Server { return g.Sentinels[r.chance.IntN(len(g.Sentinels))] },
			(*redistest.Server).Kill, (*redistest.Server).Restart, g.Settle),
	})
	return d
}

// awaitNext waits until the sentinels name another primary.
func awaitNext(t *testing.T, g *redistest.SentinelGroup, old *redistest.Server) {
	for begin := time.Now(); time.Since(begin) < endTime; time.Sleep(50 * time.Millisecond) {
		if isNext(g.Sentinels[0], old) {
			return
		}
	}
	t.Fatal("no other primary was chosen")
}

// isNext reports whether a sentinel names another primary than the old one.
func isNext(sentinel, old *redistest.Server) bool {
	_, port, _ := strings.Cut(old.Addr(), ":")
	return !strings.HasSuffix(sentinel.Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", redistest.MasterName), "\n"+port)
}

// replicaFault strikes a server without which the others can do, for a while.
func replicaFault(name string, pick func(*run) *redistest.Server, do, undo func(*redistest.Server), settle func()) fault {
	return fault{name: name, place: engine, harm: Cuts, live: true, hold: 1500 * time.Millisecond, do: func(r *run) (string, func()) {
		s := pick(r)
		do(s)
		return "", func() {
			undo(s)
			settle()
		}
	}}
}

// cluster is three primaries with a replica each.
func cluster(t *testing.T, _ bool) deployment {
	c := redistest.Cluster(t, 3, 1, stored...)
	d := deployment{name: "cluster", at: []string{c.URL()}, direct: c.URL(), heal: c.Settle}
	// One that has topics: the others do little harm.
	primary := func(r *run) *redistest.Server {
		all := slices.Concat(topics, queues)
		return c.Owner(prefix + all[r.chance.IntN(len(all))])
	}
	replica := func(r *run) *redistest.Server { return c.ReplicasOf(primary(r))[0] }
	d.faults = slices.Concat(dataFaults(c.Owner, c.Nodes()...), []fault{
		{name: "failover on command", place: engine, harm: Fails, live: true, do: func(r *run) (string, func()) {
			c.Failover(primary(r))
			return "", c.Settle
		}},
		{name: "crash of a primary", place: engine, harm: Fails, live: true, hold: time.Second, do: func(r *run) (string, func()) {
			old := primary(r)
			c.Crash(old)
			return "", func() {
				old.Restart()
				c.Settle()
			}
		}},
		{name: "primary stands still and comes back", place: engine, harm: Fails, live: true, hold: 4 * time.Second, do: func(r *run) (string, func()) {
			old := primary(r)
			old.Pause()
			return "", func() {
				old.Continue()
				c.Settle()
			}
		}},
		{name: "reshard", place: engine, harm: Moves, live: true, do: func(r *run) (string, func()) {
			// The slots of two topics, and some others.
			n := 0
			for _, topic := range []string{topics[r.chance.IntN(len(topics))], queues[r.chance.IntN(len(queues))]} {
				c.Settle() // all nodes know who has which slot
				from := c.Owner(prefix + topic)
				others := slices.DeleteFunc(c.Primaries(), func(s *redistest.Server) bool { return s == from })
				to := others[r.chance.IntN(len(others))]
				slots := []int{c.Slot(prefix + topic)}
				for _, slot := range c.SlotsOf(from)[:20] {
					if slot != slots[0] {
						slots = append(slots, slot)
					}
				}
				c.MoveSlots(from, to, slots...)
				n += len(slots)
			}
			return fmt.Sprintf("%d slots", n), c.Settle
		}},
		{name: "cut clients", place: link, harm: Cuts, live: true, do: func(r *run) (string, func()) {
			primary(r).Do("CLIENT", "KILL", "TYPE", "normal")
			return "", nil
		}},
		replicaFault("stop a replica", replica, (*redistest.Server).Pause, (*redistest.Server).Continue, c.Settle),
		replicaFault("kill a replica", replica, (*redistest.Server).Kill, (*redistest.Server).Restart, c.Settle),
	})
	return d
}
