package doctor

import (
	"context"
	"fmt"
	"net"
	"slices"

	"github.com/beckmq/beck/internal/redisaddr"
)

const clusterSlots = 16384

// shard is a range of slots, who has it, and that one's replicas.
type shard struct {
	from, to int64
	primary  string
	replicas []string
}

// fromCluster asks nodes for the map until one has it.
func (v *visit) fromCluster(ctx context.Context) ([]member, error) {
	var failed error
	for _, a := range v.addr.Each() {
		shards, known, err := askCluster(ctx, a)
		if err != nil {
			if failed == nil {
				failed = unreachable(a.Hosts[0], err)
			}
			v.report.add(a.Hosts[0], warn("cluster", "start it, or take it out of the address", "a node of the address can't tell of the cluster: %v", err))
			continue
		}
		return v.judgeCluster(shards, known)
	}
	return nil, failed
}

// askCluster asks a node for the map; known are the nodes that it knows, -1 if the
// user may not ask.
func askCluster(ctx context.Context, a *redisaddr.Address) (shards []shard, known int64, err error) {
	c, err := dial(ctx, a)
	if err != nil {
		return nil, 0, err
	}
	defer c.Close()
	reply, err := c.do(ctx, "CLUSTER", "SLOTS")
	if err != nil {
		return nil, 0, err
	}
	list, _ := reply.([]any)
	for _, r := range list {
		row, _ := r.([]any)
		if len(row) < 3 {
			return nil, 0, errNotRedis
		}
		s := shard{}
		s.from, _ = row[0].(int64)
		s.to, _ = row[1].(int64)
		for i, n := range row[2:] {
			hostPort := nodeOf(n, a)
			if i == 0 {
				s.primary = hostPort
			} else {
				s.replicas = append(s.replicas, hostPort)
			}
		}
		shards = append(shards, s)
	}
	known = -1
	if info, err := c.do(ctx, "CLUSTER", "INFO"); err == nil {
		known = number(lines(fmt.Sprint(info)), "cluster_known_nodes")
	}
	return shards, known, nil
}

// nodeOf reads a node of CLUSTER SLOTS. One that doesn't know its own host is the
// one that was asked.
func nodeOf(n any, asked *redisaddr.Address) string {
	f := strs(n)
	if len(f) < 2 {
		return asked.Hosts[0]
	}
	host := f[0]
	if host == "" || host == "<nil>" || host == "?" {
		host, _, _ = net.SplitHostPort(asked.Hosts[0])
	}
	return net.JoinHostPort(host, f[1])
}

func (v *visit) judgeCluster(shards []shard, known int64) ([]member, error) {
	const check = "cluster"
	var primaries, nodes []string
	covered := int64(0)
	add := func(list []string, node string) []string {
		if slices.Contains(list, node) {
			return list
		}
		return append(list, node)
	}
	for _, s := range shards {
		covered += s.to - s.from + 1
		primaries = add(primaries, s.primary)
	}
	nodes = slices.Clone(primaries)
	for _, s := range shards {
		for _, r := range s.replicas {
			nodes = add(nodes, r)
		}
	}
	if len(nodes) == 0 {
		nodes = v.addr.Hosts // no slot at all
	}
	well := true
	tell := func(f Finding) { well = false; v.report.add("", f) }
	if covered < clusterSlots {
		tell(danger(check, "redis-cli --cluster fix HOST:PORT, or bring the nodes back that have them",
			"%d of %d slots have no node: their topics can't be reached", clusterSlots-covered, clusterSlots))
	}
	if len(primaries) < 3 {
		tell(danger(check, "run three or more primaries, on machines of their own",
			"there are only %d primaries: when one goes, there is no majority for a failover", len(primaries)))
	}
	if known > int64(len(nodes)) {
		tell(warn(check, "redis-cli --cluster check HOST:PORT; CLUSTER FORGET those that are gone for good",
			"%d of %d nodes have no slots and are no replica, or have failed", known-int64(len(nodes)), known))
	}
	if well {
		v.report.add("", ok(check, "%d primaries have all slots", len(primaries)))
	}
	var members []member
	for _, n := range nodes {
		a, err := v.addr.With(n)
		if err != nil {
			return nil, err
		}
		members = append(members, member{addr: a})
	}
	return members, nil
}
