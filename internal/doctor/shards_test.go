package doctor

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/redistest"
)

func TestShards(t *testing.T) {
	t.Parallel()
	o := redistest.Options{Args: hardened, Users: []string{userOf(t, "beck")}, NoDefault: true}
	a, b := redistest.StartWith(t, o), redistest.StartWith(t, o)
	url := "redis+shards://beck:secret@" + a.Addr() + "," + b.Addr()
	mustLook(t, url).wants(t, "warn replicas: none")
	b.Do("ACL", "SETUSER", "beck", "-restore")
	b.Do("CONFIG", "SET", "maxmemory-policy", "allkeys-lfu")
	r := mustLook(t, url)
	r.wants(t, "warn replicas: none", "warn permissions: can't move topics", "danger eviction: allkeys-lfu")
	for _, f := range r.Findings {
		if (f.Level == Danger || f.Check == "permissions" && f.Level == Warn) && (len(f.Servers) != 1 || f.Servers[0] != b.Addr()) {
			t.Errorf("of another server: %+v", f)
		}
	}
	b.Kill()
	mustLook(t, url).wants(t, "warn replicas: none", "danger answer: connection refused")
}

func TestSocket(t *testing.T) {
	t.Parallel()
	s := redistest.StartWith(t, redistest.Options{Socket: true, Args: hardened})
	r := mustLook(t, s.URL())
	r.wants(t, "warn replicas: none")
	if !strings.HasPrefix(r.Text(), s.URL()+"\n") {
		t.Error(r.Text())
	}
}

// TestSilence looks at a server that takes connections and says nothing.
func TestSilence(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Pause()
	defer s.Continue()
	began := time.Now()
	if _, err := look(t, s.URL()); !errors.Is(err, beck.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}
