package redistest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// slots is how many a cluster has.
const slots = 16384

// ClusterGroup is a Redis Cluster.
type ClusterGroup struct {
	t       testing.TB
	options Options

	mu    sync.Mutex
	nodes []*Server
	ids   map[*Server]string
}

// Cluster starts a cluster of primaries that share the slots evenly, each with some
// replicas, and waits until it works and the replicas are in sync. The arguments are
// those of its nodes; the time after which a node counts as failed is 1.5 seconds
// unless they say otherwise. All end with the test.
func Cluster(t testing.TB, primaries, replicasEach int, args ...string) *ClusterGroup {
	t.Helper()
	return ClusterWith(t, primaries, replicasEach, Options{Args: args})
}

// ClusterWith is Cluster with all there is to choose.
func ClusterWith(t testing.TB, primaries, replicasEach int, o Options) *ClusterGroup {
	t.Helper()
	needRedis(t)
	o.Args = append([]string{
		"--cluster-enabled", "yes", "--cluster-node-timeout", "1500",
		"--repl-ping-replica-period", "1",
	}, o.Args...)
	if o.TLS != nil {
		o.Args = append(o.Args, "--tls-cluster", "yes")
	}
	c := &ClusterGroup{t: t, options: o, ids: map[*Server]string{}}
	if err := c.start(primaries, replicasEach); err != nil {
		t.Fatal(ended(err, c.Nodes()))
	}
	return c
}

func (c *ClusterGroup) start(primaries, replicasEach int) error {
	options := make([]Options, primaries*(1+replicasEach))
	for i := range options {
		options[i] = c.options
	}
	nodes, err := launchAll(c.t, options)
	if err != nil {
		return err
	}
	for i, s := range nodes {
		if err := c.enter(s); err != nil {
			return err
		}
		if _, err := s.try("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1)); err != nil {
			return err
		}
	}
	for i, s := range nodes[:primaries] {
		from, to := i*slots/primaries, (i+1)*slots/primaries-1
		if _, err := s.try("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(from), strconv.Itoa(to)); err != nil {
			return err
		}
	}
	if err := c.acquaint(nodes); err != nil {
		return err
	}
	for i, s := range nodes[primaries:] {
		if err := c.replicate(s, nodes[i%primaries]); err != nil {
			return err
		}
	}
	return within(topologyTimeout, "the cluster works", c.settled)
}

// enter remembers a node under its id.
func (c *ClusterGroup) enter(s *Server) error {
	id, err := s.try("CLUSTER", "MYID")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes, c.ids[s] = append(c.nodes, s), id
	return err
}

// meetAgain is after what time a node that is not known is met again: on a busy
// machine a handshake may not end in time, and is then given up.
const meetAgain = 2 * time.Second

// acquaint has all nodes meet each other and waits until they have.
func (c *ClusterGroup) acquaint(nodes []*Server) error {
	met := time.Time{}
	return within(topologyTimeout, "all nodes know each other", func() error {
		var missing error
		again := time.Since(met) > meetAgain
		if again {
			met = time.Now()
		}
		for _, s := range nodes {
			seen, err := c.look(s)
			if err != nil {
				return err
			}
			for _, other := range nodes {
				if v, known := seen[c.ID(other)]; known && !v.failed {
					continue
				}
				missing = fmt.Errorf("%s does not know %s", s.Addr(), other.Addr())
				if !again {
					continue
				}
				if err := c.meet(s, other); err != nil {
					return err
				}
			}
		}
		return missing
	})
}

func (c *ClusterGroup) meet(s, other *Server) error {
	_, err := s.try("CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(other.port), strconv.Itoa(other.busPort))
	return err
}

func (c *ClusterGroup) replicate(replica, primary *Server) error {
	return within(topologyTimeout, "CLUSTER REPLICATE", func() error {
		_, err := replica.try("CLUSTER", "REPLICATE", c.ID(primary))
		return err
	})
}

// URL is the cluster's address as beck takes it, without user and password.
func (c *ClusterGroup) URL() string { return c.URLAs("", "") }

// URLAs is the cluster's address for a user. The options are written as
// "name=value".
func (c *ClusterGroup) URLAs(user, password string, options ...string) string {
	return address("redis+cluster", c.options.TLS, user, password, hosts(c.Nodes()), options)
}

// Nodes are all nodes, those that don't run included.
func (c *ClusterGroup) Nodes() []*Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.nodes)
}

// ID is a node's id.
func (c *ClusterGroup) ID(s *Server) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ids[s]
}

// running are the nodes that run.
func (c *ClusterGroup) running() []*Server {
	return slices.DeleteFunc(c.Nodes(), func(s *Server) bool { return !s.running() })
}

// view is how a node sees one of the nodes.
type view struct {
	node    *Server
	primary string // the id of the one it is a replica of, or ""
	failed  bool
	epoch   string
	ranges  [][2]int
}

// look returns how a node sees the cluster, by the ids of the nodes.
func (c *ClusterGroup) look(s *Server) (map[string]view, error) {
	lines, err := s.try("CLUSTER", "NODES")
	if err != nil {
		return nil, err
	}
	all := map[string]view{}
	for line := range strings.Lines(lines) {
		f := strings.Fields(line)
		if len(f) < 8 {
			return nil, fmt.Errorf("the line %q of CLUSTER NODES", line)
		}
		v := view{failed: strings.Contains(f[2], "fail"), primary: strings.TrimPrefix(f[3], "-"), epoch: f[6]}
		for _, n := range c.Nodes() {
			if c.ID(n) == f[0] {
				v.node = n
			}
		}
		for _, r := range f[8:] {
			from, to, isRange := strings.Cut(r, "-")
			if !isRange {
				to = from
			}
			a, err1 := strconv.Atoi(from)
			b, err2 := strconv.Atoi(to)
			if err1 == nil && err2 == nil { // else a slot that moves
				v.ranges = append(v.ranges, [2]int{a, b})
			}
		}
		all[f[0]] = v
	}
	return all, nil
}

// settled returns an error unless all nodes that run see the same working cluster
// and all replicas are in sync.
func (c *ClusterGroup) settled() error {
	agreed := ""
	running := c.running()
	for _, s := range running {
		info, err := s.try("CLUSTER", "INFO")
		if err != nil {
			return err
		}
		if state := field(info, "cluster_state"); state != "ok" {
			return fmt.Errorf("a node's cluster_state is %s", state)
		}
		seen, err := c.look(s)
		if err != nil {
			return err
		}
		owners := ""
		for _, n := range running {
			v, known := seen[c.ID(n)]
			if !known || v.failed {
				return errors.New("a node does not see another one")
			}
			owners += fmt.Sprint(v.primary, v.ranges, ";")
		}
		if agreed != "" && agreed != owners {
			return errors.New("two nodes see the slots differently")
		}
		agreed = owners
		if own := seen[c.ID(s)]; own.primary != "" {
			if primary := seen[own.primary].node; primary == nil || !primary.running() {
				return errors.New("a replica's primary is gone")
			} else if err := s.follows(primary); err != nil {
				return err
			}
		}
	}
	return nil
}

// Settle waits until all nodes that run see the same working cluster and all
// replicas are in sync.
func (c *ClusterGroup) Settle() {
	c.t.Helper()
	if err := within(topologyTimeout, "the cluster works", c.settled); err != nil {
		c.t.Fatal(err)
	}
}

// Primaries are the nodes that have slots and run, as the first node that runs sees
// them.
func (c *ClusterGroup) Primaries() []*Server {
	c.t.Helper()
	var all []*Server
	seen := c.mustLook()
	for _, s := range c.running() {
		if v := seen[c.ID(s)]; v.primary == "" && len(v.ranges) > 0 && !v.failed {
			all = append(all, s)
		}
	}
	return all
}

// ReplicasOf are the replicas of a node that run.
func (c *ClusterGroup) ReplicasOf(primary *Server) []*Server {
	c.t.Helper()
	var all []*Server
	seen := c.mustLook()
	for _, s := range c.running() {
		if seen[c.ID(s)].primary == c.ID(primary) {
			all = append(all, s)
		}
	}
	return all
}

func (c *ClusterGroup) mustLook() map[string]view {
	c.t.Helper()
	running := c.running()
	if len(running) == 0 {
		c.t.Fatal("no node of the cluster runs")
	}
	seen, err := c.look(running[0])
	if err != nil {
		c.t.Fatal(err)
	}
	return seen
}
