package cli

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// untilRuns repeats a command until it ends well, for what another process has yet
// to begin. It returns what it printed.
func untilRuns(t *testing.T, env []string, good func(out string) bool, args ...string) string {
	t.Helper()
	for late := time.After(patience); ; {
		p := startReading(t, strings.NewReader(""), env, args...)
		if code := p.exit(); code == 0 && good(p.out.String()) {
			return p.out.String()
		}
		select {
		case <-late:
			t.Fatalf("beck %s did not come to a good end: %s%s", strings.Join(args, " "), p.out, p.err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func anything(string) bool { return true }

// A request is answered by a command, which may fail, or may take too long.
func TestRequestAndReply(t *testing.T) {
	shared(t, func(t *testing.T, env []string) {
		reply := start(t, env, "reply", "upper", "--exec", `test "$BECK_SERVICE" = upper || exit 9
case "$BECK_KEY" in
fail) echo first; echo "no such" thing >&2; exit 3;;
slow) sleep 60;;
none) exit 0;;
large) head -c 2000000 /dev/zero;;
*) tr a-z A-Z;;
esac`)
		if got := untilRuns(t, env, anything, "request", "upper", "hello"); got != "HELLO" {
			t.Errorf("answered %q", got)
		}
		if got := run(t, "from\nstdin\n", env, "request", "upper"); got != "FROM\nSTDIN\n" {
			t.Errorf("answered %q", got)
		}
		if got := run(t, "", env, "request", "upper", "x", "--key", "none"); got != "" {
			t.Errorf("answered %q", got)
		}
		for _, c := range []struct {
			key, says string
			exit      int
		}{
			{"fail", "no such thing", 18},
			{"large", "too large", 18},
			{"slow", "no answer within 300ms", 20},
		} {
			timeout := "20s"
			if c.key == "slow" {
				timeout = "300ms"
			}
			p := startReading(t, strings.NewReader(""), env, "request", "upper", "x", "--key", c.key, "--timeout", timeout)
			if code := p.exit(); code != c.exit || !strings.Contains(p.err.String(), c.says) || p.out.String() != "" {
				t.Errorf("%s: exit code %d: %s%s", c.key, code, p.out, p.err)
			}
		}
		reply.signal(syscall.SIGINT)
		if code := reply.exit(); code != 0 {
			t.Errorf("ctrl-C ends reply with %d: %s", code, reply.err)
		}
		p := startReading(t, strings.NewReader(""), env, "request", "upper", "x")
		if code := p.exit(); code != 16 {
			t.Errorf("without a replier: exit code %d: %s", code, p.err)
		}

		one := start(t, env, "reply", "ping", "--echo", "--count", "1")
		if got := untilRuns(t, env, anything, "request", "ping", "pong"); got != "pong" {
			t.Errorf("answered %q", got)
		}
		if code := one.exit(); code != 0 {
			t.Errorf("--count ends with %d: %s", code, one.err)
		}
	})
}

// What is broadcast reaches those who listen to its subject, and is counted.
func TestBroadcastAndListen(t *testing.T) {
	shared(t, func(t *testing.T, env []string) {
		exact := start(t, env, "listen", "typing.room1", "--count", "2")
		prefix := start(t, env, "listen", "typing.*", "--json", "--count", "2")
		all := start(t, env, "listen", "*")
		heard := func(p *process, subject, body string) {
			t.Helper()
			for late := time.After(patience); !strings.Contains(p.out.String(), body); {
				run(t, "", env, "broadcast", subject, body)
				select {
				case <-late:
					t.Fatalf("%q was not heard: %s", body, p.err)
				case <-time.After(20 * time.Millisecond):
				}
			}
		}
		heard(all, "begun", "all is there")
		// From here on nobody but all may have heard anything.
		for _, p := range []*process{exact, prefix} {
			if p.out.String() != "" {
				t.Errorf("heard %q", p.out)
			}
		}
		heard(exact, "typing.room1", "ann")
		heard(prefix, "typing.room2", "bob")
		heard(exact, "typing.room1", "eve")
		for _, p := range []*process{exact, prefix} {
			untilRuns(t, env, func(string) bool {
				select {
				case <-p.ended:
					return true
				default:
					return false
				}
			}, "broadcast", "typing.room1", "end")
			if code := p.exit(); code != 0 || len(p.out.lines()) != 2 {
				t.Errorf("exit code %d, heard %q: %s", code, p.out, p.err)
			}
		}
		if first := prefix.out.lines()[0]; !strings.HasPrefix(first, `{"topic":"typing.room`) || !strings.Contains(first, `"time":"20`) {
			t.Errorf("heard %s", first)
		}
		// That the others have gone may be noticed later.
		untilRuns(t, env, func(out string) bool { return out == "1\n" }, "broadcast", "typing.room9", "x")
		all.signal(syscall.SIGINT)
		if code := all.exit(); code != 0 {
			t.Errorf("ctrl-C ends listen with %d: %s", code, all.err)
		}
	})
}
