package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/beckmq/beck/internal/redistest"
)

// TestNoSecretIsShown runs commands at a deployment with passwords of its own for
// data and sentinels, given by file and by variable, right and wrong: no password is
// on a command line, and none is printed.
func TestNoSecretIsShown(t *testing.T) {
	t.Parallel()
	const data, sentinels = "s3cret-of-data", "s3cret-of-sentinels"
	g := redistest.SentinelWith(t, redistest.SentinelOptions{
		Data: redistest.Options{TLS: redistest.NewTLS(t), Password: data}, Password: sentinels,
	})
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(sentinels+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := g.URLAs("", "", "password_env=REDIS_DATA", "sentinel_password_file="+file)
	quiet := func(what string, p *process) {
		if all := p.out.String() + p.err.String(); strings.Contains(all, "s3cret") {
			t.Errorf("%s: a password is shown: %s", what, all)
		}
	}
	for _, c := range []struct {
		what string
		env  []string
		exit map[string]int // by command; 0 for others
	}{
		{"right", []string{"BECK_AT=" + at, "REDIS_DATA=" + data}, map[string]int{"info": 3}},
		{"in the URL", []string{"BECK_AT=" + g.URLAs("", data, "sentinel_password_file="+file)}, map[string]int{"info": 3}},
		{"wrong", []string{"BECK_AT=" + at, "REDIS_DATA=not-" + data}, map[string]int{"": 7}},
		{"none for sentinels", []string{"BECK_AT=" + g.URLAs("", data)}, map[string]int{"": 7}},
		{"a file that isn't there", []string{"BECK_AT=" + g.URLAs("", "", "password_file="+data)}, map[string]int{"": 2}},
	} {
		for _, args := range [][]string{
			{"topics"}, {"pub", "a", "b"}, {"info", "none"},
			{"bench", "--only", "publish", "--time", "20ms", "--rounds", "1"}, {"doctor"},
		} {
			p := startReading(t, strings.NewReader(""), c.env, args...)
			code := p.exit()
			want, all := c.exit[""]
			if !all {
				want = c.exit[args[0]]
			}
			if code != want && args[0] != "doctor" { // which has codes of its own
				t.Errorf("%s: %v: exit code %d, want %d: %s", c.what, args, code, want, p.err)
			}
			quiet(c.what+": "+strings.Join(args, " "), p)
		}
	}
	s := &testServer{process: start(t, []string{"BECK_REDIS=" + at, "REDIS_DATA=" + data}, "serve", "--listen", "127.0.0.1:0", "--log-level", "debug")}
	s.out.until(t, "the address of the server", servedAt.MatchString)
	run(t, "", []string{"BECK_AT=" + servedAt.FindStringSubmatch(s.out.String())[1]}, "pub", "a", "by a server")
	quiet("serve", s.process)
}
