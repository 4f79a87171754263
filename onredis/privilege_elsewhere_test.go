package onredis

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/redistest"
)

// openSecured opens an engine at an address with user and password.
func openSecured(t *testing.T, address string) *engine {
	t.Helper()
	e, err := openEngine(t.Context(), address, &Options{})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, e)
	return e
}

// TestLeastPrivilegeSentinel goes by way of sentinels, as the users whom
// docs/redis-acl.md proposes, before and after a failover.
func TestLeastPrivilegeSentinel(t *testing.T) {
	t.Parallel()
	g := redistest.SentinelWith(t, redistest.SentinelOptions{
		Data: secured(t, synced...), Users: []string{userOf(t, "beck-sentinel")}, NoDefault: true,
	})
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := openSecured(t, g.URLAs("beck", "secret", "sentinel_user=beck-sentinel", "sentinel_password_file="+file))
	useEverything(t, e, func(string) *redistest.Server { return g.Primary() })
	asksMore(t, e, driver.Durability{Replicas: 1, Within: 10 * time.Second}, nil)
	asksMore(t, e, driver.Durability{Synced: true, Within: 10 * time.Second}, nil)
	g.Failover()
	until(t, "the new primary takes messages", func() bool {
		_, err := e.Append(t.Context(), "after", []driver.Message{{Body: []byte("x")}})
		return err == nil
	})
	heard := ""
	for _, s := range g.Sentinels {
		heard += s.Do("CLIENT", "LIST", "TYPE", "pubsub")
	}
	if !strings.Contains(heard, "user=beck-sentinel") {
		t.Error("nobody listens to the sentinels")
	}
}

// TestLeastPrivilegeCluster works on a cluster as the user whom docs/redis-acl.md
// proposes, also while slots move.
func TestLeastPrivilegeCluster(t *testing.T) {
	t.Parallel()
	c := redistest.ClusterWith(t, 2, 0, secured(t))
	e := openSecured(t, c.URLAs("beck", "secret"))
	useEverything(t, e, c.Owner)
	key := e.names.stream("between")
	publish(t, e, "between", "a")
	from := c.Owner(key)
	to := c.Primaries()[0]
	if to == from {
		to = c.Primaries()[1]
	}
	// All keys of the slot are at its next owner, though it is not its owner yet.
	c.BeginMove(from, to, c.Slot(key), 100)
	publish(t, e, "between", "b")
	if calls(to)["asking"] == 0 {
		t.Error("there was no need to ask the other node")
	}
	c.MoveSlots(from, to, c.Slot(key))
	publish(t, e, "between", "c")
	if n := to.Do("XLEN", key); n != "3" {
		t.Errorf("%s messages", n)
	}
}

// TestLeastPrivilegeShards spreads topics over instances, and moves them to another
// set, as the user whom docs/redis-acl.md proposes.
func TestLeastPrivilegeShards(t *testing.T) {
	t.Parallel()
	o := secured(t)
	var hosts []string
	var query string
	for range 3 {
		s := redistest.StartWith(t, o)
		hosts = append(hosts, s.Addr())
		u, err := url.Parse(s.URL())
		if err != nil {
			t.Fatal(err)
		}
		query = u.RawQuery
	}
	at := func(n int) string {
		return "rediss+shards://beck:secret@" + strings.Join(hosts[:n], ",") + "/0?" + query
	}
	ctx := t.Context()
	bus, err := Open(ctx, at(2), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close(ctx)
	const topics = 12
	for i := range topics {
		topic := fmt.Sprint("topic", i)
		if _, err := bus.Publish(ctx, topic, beck.Message{Body: []byte("now")}, beck.Message{Body: []byte("later"), Delay: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	if err := Reshard(ctx, at(2), at(3), nil); err != nil {
		t.Fatal(err)
	}
	for i := range topics {
		info, err := bus.Topic(ctx, fmt.Sprint("topic", i))
		if err != nil || info.Length != 1 || info.Delayed != 1 {
			t.Errorf("topic%d after the move: %+v, %v", i, info, err)
		}
	}
}
