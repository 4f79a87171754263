package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/redisaddr"
	"github.com/beckmq/beck/internal/redistest"
)

// hardened are the arguments of a server with which nothing is wrong but that it is
// alone.
var hardened = []string{
	"--appendonly", "yes", "--appendfsync", "always", "--maxmemory", "100mb", "--maxmemory-clients", "10%",
}

// userOf returns the user whom docs/redis-acl.md proposes.
func userOf(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/redis-acl.md")
	if err != nil {
		t.Fatal(err)
	}
	rule := regexp.MustCompile(`(?s)\nACL SETUSER (` + name + ` .*?)` + "```").FindSubmatch(text)
	if rule == nil {
		t.Fatalf("docs/redis-acl.md proposes no user %s", name)
	}
	return string(rule[1])
}

func look(t testing.TB, url string) (*Report, error) {
	t.Helper()
	a, err := redisaddr.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := Redis(ctx, a, Options{Prefix: "beck:"})
	if err != nil {
		return nil, err
	}
	text := r.Text()
	_, lines, _ := strings.Cut(text, "\n") // an address stays whole
	for line := range strings.Lines(lines) {
		if utf8.RuneCountInString(line) > width+1 {
			t.Errorf("a line of %d columns: %s", utf8.RuneCountInString(line), line)
		}
	}
	encoded, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text+string(encoded), "s3cret") {
		t.Errorf("the password is shown: %s", text)
	}
	return r, nil
}

// mustLook fails the test where there is nothing to look at.
func mustLook(t testing.TB, url string) *Report {
	t.Helper()
	r, err := look(t, url)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wants checks that a report has just these findings that are not OK, each written as
// "level check: a part of what it says".
func (r *Report) wants(t *testing.T, wanted ...string) {
	t.Helper()
	var got []string
	for _, f := range r.Findings {
		if f.Level == OK {
			continue
		}
		line := f.Level.String() + " " + f.Check + ": " + f.Says
		i := slices.IndexFunc(wanted, func(w string) bool {
			head, part, _ := strings.Cut(w, ": ")
			return strings.HasPrefix(line, head+": ") && strings.Contains(f.Says, part)
		})
		if i < 0 {
			got = append(got, line)
			continue
		}
		wanted = slices.Delete(slices.Clone(wanted), i, i+1)
	}
	if len(got)+len(wanted) > 0 {
		t.Errorf("not wanted: %q\nmissing: %q\n%s", got, wanted, r.Text())
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--save", "3600 1")
	mustLook(t, s.URL()).wants(t,
		"danger append-only file: since the last snapshot", "warn memory: no limit", "warn replicas: none",
		"warn output buffers: for clients", "warn permissions: no password")
	if n := s.Do("DBSIZE"); n != "0" {
		t.Errorf("it left %s keys", n)
	}
}

// TestMended does what the report says until nothing is left that a setting mends.
func TestMended(t *testing.T) {
	t.Parallel()
	s := redistest.StartWith(t, redistest.Options{
		Users: []string{"ann on >s3cret ~beck:* +info +config|get +ping -@all +xadd"},
		Args: []string{
			"--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru", "--appendfsync", "no", "--no-appendfsync-on-rewrite", "yes",
			"--tracking-table-max-keys", "100", "--client-output-buffer-limit", "pubsub 1000 0 0",
			"--client-output-buffer-limit", "replica 1000 0 0",
		},
	})
	url := s.URLAs("ann", "s3cret")
	mended := 0
	for range 10 {
		again := false
		for _, f := range mustLook(t, url).Findings {
			command, _, _ := strings.Cut(f.Mend, ", and the same in redis.conf")
			if f.Level == OK || !strings.HasPrefix(command, "CONFIG SET") && !strings.HasPrefix(command, "ACL SETUSER") {
				continue
			}
			args := strings.Fields(command)
			if before, quoted, ok := strings.Cut(command, `"`); ok {
				args = append(strings.Fields(before), strings.TrimSuffix(quoted, `"`))
			}
			s.Do(args...)
			again = true
			mended++
		}
		if !again {
			break
		}
	}
	if mended < 8 {
		t.Errorf("%d things mended", mended)
	}
	r := mustLook(t, url)
	r.wants(t, "warn replicas: none")
	if r.Dangers != 0 || r.Warnings != 1 || !strings.Contains(r.Text(), "nothing endangers messages, 1 warning, ") {
		t.Errorf("the summary: %s", r.Summary())
	}
}

func TestEviction(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, append([]string{"--maxmemory-policy", "allkeys-lru"}, hardened...)...)
	mustLook(t, s.URL()).wants(t, "danger eviction: are removed when memory is full", "warn replicas: none", "warn permissions: no password")
	s.Do("CONFIG", "SET", "maxmemory", "3mb")
	s.Do("EVAL", "for i=1,3000 do redis.call('SET','k'..i,string.rep('x',1000)) end", "0")
	r := mustLook(t, s.URL())
	if !strings.Contains(r.Text(), "keys have been removed since Redis started") || r.Dangers == 0 {
		t.Error(r.Text())
	}
}

func TestFewRights(t *testing.T) {
	t.Parallel()
	s := redistest.StartWith(t, redistest.Options{
		TLS: redistest.NewTLS(t).WithClientAuth(), NoDefault: true, Args: hardened,
		Users: []string{userOf(t, "beck"), "bob on >secret -@all +xadd"},
	})
	mustLook(t, s.URLAs("beck", "secret")).wants(t, "warn replicas: none")
	s.Do("ACL", "SETUSER", "beck", "-info", "-config|get", "-xclaim", "-publish", "-time")
	r := mustLook(t, s.URLAs("beck", "secret"))
	r.wants(t, "unknown asking: INFO", "unknown asking: CONFIG GET", "unknown clock: may not", "danger permissions: topics", "warn permissions: broadcasts")
	if !strings.Contains(r.Text(), "ACL SETUSER beck +time +xclaim") {
		t.Error(r.Text())
	}
	r = mustLook(t, s.URLAs("bob", "secret"))
	if r.Dangers == 0 || !strings.Contains(strings.Join(strings.Fields(r.Text()), " "), "~beck:* ~{beck:*") {
		t.Errorf("of a user who may nothing: %s", r.Text())
	}
	for _, c := range []struct {
		url string
		is  error
	}{
		{s.URLAs("beck", "wrong"), beck.ErrDenied},
		{s.URL(), beck.ErrDenied},
		{"redis://" + s.Addr(), beck.ErrUnavailable}, // without TLS
		{"redis://127.0.0.1:1", beck.ErrUnavailable},
		{strings.Replace(s.URLAs("beck", "secret"), "rediss", "rediss+cluster", 1), beck.ErrOption},
	} {
		if _, err := look(t, c.url); !errors.Is(err, c.is) {
			t.Errorf("%.12s…: %v, want %v", c.url, err, c.is)
		}
	}
}
