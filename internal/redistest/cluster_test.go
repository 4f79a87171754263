package redistest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestCluster(t *testing.T) {
	t.Parallel()
	began := time.Now()
	c := Cluster(t, 3, 1, "--appendonly", "yes")
	t.Logf("ready after %v", time.Since(began))
	if len(c.Primaries()) != 3 || len(c.Nodes()) != 6 {
		t.Fatalf("%d primaries, %d nodes", len(c.Primaries()), len(c.Nodes()))
	}
	owner := c.Owner("a")
	if got := c.Slot("a"); got != int(crc16("a")%slots) || got != 15495 {
		t.Errorf("slot %d", got)
	}
	owner.Do("SET", "a", "1")
	began = time.Now()
	next := c.Failover(owner)
	t.Logf("failover on command: %v", time.Since(began))
	if c.Owner("a") != next || next.Do("GET", "a") != "1" {
		t.Errorf("after a failover %q", next.Do("GET", "a"))
	}
	c.Settle()
	began = time.Now()
	if last := c.Crash(next); last != owner || last.Do("GET", "a") != "1" {
		t.Errorf("after a crash %q", last.Do("GET", "a"))
	}
	t.Logf("failover by crash: %v", time.Since(began))
	next.Restart()
	c.Settle()
	if got := c.ReplicasOf(owner); len(got) != 1 || got[0] != next {
		t.Errorf("the old primary is no replica now")
	}
}

func TestMoveSlots(t *testing.T) {
	t.Parallel()
	c := ClusterWith(t, 2, 0, Options{TLS: NewTLS(t), Users: []string{"ann on >secret ~* +@all"}, NoDefault: true})
	if !strings.HasPrefix(c.URLAs("ann", "secret"), "rediss+cluster://ann:secret@127.0.0.1:") {
		t.Errorf("URL: %q", c.URLAs("ann", "secret"))
	}
	added := c.AddNode()
	from := c.Owner("{a}")
	keys := map[string]string{}
	for i := range 300 {
		key := fmt.Sprintf("{a}:%d", i)
		keys[key] = strconv.Itoa(i)
		from.Do("SET", key, strconv.Itoa(i))
	}
	slot := c.Slot("{a}")
	c.BeginMove(from, added, slot, 1)
	if _, err := from.try("MGET", "{a}:0", "{a}:1", "{a}:2"); err != nil && !strings.HasPrefix(err.Error(), "TRYAGAIN") {
		t.Errorf("in between: %v", err)
	}
	// Under load: each write goes to whoever takes it.
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			for _, s := range []*Server{from, added} {
				_, _ = s.try("INCR", "{a}:load")
			}
		}
	})
	others := c.SlotsOf(from)[:50]
	began := time.Now()
	c.MoveSlots(from, added, append(others, slot)...)
	t.Logf("moved %d slots in %v", len(others)+1, time.Since(began))
	cancel()
	wait.Wait()
	if c.Owner("{a}") != added {
		t.Error("the slot has not moved")
	}
	for key, want := range keys {
		if got := added.Do("GET", key); got != want {
			t.Fatalf("%s is %q after the move, want %q", key, got, want)
		}
	}
	c.Settle()
	if n := len(c.SlotsOf(added)); n < 50 || len(c.Primaries()) != 3 {
		t.Errorf("the new node has %d slots, %d primaries", n, len(c.Primaries()))
	}
	if replica := c.AddReplica(added); len(c.ReplicasOf(added)) != 1 || c.ReplicasOf(added)[0] != replica {
		t.Error("no replica")
	}
}
