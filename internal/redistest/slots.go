package redistest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// moveAtOnce is how many keys move by one command.
const moveAtOnce = 100

// Slot is the slot of a key.
func (c *ClusterGroup) Slot(key string) int {
	c.t.Helper()
	running := c.running()
	if len(running) == 0 {
		c.t.Fatal("no node of the cluster runs")
	}
	n, err := strconv.Atoi(running[0].Do("CLUSTER", "KEYSLOT", key))
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// Owner is the node that has the slot of a key.
func (c *ClusterGroup) Owner(key string) *Server {
	c.t.Helper()
	return c.OwnerOf(c.Slot(key))
}

// OwnerOf is the node that has a slot.
func (c *ClusterGroup) OwnerOf(slot int) *Server {
	c.t.Helper()
	for _, v := range c.mustLook() {
		for _, r := range v.ranges {
			if r[0] <= slot && slot <= r[1] && v.node != nil {
				return v.node
			}
		}
	}
	c.t.Fatalf("no node has slot %d", slot)
	return nil
}

// SlotsOf are the slots that a node has.
func (c *ClusterGroup) SlotsOf(s *Server) []int {
	c.t.Helper()
	var all []int
	for _, r := range c.mustLook()[c.ID(s)].ranges {
		for slot := r[0]; slot <= r[1]; slot++ {
			all = append(all, slot)
		}
	}
	return all
}

// MoveSlots moves slots with their keys from one primary to another, one after the
// other, while the cluster is at work.
func (c *ClusterGroup) MoveSlots(from, to *Server, moved ...int) {
	c.t.Helper()
	if err := c.moveSlots(from, to, moved, nil); err != nil {
		c.t.Fatal(err)
	}
}

// BeginMove brings a slot into the state between its two nodes, in which commands
// meet ASK and TRYAGAIN: it moves some of the slot's keys at most. MoveSlots ends it.
func (c *ClusterGroup) BeginMove(from, to *Server, slot, keys int) {
	c.t.Helper()
	if err := c.moveSlots(from, to, []int{slot}, &keys); err != nil {
		c.t.Fatal(err)
	}
}

// moveSlots moves slots; with a number of keys, no more than those, and it leaves
// the slot where it is.
func (c *ClusterGroup) moveSlots(from, to *Server, moved []int, some *int) error {
	others := c.Primaries()
	if err := within(topologyTimeout, "the target knows the epoch of the source", func() error { return c.sameEpoch(from, to) }); err != nil {
		return err
	}
	source, err := from.dial()
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := to.dial()
	if err != nil {
		return err
	}
	defer target.Close()
	for _, slot := range moved {
		n := strconv.Itoa(slot)
		if _, err := target.do("CLUSTER", "SETSLOT", n, "IMPORTING", c.ID(from)); err != nil {
			return fmt.Errorf("import slot %d: %w", slot, err)
		}
		if _, err := source.do("CLUSTER", "SETSLOT", n, "MIGRATING", c.ID(to)); err != nil {
			return fmt.Errorf("migrate slot %d: %w", slot, err)
		}
		if err := c.moveKeys(source, to, n, some); err != nil {
			return fmt.Errorf("move the keys of slot %d: %w", slot, err)
		}
		if some != nil {
			continue
		}
		// The target first: should the source fail now, nobody doubts who has it.
		for _, end := range []*conn{target, source} {
			if _, err := end.do("CLUSTER", "SETSLOT", n, "NODE", c.ID(to)); err != nil {
				return fmt.Errorf("give slot %d away: %w", slot, err)
			}
		}
	}
	if some != nil {
		return nil
	}
	return c.tell(slices.DeleteFunc(others, func(s *Server) bool { return s == from || s == to }), to, moved)
}

// sameEpoch returns an error unless a node knows the epoch of another one. A target that
// is behind would take a slot under an epoch not above that of the source, and take it
// back when it hears from the source: then each sends clients to the other, for ever.
func (c *ClusterGroup) sameEpoch(source, target *Server) error {
	own, err := c.look(source)
	if err != nil {
		return err
	}
	seen, err := c.look(target)
	if err != nil {
		return err
	}
	id := c.ID(source)
	if own[id].epoch != seen[id].epoch {
		return fmt.Errorf("it is %s there, and %s is known here", own[id].epoch, seen[id].epoch)
	}
	return nil
}

// moveKeys moves the keys of a slot in portions, all or some of them.
func (c *ClusterGroup) moveKeys(source *conn, to *Server, slot string, some *int) error {
	moved := 0
	for {
		portion := moveAtOnce
		if some != nil {
			portion = min(portion, *some-moved)
		}
		if portion <= 0 {
			return nil
		}
		reply, err := source.do("CLUSTER", "GETKEYSINSLOT", slot, strconv.Itoa(portion))
		if err != nil {
			return err
		}
		list, _ := reply.([]any)
		if len(list) == 0 {
			return nil
		}
		command := []string{"MIGRATE", "127.0.0.1", strconv.Itoa(to.port), "", "0", "5000", "REPLACE"}
		if login := to.login(); len(login) == 3 {
			command = append(command, "AUTH2", login[1], login[2])
		} else if len(login) == 2 {
			command = append(command, "AUTH", login[1])
		}
		command = append(command, "KEYS")
		for _, key := range list {
			command = append(command, text(key))
		}
		// A time-out leaves the keys at one of the two, and is tried again.
		if _, err := source.do(command...); err != nil && !strings.HasPrefix(err.Error(), "IOERR") {
			return err
		}
		moved += len(list)
	}
}

// tell tells primaries who has slots now, rather than have them hear of it.
func (c *ClusterGroup) tell(others []*Server, owner *Server, moved []int) error {
	for _, s := range others {
		told, err := s.dial()
		if err != nil {
			continue // it has just ended; it will hear of it
		}
		for _, slot := range moved {
			if _, err := told.do("CLUSTER", "SETSLOT", strconv.Itoa(slot), "NODE", c.ID(owner)); err != nil {
				told.Close()
				return fmt.Errorf("tell of slot %d: %w", slot, err)
			}
		}
		told.Close()
	}
	return nil
}

// AddNode starts another node, without slots; MoveSlots gives it some.
func (c *ClusterGroup) AddNode() *Server {
	c.t.Helper()
	s, err := c.addNode()
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// AddReplica starts another node as a replica.
func (c *ClusterGroup) AddReplica(primary *Server) *Server {
	c.t.Helper()
	s, err := c.addNode()
	if err == nil {
		err = c.replicate(s, primary)
	}
	if err == nil {
		err = within(topologyTimeout, "the cluster works", c.settled)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

func (c *ClusterGroup) addNode() (*Server, error) {
	others := c.running()
	s, err := launch(c.t, c.options)
	if err != nil {
		return nil, err
	}
	if err := c.enter(s); err != nil {
		return nil, err
	}
	if err := c.acquaint(append(others, s)); err != nil {
		return nil, err
	}
	return s, within(topologyTimeout, "the cluster works", c.settled)
}

// Failover has a replica of a primary take its place, as an operator does, and
// returns it once it takes writes and all nodes know.
func (c *ClusterGroup) Failover(primary *Server) *Server {
	c.t.Helper()
	replicas := c.ReplicasOf(primary)
	if len(replicas) == 0 {
		c.t.Fatalf("%s has no replica that runs", primary.Addr())
	}
	next := replicas[0]
	if _, err := next.try("CLUSTER", "FAILOVER"); err != nil {
		c.t.Fatal(err)
	}
	if err := within(topologyTimeout, "CLUSTER FAILOVER", func() error { return c.succeeds(next, primary) }); err != nil {
		c.t.Fatal(err)
	}
	return next
}

// Crash kills a primary and returns the replica that has taken its place, once it
// takes writes and all nodes know. Restart makes a replica of the old one.
func (c *ClusterGroup) Crash(primary *Server) *Server {
	c.t.Helper()
	replicas := c.ReplicasOf(primary)
	primary.Kill()
	var next *Server
	err := within(topologyTimeout, "a replica takes the place of its primary", func() error {
		err := errors.New("there is none")
		for _, s := range replicas {
			if err = c.succeeds(s, primary); err == nil {
				next = s
				break
			}
		}
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return next
}

// succeeds returns an error unless a node has taken the place of another, and takes
// writes, and all know.
func (c *ClusterGroup) succeeds(next, old *Server) error {
	for _, s := range c.running() {
		seen, err := c.look(s)
		switch {
		case err != nil:
			return err
		case seen[c.ID(next)].primary != "" || len(seen[c.ID(next)].ranges) == 0 || len(seen[c.ID(old)].ranges) > 0:
			return errors.New("a node does not know of it")
		}
	}
	seen, err := c.look(next)
	if err != nil {
		return err
	}
	// A key whose slot it has: others are refused.
	key := fmt.Sprintf("{%s}", c.keyIn(seen[c.ID(next)].ranges))
	if _, err = next.try("DEL", key); err != nil {
		return err
	}
	return nil
}

// keyIn finds a key whose slot is in one of the ranges.
func (c *ClusterGroup) keyIn(ranges [][2]int) string {
	for i := range 10 * slots {
		key := strconv.Itoa(i)
		slot := int(crc16(key) % slots)
		if slices.ContainsFunc(ranges, func(r [2]int) bool { return r[0] <= slot && slot <= r[1] }) {
			return key
		}
	}
	return ""
}

// crc16 is the sum by which a cluster spreads keys (CCITT, also called XMODEM).
func crc16(key string) (sum uint16) {
	for _, b := range []byte(key) {
		sum ^= uint16(b) << 8
		for range 8 {
			if sum&0x8000 != 0 {
				sum = sum<<1 ^ 0x1021
			} else {
				sum <<= 1
			}
		}
	}
	return sum
}
