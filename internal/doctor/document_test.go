package doctor

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/beckmq/beck/internal/redistest"
)

var numberOfMegabytes = regexp.MustCompile(`maxmemory \d+mb`)

// ofTheMachine are lines that depend on where the test runs.
var ofTheMachine = map[string]string{
	"version": "Redis 7.0.15", "round trip": "less than 1ms", "clock": "within 100ms of this machine's",
}

// TestDocument holds that the examples of docs/doctor.md are what doctor prints, but
// for addresses, and for what depends on the machine.
func TestDocument(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	as := func(url, shown string) string {
		r := mustLook(t, url)
		r.At = shown
		found := r.Findings
		r.Findings = nil
		for _, f := range found {
			f.Mend = numberOfMegabytes.ReplaceAllString(f.Mend, "maxmemory 8192mb")
			if says := ofTheMachine[f.Check]; says != "" {
				f = ok(f.Check, "%s", says)
			}
			r.add("", f)
		}
		r.count()
		return r.Text()
	}
	wants := func(name, got string) {
		if !strings.Contains(string(text), "```\n"+got+"```\n") {
			t.Errorf("docs/doctor.md has another text for %s than this:\n%s", name, got)
		}
	}
	s := redistest.Start(t, "--save", "3600 1 300 100 60 10000") // as Debian has it
	wants("Debian's default", as(s.URL(), "redis://localhost:6379/0"))

	s = redistest.StartWith(t, redistest.Options{
		Users: []string{userOf(t, "beck")},
		Args:  []string{"--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru", "--appendonly", "yes"},
	})
	wants("one with eviction on", as(s.URLAs("beck", "secret"), "redis://beck@cache:6379/0"))

	g := redistest.SentinelWith(t, redistest.SentinelOptions{
		Data: redistest.Options{
			Args: append([]string{"--min-replicas-to-write", "1"}, hardened...), TLS: redistest.NewTLS(t).WithClientAuth(),
			Users: []string{userOf(t, "beck")}, NoDefault: true,
		},
		Users: []string{userOf(t, "beck-sentinel")}, NoDefault: true,
	})
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	url := g.URLAs("beck", "secret", "sentinel_user=beck-sentinel", "sentinel_password_file="+file)
	wants("a hardened one", as(url, "rediss+sentinel://beck@s1:26379,s2:26379,s3:26379/mymaster/0"))
}
