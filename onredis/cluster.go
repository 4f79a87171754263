package onredis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck/internal/driver"
)

const (
	// The map of a cluster is read about every mapInterval, and when a node can't be
	// reached or sends calls elsewhere, but not more often than every minMapPause.
	mapInterval = 5 * time.Second
	minMapPause = 100 * time.Millisecond
	// mapTimeout bounds how long one node may take to tell the map.
	mapTimeout = time.Second
)

// cluster is which node of a Redis Cluster has which slot, as last heard.
type cluster struct {
	seeds    []string
	log      *slog.Logger
	ask      func(ctx context.Context, node string) (rueidis.RedisMessage, error) // for its map
	hint     string                                                               // why a node may be silent
	onChange func(slots func(slot uint16) bool)
	onLost   func(node string) // a replica has taken its place
	wake     chan struct{}

	mu       sync.RWMutex
	owners   [slotCount]string
	replicas map[string]string // replica → its primary
	eras     [slotCount]uint32 // counts the failovers of each slot
	replaced map[string]bool   // primaries whose replicas took their place, to be told of
	avoid    string            // the node that can't be reached, or is down
}

// shard is one line of the map.
type shard struct {
	first, last int64
	primary     string
	replicas    []string
}

func newCluster(seeds []string, log *slog.Logger) *cluster {
	return &cluster{seeds: seeds, log: log, wake: make(chan struct{}, 1), replicas: map[string]string{}, replaced: map[string]bool{}}
}

// owner is the node that has a slot, empty if none does.
func (c *cluster) owner(slot uint16) string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.owners[slot]
}

func (c *cluster) era(slot uint16) uint32 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.eras[slot]
}

// newEra is for a node that may have lost what it had.
func (c *cluster) newEra(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for slot, owner := range c.owners {
		if owner == node {
			c.eras[slot]++
		}
	}
}

func (c *cluster) primaries() []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var list []string
	seen := map[string]bool{"": true}
	for _, node := range c.owners {
		if !seen[node] {
			seen[node] = true
			list = append(list, node)
		}
	}
	return list
}

// moved takes over what a node said of one slot, until the map is read.
func (c *cluster) moved(slot uint16, node string) (changed bool) {
	c.mu.Lock()
	changed = c.give(slot, node)
	c.mu.Unlock()
	c.tellReplaced()
	c.wakeUp()
	return changed
}

// tellReplaced tells of primaries that were replaced since it last did.
func (c *cluster) tellReplaced() {
	c.mu.Lock()
	var list []string
	for node := range c.replaced {
		list = append(list, node)
		delete(c.replaced, node)
	}
	c.mu.Unlock()
	for _, node := range list {
		if c.onLost != nil {
			c.onLost(node)
		}
	}
}

// give notes a new owner. If that was a replica of the one before it may lack
// messages; one that is moved to in peace has them all.
func (c *cluster) give(slot uint16, node string) (changed bool) {
	before := c.owners[slot]
	if before == node {
		return false
	}
	if before != "" && c.replicas[node] == before {
		c.eras[slot]++
		c.replaced[before] = true
	}
	c.owners[slot] = node
	return true
}

// changed has those hinted at who watch topics of a slot.
func (c *cluster) changed(slot uint16) {
	c.onChange(func(s uint16) bool { return s == slot })
}

// trouble has the map read soon, from other nodes than this one if there are.
func (c *cluster) trouble(node string) {
	c.mu.Lock()
	c.avoid = node
	c.mu.Unlock()
	c.wakeUp()
}

func (c *cluster) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// look sees whether the answers of a node give cause to read the map.
func (c *cluster) look(replies []rueidis.RedisResult, node string) {
	for _, r := range replies {
		if c.lookAt(r.Error(), node) {
			return
		}
	}
}

func (c *cluster) lookAt(err error, node string) (trouble bool) {
	if err == nil || rueidis.IsRedisNil(err) {
		return false
	}
	reply, ok := rueidis.IsRedisErr(err)
	if !ok && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) ||
		ok && (reply.IsClusterDown() || reply.IsLoading() || isReply(err, "READONLY") || isReply(err, "MASTERDOWN")) {
		c.trouble(node)
		return true
	}
	return false
}

// run reads the map now and then, until ctx ends. keep is told which nodes there are.
func (c *cluster) run(ctx context.Context, keep func(nodes map[string]bool)) {
	failed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-time.After(mapInterval*3/4 + rand.N(mapInterval/2)):
		}
		err := c.refresh(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			failed = false
			keep(c.nodes())
		case !failed:
			failed = true
			c.log.Warn("no node of the Redis Cluster tells who has which slot; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(minMapPause):
		}
	}
}

// nodes are all that are known to belong to the cluster, and those to begin with.
func (c *cluster) nodes() map[string]bool {
	all := map[string]bool{}
	for _, node := range c.seeds {
		all[node] = true
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	for replica, primary := range c.replicas {
		all[replica], all[primary] = true, true
	}
	for _, node := range c.owners {
		all[node] = true
	}
	delete(all, "")
	return all
}

// refresh reads the map from the first node that tells it.
func (c *cluster) refresh(ctx context.Context) error {
	c.mu.Lock()
	avoid := c.avoid
	c.avoid = ""
	c.mu.Unlock()
	primaries := map[string]bool{}
	for _, node := range c.primaries() {
		primaries[node] = true
	}
	var list []string
	for node := range c.nodes() { // in any order
		list = append(list, node)
	}
	rank := func(node string) int {
		switch {
		case node == avoid:
			return 2
		case !primaries[node]:
			return 1 // a connection to a replica is of no other use
		}
		return 0
	}
	slices.SortStableFunc(list, func(a, b string) int { return rank(a) - rank(b) })
	var first error
	for _, node := range list {
		err := c.readFrom(ctx, node)
		if err == nil {
			return nil
		}
		if first == nil || errors.Is(first, driver.ErrUnavailable) {
			first = err
		}
	}
	return first
}

func (c *cluster) readFrom(ctx context.Context, node string) error {
	limited, cancel := context.WithTimeout(ctx, mapTimeout)
	defer cancel()
	reply, err := c.ask(limited, node)
	switch {
	case err != nil && limited.Err() != nil && ctx.Err() == nil:
		return fmt.Errorf("%w: the node %s has not answered for %v%s", driver.ErrUnavailable, node, mapTimeout, c.hint)
	case err != nil:
		return err
	}
	shards, err := readShards(reply, node)
	if err != nil {
		return err
	}
	c.set(shards)
	return nil
}

// set takes over a map, and has those hinted at whose topics are elsewhere now.
func (c *cluster) set(shards []shard) {
	var changed [slotCount]bool
	some := false
	c.mu.Lock()
	var covered [slotCount]bool
	for _, s := range shards {
		for slot := max(0, s.first); slot <= min(s.last, slotCount-1); slot++ {
			covered[slot] = true
			if c.give(uint16(slot), s.primary) {
				changed[slot], some = true, true
			}
		}
	}
	for slot := range covered {
		if !covered[slot] {
			c.owners[slot] = ""
		}
	}
	clear(c.replicas)
	for _, s := range shards {
		for _, replica := range s.replicas {
			c.replicas[replica] = s.primary
		}
	}
	c.mu.Unlock()
	c.tellReplaced()
	if some && c.onChange != nil {
		c.onChange(func(slot uint16) bool { return changed[slot] })
	}
}

// missing is how many slots no node has.
func (c *cluster) missing() (n int) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, owner := range c.owners {
		if owner == "" {
			n++
		}
	}
	return n
}

// readShards reads what CLUSTER SLOTS tells.
func readShards(reply rueidis.RedisMessage, from string) ([]shard, error) {
	lines, err := reply.ToArray()
	if err != nil {
		return nil, err
	}
	var list []shard
	for i := range lines {
		parts, err := lines[i].ToArray()
		if err != nil || len(parts) < 3 {
			return nil, fmt.Errorf("%w: a line of CLUSTER SLOTS has %d parts: %v", driver.ErrCorrupt, len(parts), err)
		}
		var s shard
		if s.first, err = parts[0].ToInt64(); err == nil {
			s.last, err = parts[1].ToInt64()
		}
		if err == nil {
			s.primary, err = readNode(&parts[2], from)
		}
		for j := 3; err == nil && j < len(parts); j++ {
			var replica string
			if replica, err = readNode(&parts[j], from); replica != "" {
				s.replicas = append(s.replicas, replica)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%w: CLUSTER SLOTS: %v", driver.ErrCorrupt, err)
		}
		list = append(list, s)
	}
	return list, nil
}

// readNode reads the address of a node, empty if it is not known.
func readNode(m *rueidis.RedisMessage, from string) (string, error) {
	parts, err := m.ToArray()
	if err != nil || len(parts) < 2 {
		return "", fmt.Errorf("a node has %d parts: %v", len(parts), err)
	}
	host := ""
	if !parts[0].IsNil() { // or else it is that of the node that was asked
		if host, err = parts[0].ToString(); err != nil {
			return "", err
		}
	}
	if host == "?" {
		return "", nil
	}
	port, err := parts[1].ToInt64()
	if err != nil {
		return "", err
	}
	return nodeAddress(fmt.Sprintf("%s:%d", host, port), from), nil
}
