package cli

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/beckmq/beck/internal/redistest"
)

// A password is taken from the URL or the environment, and never shown.
func TestRedisPassword(t *testing.T) {
	const password = "s3cret"
	redis := redistest.Start(t, "--requirepass", password)
	with := strings.Replace(redis.URL(), "redis://", "redis://:"+password+"@", 1)
	wrong := strings.Replace(redis.URL(), "redis://", "redis://:not"+password+"@", 1)
	for _, c := range []struct {
		name string
		env  []string
		exit int
	}{
		{"in the URL", []string{"BECK_AT=" + with}, 0},
		{"in the environment", []string{"BECK_AT=" + redis.URL(), "BECK_REDIS_PASSWORD=" + password}, 0},
		{"wrong", []string{"BECK_AT=" + wrong}, 7},
		{"missing", []string{"BECK_AT=" + redis.URL()}, 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, args := range [][]string{{"topics"}, {"pub", "a", "b"}, {"info", "none"}, {"sub", "a", "--as", "x", "--no-wait"}} {
				p := startReading(t, strings.NewReader(""), c.env, args...)
				code, want := p.exit(), c.exit
				if want == 0 && args[0] == "info" {
					want = 3
				}
				if code != want {
					t.Errorf("%v: exit code %d, want %d: %s", args, code, want, p.err)
				}
				if all := p.out.String() + p.err.String(); strings.Contains(all, password) {
					t.Errorf("%v shows the password: %s", args, all)
				}
			}
		})
	}
	t.Run("server", func(t *testing.T) {
		s := serve(t, "--redis", with)
		if all := s.out.String() + s.err.String(); strings.Contains(all, password) {
			t.Errorf("serve shows the password: %s", all)
		}
		env := []string{"BECK_AT=" + s.url}
		run(t, "", env, "pub", "a", "over redis")
		if got := run(t, "", env, "sub", "a", "--no-wait"); !strings.HasSuffix(got, "over redis\n") {
			t.Errorf("sub gave %q", got)
		}
	})
}

// Any Redis client can publish and read.
func TestRedisForeign(t *testing.T) {
	redis := redistest.Start(t)
	env := []string{"BECK_AT=" + redis.URL()}
	follow := start(t, env, "sub", "sensors", "--from", "start")
	redis.Do("XADD", "beck:sensors", "*", "temperature", "21")
	follow.out.contains(t, `{"temperature":"21"}`+"\n")
	run(t, "", env, "pub", "sensors", "from beck")
	follow.out.contains(t, "from beck\n")
	if got := redis.Do("XRANGE", "beck:sensors", "-", "+"); !strings.Contains(got, "from beck") {
		t.Errorf("the stream holds %s", got)
	}

	// The prefix is a matter of choice.
	run(t, "", env, "pub", "bare", "x", "--prefix", "")
	run(t, "", env, "pub", "own", "x", "--prefix", "app:")
	if got := redis.Do("EXISTS", "bare", "app:own"); got != "2" {
		t.Errorf("%s of the two keys exist", got)
	}
}

// Every id printed is kept over a crash of a Redis that syncs always; with
// --retry, publishing and receiving go on.
func TestRedisKilledWhilePublishing(t *testing.T) {
	const n = 100_000
	redis := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	env := []string{"BECK_AT=" + redis.URL()}
	follow := start(t, env, "sub", "logs", "--from", "start")
	billing := start(t, env, "sub", "logs", "--as", "billing")
	pub := start(t, env, "pub", "logs", "--lines", "--retry", "1m")
	go feed(pub, 1, n)
	pub.out.until(t, "some ids", hasLines(2000))
	for _, p := range []*process{follow, billing} {
		p.out.contains(t, "line 1\n")
	}
	redis.Kill()
	pub.err.contains(t, "trying again")
	redis.Restart()
	if code := pub.exit(); code != 0 {
		t.Fatalf("pub: exit code %d\n%s", code, pub.err)
	}
	ids := pub.out.lines()
	if len(ids) != n {
		t.Errorf("%d ids, want %d", len(ids), n)
	}

	stored := lines(run(t, "", env, "sub", "logs", "--no-wait", "--json"))
	next := 0
	for _, message := range stored {
		if next < n && strings.HasPrefix(message, `{"id":"`+ids[next]+`"`) {
			if !strings.Contains(message, fmt.Sprintf(`"body":"line %d"`, next+1)) {
				t.Fatalf("id %d stands for %s", next+1, message)
			}
			next++
		}
	}
	if next != n {
		t.Errorf("only %d of %d ids are there, in order", next, n)
	}
	last := fmt.Sprintf("\nline %d\n", n)
	follow.out.contains(t, last)
	billing.out.contains(t, last)
}

// Without a server, cron run publishes what is due, and ctrl-C is its normal end.
func TestRedisCron(t *testing.T) {
	env := []string{"BECK_AT=" + redistest.Start(t).URL()}
	one := start(t, env, "cron", "run")
	two := start(t, env, "cron", "run")
	run(t, "", env, "cron", "add", "tick", "* * * * * *", "ticks", "x")
	got := lines(run(t, "", env, "sub", "ticks", "--from", "start", "--count", "3", "--json"))
	ticks := map[string]bool{}
	for _, line := range got {
		_, tick, _ := strings.Cut(line, `"beck-tick":"`)
		tick, _, _ = strings.Cut(tick, `"`)
		ticks[tick] = true
	}
	if len(ticks) != 3 || ticks[""] {
		t.Errorf("not three ticks: %q", got)
	}
	for _, p := range []*process{one, two} {
		p.signal(syscall.SIGINT)
		if code := p.exit(); code != 0 {
			t.Errorf("ctrl-C ends cron run with %d: %s", code, p.err)
		}
	}
}
