package cli

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/redistest"
)

// shared runs a test, side by side with others, where several processes can work
// on the same messages.
func shared(t *testing.T, test func(t *testing.T, env []string)) {
	t.Helper()
	t.Parallel()
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		test(t, []string{"BECK_AT=" + serve(t).url})
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		test(t, []string{"BECK_AT=" + redistest.Start(t).URL()})
	})
}

// Two who read through one subscription share its messages; another
// subscription has them all.
func TestTwoShareASubscription(t *testing.T) {
	shared(t, func(t *testing.T, env []string) {
		const n = 5000
		one := start(t, env, "sub", "logs", "--as", "billing")
		two := start(t, env, "sub", "logs", "--as", "billing")
		audit := start(t, env, "sub", "logs", "--as", "audit")
		for _, p := range []*process{one, two, audit} {
			p.err.contains(t, "subscription")
		}
		run(t, numbered(n), env, "pub", "logs", "--lines")
		audit.out.until(t, "all lines", hasLines(n))
		late := time.After(patience)
		for len(one.out.lines())+len(two.out.lines()) < n {
			select {
			case <-time.After(10 * time.Millisecond):
			case <-late:
				t.Fatalf("%d and %d lines of %d", len(one.out.lines()), len(two.out.lines()), n)
			}
		}
		each(t, n, one.out.lines(), two.out.lines())
		each(t, n, audit.out.lines())
		t.Logf("shares: %d and %d", len(one.out.lines()), len(two.out.lines()))
	})
}

// numbered makes lines 1 to n.
func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%06d\n", i+1)
	}
	return b.String()
}

func hasLines(n int) func(string) bool {
	return func(s string) bool { return strings.Count(s, "\n") >= n }
}

// each checks that parts hold each of n numbered lines once.
func each(t *testing.T, n int, parts ...[]string) {
	t.Helper()
	all := slices.Sorted(slices.Values(slices.Concat(parts...)))
	if want := lines(numbered(n)); !slices.Equal(all, want) {
		t.Errorf("%d lines, %d different ones; want each of %d once", len(all), len(slices.Compact(all)), n)
	}
}

// What a reader held when it died goes to the other one after the lease.
func TestKilledReader(t *testing.T) {
	shared(t, func(t *testing.T, env []string) {
		const n = 1000
		run(t, numbered(n), env, "pub", "logs", "--lines")
		// This one's output is a pipe that nobody reads, so it soon holds
		// messages that it can't print.
		stuck := prepare(t, env, "sub", "logs", "--as", "billing", "--lease", "1s", "--json")
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer read.Close()
		fill(t, write)
		stuck.cmd.Stdout = write
		stuck.run()
		write.Close()
		stuck.err.contains(t, "subscription billing is new")
		// It holds on to them beyond the lease while it lives.
		held := waitPending(t, env)
		time.Sleep(1500 * time.Millisecond)
		other := start(t, env, "sub", "logs", "--as", "billing")
		other.out.until(t, "all but what the first holds", hasLines(n-held))
		time.Sleep(1500 * time.Millisecond)
		if got := len(other.out.lines()); got != n-held {
			t.Fatalf("the other got %d lines while the first one lived, want %d", got, n-held)
		}
		stuck.kill()
		other.out.until(t, "all", hasLines(n))
		each(t, n, other.out.lines())
	})
}

// fill fills a pipe so that not another byte goes in.
func fill(t *testing.T, pipe *os.File) {
	t.Helper()
	for _, portion := range [][]byte{make([]byte, 1<<20), make([]byte, 1)} {
		var err error
		for err == nil {
			if err = pipe.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			_, err = pipe.Write(portion)
		}
	}
	if err := pipe.SetWriteDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
}

// waitPending waits until a reader holds messages, and returns how many; how many
// a first fetch brings is up to the engine.
func waitPending(t *testing.T, env []string) int {
	t.Helper()
	pending := regexp.MustCompile(`"pending":([1-9]\d*),`)
	for late := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		info := run(t, "", env, "info", "logs", "--json")
		if found := pending.FindStringSubmatch(info); found != nil {
			n, _ := strconv.Atoi(found[1])
			return n
		}
		if time.Now().After(late) {
			t.Fatalf("nothing is pending: %s", info)
		}
	}
}

// After ctrl-C what was not printed is free for others at once.
func TestCtrlCReleasesWhatIsNotPrinted(t *testing.T) {
	shared(t, func(t *testing.T, env []string) {
		run(t, numbered(100), env, "pub", "logs", "--lines")
		stuck := prepare(t, env, "sub", "logs", "--as", "billing", "--lease", "1m")
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer read.Close()
		fill(t, write)
		stuck.cmd.Stdout = write
		stuck.run()
		write.Close()
		waitPending(t, env)
		stuck.signal(syscall.SIGINT)
		if code := stuck.exit(); code != 0 {
			t.Errorf("exit code %d\n%s", code, stuck.err)
		}
		got := run(t, "", env, "sub", "logs", "--as", "billing", "--no-wait")
		each(t, 100, lines(got))
	})
}

// A closed output ends a command quietly and well.
func TestBrokenPipe(t *testing.T) {
	env := append(os.Environ(), "BECK_AT=disk:"+filepath.Join(t.TempDir(), "data"))
	run(t, numbered(50_000), env, "pub", "logs", "--lines")
	for _, command := range []string{
		"beck sub logs --from start",
		"beck sub logs --no-wait",
		"beck sub logs --no-wait --json",
		"beck sub logs --as billing",
	} {
		t.Run(command, func(t *testing.T) {
			cmd := exec.Command("bash", "-c", "set -o pipefail; "+command+" | head -n 3; echo codes ${PIPESTATUS[*]}")
			cmd.Env = env
			problems := newWatched()
			cmd.Stderr = problems
			out, err := cmd.Output()
			if err != nil || !strings.HasSuffix(string(out), "codes 0 0\n") || strings.Count(string(out), "\n") != 4 {
				t.Errorf("%v\n%s\n%s", err, out, problems)
			}
			if s := problems.String(); strings.Contains(s, "pipe") || strings.Contains(s, "closed") {
				t.Errorf("not quiet: %s", s)
			}
		})
	}
	// Publishing goes on without printing: the messages are what matters.
	cmd := exec.Command("bash", "-c", "beck pub more --lines | head -n 1")
	cmd.Env, cmd.Stdin = env, strings.NewReader(numbered(50_000))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	each(t, 50_000, lines(run(t, "", env, "sub", "more", "--no-wait")))
}

// Ctrl-C in the middle of work says so by its exit code, and is quiet.
func TestCtrlC(t *testing.T) {
	server := serve(t)
	env := []string{"BECK_AT=" + server.url}
	t.Run("waiting for input", func(t *testing.T) {
		p := start(t, env, "pub", "a")
		time.Sleep(300 * time.Millisecond)
		p.signal(syscall.SIGINT)
		if code := p.exit(); code != 130 || p.err.String() != "" {
			t.Errorf("exit code %d, said %q", code, p.err)
		}
	})
	t.Run("lines", func(t *testing.T) {
		p := start(t, env, "pub", "a", "--lines")
		io.WriteString(p.in, "one\ntwo\n")
		p.out.until(t, "two ids", hasLines(2))
		p.signal(syscall.SIGINT)
		if code := p.exit(); code != 130 || p.err.String() != "beck: interrupted: lines 1–2 are stored, none after\n" {
			t.Errorf("exit code %d, said %q", code, p.err)
		}
	})
	t.Run("retrying", func(t *testing.T) {
		p := start(t, []string{"BECK_AT=http://127.0.0.1:1"}, "pub", "a", "--lines", "--retry", "1m")
		io.WriteString(p.in, "one\ntwo\n")
		p.err.contains(t, "trying again for 1m0s\n")
		p.signal(syscall.SIGINT)
		if code := p.exit(); code != 130 || !strings.HasSuffix(p.err.String(), "\nbeck: interrupted: no line is stored\n") {
			t.Errorf("exit code %d, said %q", code, p.err)
		}
	})
	t.Run("count", func(t *testing.T) {
		p := start(t, env, "sub", "b", "--count", "5")
		time.Sleep(300 * time.Millisecond)
		p.signal(syscall.SIGTERM)
		if code := p.exit(); code != 143 || p.err.String() != "" {
			t.Errorf("exit code %d, said %q", code, p.err)
		}
	})
	t.Run("serve", func(t *testing.T) {
		server.signal(syscall.SIGTERM)
		if code := server.exit(); code != 0 {
			t.Errorf("exit code %d, said %s", code, server.err)
		}
		server.err.contains(t, "signal=terminated\n")
	})
}
