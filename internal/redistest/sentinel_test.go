package redistest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestSentinel(t *testing.T) {
	t.Parallel()
	began := time.Now()
	g := Sentinel(t, "--appendonly", "yes")
	t.Logf("ready after %v", time.Since(began))
	first := g.Primary()
	if first != g.Data[0] || len(g.Replicas()) != 1 || len(g.Sentinels) != 3 {
		t.Errorf("primary %s of %s, %d replicas, %d sentinels", first.Addr(), g.Data[0].Addr(), len(g.Replicas()), len(g.Sentinels))
	}
	first.Do("SET", "a", "1")
	arrives(t, g.Replicas()[0], "a", "1")
	began = time.Now()
	second := g.Failover()
	t.Logf("failover on command: %v", time.Since(began))
	if got := second.Do("GET", "a"); second == first || got != "1" {
		t.Errorf("after a failover: %q at the new primary, want 1", got)
	}
	began = time.Now()
	g.Settle()
	t.Logf("settled after %v more", time.Since(began))
	began = time.Now()
	third, old := g.Crash()
	t.Logf("failover by crash: %v", time.Since(began))
	if third != first || old != second {
		t.Errorf("after a crash of %s the primary is %s", old.Addr(), third.Addr())
	}
	began = time.Now()
	old.Restart()
	g.Settle()
	t.Logf("settled after %v", time.Since(began))
	if got := old.Do("GET", "a"); got != "1" || !strings.HasPrefix(old.Do("ROLE"), "slave") {
		t.Errorf("the old primary has %q", got)
	}
}

func TestSentinelSecured(t *testing.T) {
	t.Parallel()
	g := SentinelWith(t, SentinelOptions{
		Data:     Options{TLS: NewTLS(t).WithClientAuth(), Users: []string{"ann on >secret ~* +@all"}, NoDefault: true},
		Password: "sesame",
	})
	if got := g.Primary().Do("ACL", "WHOAMI"); got != ownUser {
		t.Errorf("works as %s", got)
	}
	got := g.URLAs("ann", "secret", "sentinel_user=bob")
	for _, part := range []string{"rediss+sentinel://ann:secret@127.0.0.1:", "/mymaster/0?", "ca=", "cert=", "key=", "sentinel_user=bob"} {
		if !strings.Contains(got, part) {
			t.Errorf("the address %q has no %q", got, part)
		}
	}
	g.Failover()
	g.Settle()
}

// arrives waits until a replica has a value.
func arrives(t *testing.T, replica *Server, key, want string) {
	t.Helper()
	err := within(10*time.Second, "the replica has the value", func() error {
		if got, err := replica.try("GET", key); got != want || err != nil {
			return fmt.Errorf("it has %q: %v", got, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
