package cli

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Each task is done once by one of several workers, and the queue is empty then.
func TestWorkersShareAQueue(t *testing.T) {
	shared(t, func(t *testing.T, env []string) {
		const n = 3000
		one := start(t, env, "work", "jobs")
		two := start(t, env, "work", "jobs")
		three := start(t, env, "work", "jobs", "others")
		run(t, numbered(n), env, "push", "jobs", "--lines", "--quiet")
		done := func() int { return len(one.out.lines()) + len(two.out.lines()) + len(three.out.lines()) }
		for late := time.After(patience); done() < n; {
			select {
			case <-time.After(10 * time.Millisecond):
			case <-late:
				t.Fatalf("%d of %d", done(), n)
			}
		}
		for _, p := range []*process{one, two, three} {
			p.signal(syscall.SIGINT)
			if code := p.exit(); code != 0 {
				t.Errorf("ctrl-C ends work with %d: %s", code, p.err)
			}
		}
		each(t, n, one.out.lines(), two.out.lines(), three.out.lines())
		info := run(t, "", env, "info", "jobs", "--json")
		if !strings.Contains(info, `"length":0,`) || !strings.Contains(info, `"consumers":[]`) {
			t.Errorf("left behind: %s", info)
		}
	})
}

// On ctrl-C a command that runs may finish; what was not begun is given back, and
// its attempt does not count.
func TestInterruptedWorker(t *testing.T) {
	shared(t, func(t *testing.T, env []string) {
		dir := t.TempDir()
		began, goOn := filepath.Join(dir, "began"), filepath.Join(dir, "go-on")
		run(t, "one\ntwo\n", env, "push", "jobs", "--lines", "--quiet")
		p := start(t, env, "work", "jobs", "--exec", fmt.Sprintf("touch %s; while ! test -e %s; do sleep 0.02; done; cat", began, goOn))
		untilExists(t, began)
		p.signal(syscall.SIGINT)
		time.Sleep(500 * time.Millisecond) // the signal is on its way
		if err := os.WriteFile(goOn, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if code := p.exit(); code != 0 || p.out.String() != "one" {
			t.Errorf("exit code %d, did %q: %s", code, p.out, p.err)
		}
		if left := run(t, "", env, "work", "jobs", "--no-wait", "--json"); strings.Count(left, "\n") != 1 || !strings.Contains(left, `"attempt":1,"body":"two"`) {
			t.Errorf("left: %s", left)
		}
	})
}

func untilExists(t *testing.T, file string) {
	t.Helper()
	for late := time.After(patience); ; {
		if _, err := os.Stat(file); err == nil {
			return
		}
		select {
		case <-late:
			t.Fatalf("there is no %s", file)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// A task whose worker is killed goes to another one after its lease, with a higher
// attempt number; a lease is renewed while a command runs longer.
func TestKilledWorker(t *testing.T) {
	shared(t, func(t *testing.T, env []string) {
		began := filepath.Join(t.TempDir(), "began")
		run(t, "", env, "push", "jobs", "task", "--quiet")
		killed := start(t, env, "work", "jobs", "--lease", "1s", "--exec", "touch "+began+"; sleep 2")
		untilExists(t, began)
		killed.kill()
		other := start(t, env, "work", "jobs", "--count", "1", "--exec", `sleep 2; echo "attempt $BECK_ATTEMPT"`)
		if code := other.exit(); code != 0 || other.out.String() != "attempt 2\n" {
			t.Errorf("exit code %d, did %q: %s", code, other.out, other.err)
		}
		info := run(t, "", env, "info", "jobs", "--json")
		if !strings.Contains(info, `"length":0,`) {
			t.Errorf("left behind: %s", info)
		}
	})
}

// With --retry, lines whose outcome was unknown are not stored twice.
func TestRetriedLinesAreStoredOnce(t *testing.T) {
	server := serve(t)
	var lost atomic.Int32
	at := between(t, server.url, func(r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/messages") && r.Method == "POST" {
			return lost.Add(1) <= 2
		}
		return false
	})
	const n = 2500
	p := startReading(t, strings.NewReader(numbered(n)), []string{"BECK_AT=" + at}, "pub", "logs", "--lines", "--retry", "30s")
	if code := p.exit(); code != 0 || lost.Load() < 3 || !strings.Contains(p.err.String(), "not stored twice") {
		t.Errorf("exit code %d, %d requests: %s", code, lost.Load(), p.err)
	}
	if ids := p.out.lines(); len(ids) != n {
		t.Errorf("%d ids", len(ids))
	}
	each(t, n, lines(run(t, "", []string{"BECK_AT=" + server.url}, "sub", "logs", "--no-wait")))
}
