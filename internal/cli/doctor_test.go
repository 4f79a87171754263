package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/beckmq/beck/internal/redistest"
)

func TestDoctor(t *testing.T) {
	t.Parallel()
	redis := redistest.StartWith(t, redistest.Options{
		Password: "s3cret", Args: []string{"--appendonly", "yes", "--appendfsync", "always", "--maxmemory", "50mb"},
	})
	env := []string{"BECK_AT=" + redis.URLAs("", "s3cret")}
	doctor := func(code int, env []string, args ...string) *process {
		t.Helper()
		p := startReading(t, strings.NewReader(""), env, append([]string{"doctor"}, args...)...)
		if got := p.exit(); got != code {
			t.Errorf("doctor %v: exit code %d, want %d: %s%s", args, got, code, p.out, p.err)
		}
		if all := p.out.String() + p.err.String(); strings.Contains(all, "s3cret") {
			t.Errorf("doctor shows the password: %s", all)
		}
		return p
	}
	if p := doctor(0, env); !strings.Contains(p.out.String(), "nothing endangers messages") || p.err.String() != "" {
		t.Errorf("%s%s", p.out, p.err)
	}
	doctor(1, env, "--strict") // it has no replica
	redis.Do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	p := doctor(1, env, "--json")
	var report struct {
		Dangers  int
		Findings []struct{ Level, Check, Says, Mend string }
	}
	if err := json.Unmarshal([]byte(p.out.String()), &report); err != nil || report.Dangers != 1 {
		t.Errorf("%v: %s", err, p.out)
	}
	for _, f := range report.Findings {
		if (f.Check == "eviction") != (f.Level == "danger") {
			t.Errorf("%+v", f)
		}
	}
	doctor(7, []string{"BECK_AT=" + redis.URL()})
	doctor(4, []string{"BECK_AT=redis://127.0.0.1:1"})
	doctor(2, []string{"BECK_AT=redis://nobody:s3cret@:x"})

	server := serve(t, "--redis", redis.URLAs("", "s3cret"))
	if p := doctor(0, []string{"BECK_AT=" + server.url}); !strings.Contains(p.out.String(), "ready") {
		t.Errorf("of a server: %s", p.out)
	}
	redis.Kill()
	doctor(1, []string{"BECK_AT=" + server.url})
}
