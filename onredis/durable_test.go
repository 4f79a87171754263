package onredis

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/redistest"
)

// durable is a message that asks for durability, of each kind that can be published.
func durable(d driver.Durability) map[string]driver.Message {
	return map[string]driver.Message{
		"plain":        {Body: []byte("x"), Durability: &d},
		"deduplicated": {Body: []byte("x"), DedupeID: "once", Durability: &d},
		"delayed":      {Body: []byte("x"), Delay: time.Hour, Durability: &d},
	}
}

func TestReplicated(t *testing.T) {
	t.Parallel()
	g := redistest.Sentinel(t)
	e := openAt(t, g.URL())
	enough := driver.Durability{Replicas: 1, Within: 10 * time.Second}
	for kind, m := range durable(enough) {
		ids, err := e.Append(t.Context(), "orders", []driver.Message{m, {Body: []byte("y")}})
		if len(ids) != 2 || err != nil {
			t.Errorf("%s: %q, %v with one replica", kind, ids, err)
		}
	}
	tooMany := driver.Durability{Replicas: 2, Within: 50 * time.Millisecond}
	for kind, m := range durable(tooMany) {
		m.DedupeID = ""
		ids, err := e.Append(t.Context(), "orders", []driver.Message{m})
		if len(ids) != 1 || !errors.Is(err, driver.ErrDurability) {
			t.Errorf("%s: %q, %v; want an id and ErrDurability of two replicas", kind, ids, err)
		}
	}
	if n := len(read(t, e, "orders")); n != 7 {
		t.Errorf("%d messages are stored, want 7", n) // two delayed ones are not in the topic
	}
	// A replica that hangs: a duplicate is not taken for replicated either.
	r := g.Replicas()[0]
	r.Pause()
	defer r.Continue()
	d := driver.Durability{Replicas: 1, Within: 50 * time.Millisecond}
	for range 2 {
		e := openAt(t, g.URL()) // whose connections have written nothing yet
		_, err := e.Append(t.Context(), "orders", []driver.Message{{Body: []byte("z"), DedupeID: "z", Durability: &d}})
		if !errors.Is(err, driver.ErrDurability) {
			t.Errorf("while the replica hangs: %v, want ErrDurability", err)
		}
	}
}

func TestSynced(t *testing.T) {
	t.Parallel()
	d := driver.Durability{Synced: true}
	for _, c := range []struct {
		args []string
		want error
	}{
		{[]string{"--appendonly", "yes", "--appendfsync", "always"}, nil},
		{[]string{"--appendonly", "yes", "--appendfsync", "everysec"}, beck.ErrOption},
		{[]string{"--appendonly", "yes", "--appendfsync", "always", "--no-appendfsync-on-rewrite", "yes"}, beck.ErrOption},
		{nil, beck.ErrOption},
	} {
		e, s := start(t, c.args...)
		if len(c.args) > 0 && isNewer(infoField(s.Do("INFO", "server"), "redis_version"), 7, 4, 3) {
			c.want = nil // it has WAITAOF
		}
		for kind, m := range durable(d) {
			ids, err := e.Append(t.Context(), "orders", []driver.Message{m})
			if !errors.Is(err, c.want) || (len(ids) == 1) != (c.want == nil) {
				t.Errorf("%s with %v: %q, %v; want %v", kind, c.args, ids, err, c.want)
			}
		}
	}
}

// TestSyncedByAnotherServer fails over to a server that does not sync before it
// answers: what is said of the former one does not hold of it.
func TestSyncedByAnotherServer(t *testing.T) {
	t.Parallel()
	e, s := start(t, "--appendonly", "yes", "--appendfsync", "always")
	d := driver.Durability{Synced: true}
	m := []driver.Message{{Body: []byte("x"), Durability: &d}}
	for range 5 { // by each of its connections
		if _, err := e.Append(t.Context(), "orders", m); err != nil {
			t.Fatal(err)
		}
	}
	s.Do("CONFIG", "SET", "appendfsync", "everysec")
	s.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	var ids []string
	err := driver.ErrUncertain // while connections are found lost
	lost := func() bool { return errors.Is(err, driver.ErrUncertain) || errors.Is(err, driver.ErrUnavailable) }
	for limit := time.Now().Add(10 * time.Second); lost() && time.Now().Before(limit); {
		ids, err = e.Append(t.Context(), "orders", m)
	}
	if isNewer(infoField(s.Do("INFO", "server"), "redis_version"), 7, 4, 3) {
		t.Skip("this server has WAITAOF")
	}
	if !errors.Is(err, driver.ErrDurability) && !errors.Is(err, beck.ErrOption) {
		t.Errorf("%q, %v; want ErrDurability or ErrOption", ids, err)
	}
}

// TestSyncedByHungServer asks a server that hangs whether it syncs: nobody waits for
// longer than he wants to because another one does.
func TestSyncedByHungServer(t *testing.T) {
	t.Parallel()
	e, s := start(t, "--appendonly", "yes", "--appendfsync", "always")
	d := driver.Durability{Synced: true}
	m := []driver.Message{{Body: []byte("x"), Durability: &d}}
	if _, err := e.bounded(t.Context(), "orders"); err != nil {
		t.Fatal(err)
	}
	s.Pause()
	patient, enough := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = e.Append(patient, "orders", m)
	}()
	for limit := time.Now().Add(5 * time.Second); len(e.work.one.calls) == 0 && time.Now().Before(limit); {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := e.Append(ctx, "orders", m); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Append: %v, want that its time is over", err)
	}
	select {
	case <-ended:
		t.Error("it waited until the other one had ended")
	default:
	}
	enough()
	<-ended
	s.Continue()
}

func TestReplicatedInCluster(t *testing.T) {
	t.Parallel()
	c := redistest.Cluster(t, 3, 1)
	e := openAt(t, c.URL())
	d := driver.Durability{Replicas: 1, Within: 10 * time.Second}
	for _, topic := range []string{"a", "b", "c", "d"} {
		for kind, m := range durable(d) {
			if ids, err := e.Append(t.Context(), topic, []driver.Message{m}); len(ids) != 1 || err != nil {
				t.Errorf("%s in %s: %q, %v", kind, topic, ids, err)
			}
		}
	}
	d = driver.Durability{Replicas: 2, Within: 50 * time.Millisecond}
	if ids, err := e.Append(t.Context(), "a", []driver.Message{{Body: []byte("x"), Durability: &d}}); len(ids) != 1 || !errors.Is(err, driver.ErrDurability) {
		t.Errorf("%q, %v; want an id and ErrDurability of two replicas", ids, err)
	}
}

func TestIsNewer(t *testing.T) {
	for version, want := range map[string]bool{
		"7.0.15": false, "7.4.2": false, "7.4.3": true, "7.4.10": true, "8.0.0": true, "10.1": true, "7.4": false, "": false, "x.y": false,
	} {
		if got := isNewer(version, 7, 4, 3); got != want {
			t.Errorf("isNewer(%q) is %v", version, got)
		}
	}
}
