package doctor

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/redistest"
)

func TestSentinel(t *testing.T) {
	t.Parallel()
	g := redistest.SentinelWith(t, redistest.SentinelOptions{
		Data: redistest.Options{
			Args:  append([]string{"--min-replicas-to-write", "1"}, hardened...),
			Users: []string{userOf(t, "beck")}, NoDefault: true,
		},
		Users: []string{userOf(t, "beck-sentinel")}, NoDefault: true,
	})
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	url := g.URLAs("beck", "secret", "sentinel_user=beck-sentinel", "sentinel_password_file="+file)
	r := mustLook(t, url)
	r.wants(t)
	if !strings.Contains(r.Text(), "1 primary, 1 replica, 3 sentinels\n") {
		t.Error(r.Text())
	}
	g.Primary().Do("CONFIG", "SET", "min-replicas-to-write", "0")
	mustLook(t, url).wants(t, "warn min-replicas: cut off")
	g.Sentinels[0].Do("ACL", "SETUSER", "beck-sentinel", "-client|tracking", "resetchannels")
	r = mustLook(t, url)
	r.wants(t, "warn min-replicas: cut off", "danger permissions: at the sentinels")
	if !strings.Contains(strings.Join(strings.Fields(r.Text()), " "), "+client|tracking +subscribe &+switch-master") {
		t.Error(r.Text())
	}
	if _, err := look(t, strings.Replace(url, redistest.MasterName, "other", 1)); !errors.Is(err, beck.ErrOption) {
		t.Errorf("another name: %v", err)
	}
	if _, err := look(t, g.URLAs("beck", "secret")); !errors.Is(err, beck.ErrDenied) {
		t.Errorf("nobody at the sentinels: %v", err)
	}
	mustLook(t, g.Replicas()[0].URLAs("beck", "secret")).wants(t, "danger address: a replica")

	primary := g.Primary()
	g.Sentinels[0].Kill()
	g.Sentinels[1].Kill()
	g.Replicas()[0].Kill()
	r = mustLook(t, url)
	if r.Dangers < 4 {
		t.Errorf("two sentinels and the replica are gone: %s", r.Text())
	}
	for _, part := range []string{"there is no majority for a failover", "no answer"} {
		if !strings.Contains(strings.Join(strings.Fields(r.Text()), " "), part) {
			t.Errorf("no %q in %s", part, r.Text())
		}
	}
	primary.Kill()
	if _, err := look(t, url); !errors.Is(err, beck.ErrUnavailable) {
		t.Errorf("no primary: %v", err)
	}
}

func TestCluster(t *testing.T) {
	t.Parallel()
	c := redistest.ClusterWith(t, 3, 1, redistest.Options{
		TLS: redistest.NewTLS(t), Users: []string{userOf(t, "beck")},
		Args: append([]string{"--min-replicas-to-write", "1", "--cluster-require-full-coverage", "no"}, hardened...),
	})
	url := c.URLAs("beck", "secret")
	r := mustLook(t, url)
	r.wants(t)
	if !strings.Contains(r.Text(), "3 primaries, 3 replicas\n") {
		t.Error(r.Text())
	}
	mustLook(t, c.Nodes()[0].URLAs("beck", "secret")).wants(t, "danger address: a node of a cluster")
	c.Nodes()[1].Do("ACL", "SETUSER", "beck", "-asking", "-xadd")
	r = mustLook(t, url)
	r.wants(t, "danger permissions: topics", "danger permissions: find topics")
	if text := strings.Join(strings.Fields(r.Text()), " "); !strings.Contains(text, c.Nodes()[1].Addr()+": beck lacks rights") || !strings.Contains(text, "all but "+c.Nodes()[1].Addr()+": beck may do") {
		t.Errorf("it doesn't say where: %s", r.Text())
	}
}

func TestDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r, err := Disk(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Findings) != 2 || !strings.Contains(r.Text(), "are free") {
		t.Error(r.Text())
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("it left %v, %v", left, err)
	}
	if _, err := Disk(filepath.Join(dir, "none")); !errors.Is(err, beck.ErrOption) {
		t.Errorf("no directory: %v", err)
	}
	for free, want := range map[int64]Level{1 << 20: Danger, 500 << 20: Warn, 9 << 30: OK} {
		if got := judgeSpace(free); got.Level != want {
			t.Errorf("%d free: %v", free, got)
		}
	}
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	status := http.StatusOK
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			w.WriteHeader(status)
		}
	}))
	defer s.Close()
	for code, want := range map[int]int{http.StatusOK: 0, http.StatusServiceUnavailable: 1} {
		status = code
		if r, err := HTTP(t.Context(), s.URL); err != nil || r.Dangers != want {
			t.Errorf("status %d: %+v, %v", code, r, err)
		}
	}
	status = http.StatusNotFound
	if _, err := HTTP(t.Context(), s.URL); !errors.Is(err, beck.ErrOption) {
		t.Errorf("no beck server: %v", err)
	}
	s.Close()
	_, err := HTTP(t.Context(), strings.Replace(s.URL, "http://", "http://ann:s3cret@", 1))
	if !errors.Is(err, beck.ErrUnavailable) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("nobody there: %v", err)
	}
}
