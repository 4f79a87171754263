package cli

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/redistest"
)

// places runs a test on disk, through a server on disk, and on Redis. The
// environment says where.
func places(t *testing.T, test func(t *testing.T, env []string)) {
	t.Helper()
	t.Run("disk", func(t *testing.T) {
		test(t, []string{"BECK_AT=disk:" + filepath.Join(t.TempDir(), "data")})
	})
	t.Run("server", func(t *testing.T) {
		test(t, []string{"BECK_AT=" + serve(t).url})
	})
	t.Run("redis", func(t *testing.T) {
		test(t, []string{"BECK_AT=" + redistest.Start(t).URL()})
	})
}

// logLines makes lines like those of a log, with some odd ones.
func logLines(n int) string {
	chance := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for i := range n {
		switch chance.IntN(50) {
		case 0: // an empty line
		case 1:
			b.WriteString("with a carriage return\r")
		case 2:
			b.WriteString(strings.Repeat("long ", chance.IntN(2000)))
		case 3:
			b.Write([]byte{'b', 0xff, 0, 'x'})
		default:
			fmt.Fprintf(&b, "2026-11-21T08:00:00Z host%d app[%d]: request %d took %dms", i%7, i%13, i, chance.IntN(900))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// A log goes in and comes out again, byte for byte, at full speed.
func TestAHundredThousandLines(t *testing.T) {
	t.Parallel()
	n := 100_000
	if testing.Short() {
		n = 5_000
	}
	log := logLines(n)
	places(t, func(t *testing.T, env []string) {
		began := time.Now()
		ids := lines(run(t, log, env, "pub", "logs", "--lines"))
		if len(ids) != n || !slices.IsSorted(ids) || len(slices.Compact(ids)) != n {
			t.Fatalf("%d ids, sorted: %v; want %d, each once, in order", len(ids), slices.IsSorted(ids), n)
		}
		published := time.Since(began)

		began = time.Now()
		got := run(t, "", env, "sub", "logs", "--from", "start", "--no-wait")
		if got != log {
			t.Errorf("sub gave %d bytes, other than the %d published", len(got), len(log))
		}
		read := time.Since(began)

		began = time.Now()
		if got := run(t, "", env, "sub", "logs", "--from", "start", "--count", fmt.Sprint(n)); got != log {
			t.Errorf("following gave %d bytes, other than the %d published", len(got), len(log))
		}
		followed := time.Since(began)

		began = time.Now()
		if got := run(t, "", env, "sub", "logs", "--as", "billing", "--no-wait"); got != log {
			t.Errorf("sub --as gave %d bytes, other than the %d published", len(got), len(log))
		}
		t.Logf("pub %v, sub --no-wait %v, sub %v, sub --as %v", published, read, followed, time.Since(began))
	})
}

// What comes slowly is passed on line by line, without waiting for more.
func TestSlowInputAppearsAtOnce(t *testing.T) {
	env := []string{"BECK_AT=" + serve(t).url}
	follow := start(t, env, "sub", "logs", "--from", "start")
	billing := start(t, env, "sub", "logs", "--as", "billing")
	pub := start(t, env, "pub", "logs", "--lines")
	for i := range 5 {
		line := fmt.Sprintf("line %d", i)
		fmt.Fprintln(pub.in, line)
		follow.out.contains(t, line+"\n")
		billing.out.contains(t, line+"\n")
		pub.out.until(t, "the id of "+line, func(s string) bool { return strings.Count(s, "\n") == i+1 })
	}
	pub.in.Close()
	if code := pub.exit(); code != 0 {
		t.Errorf("pub: exit code %d", code)
	}
	// Following and subscribing have no end of their own: ctrl-C is a good one.
	for _, p := range []*process{follow, billing} {
		p.signal(syscall.SIGINT)
		if code := p.exit(); code != 0 {
			t.Errorf("%v after ctrl-C: exit code %d\n%s", p.cmd.Args, code, p.err)
		}
	}
	if s := follow.err.String(); s != "" {
		t.Errorf("sub said: %s", s)
	}
}

// Every id printed is kept, whatever happens to the server, and the error says
// where to go on.
func TestServerKilledWhilePublishing(t *testing.T) {
	server := serve(t)
	pub := start(t, []string{"BECK_AT=" + server.url}, "pub", "logs", "--lines")
	go feed(pub, 1, 200_000)
	pub.out.until(t, "some ids", func(s string) bool { return strings.Count(s, "\n") > 2000 })
	server.kill()
	if code := pub.exit(); code != 4 && code != 5 {
		t.Errorf("pub: exit code %d, want that of unavailable or of uncertain\n%s", code, pub.err)
	}
	ids := pub.out.lines()
	stored := fmt.Sprintf("lines 1–%d are stored", len(ids))
	next := fmt.Sprintf("go on from line %d", len(ids)+1)
	if s := pub.err.String(); !strings.Contains(s, stored) || !strings.Contains(s, next) {
		t.Errorf("pub printed %d ids, but says: %s", len(ids), s)
	}

	server = server.again(t)
	env := []string{"BECK_AT=" + server.url}
	got := lines(run(t, "", env, "sub", "logs", "--no-wait", "--json"))
	if len(got) < len(ids) {
		t.Fatalf("%d messages for %d ids", len(got), len(ids))
	}
	for i, id := range ids {
		want := fmt.Sprintf(`"body":"line %d"`, i+1)
		if !strings.HasPrefix(got[i], `{"id":"`+id+`"`) || !strings.Contains(got[i], want) {
			t.Fatalf("message %d is %s; want id %s and %s", i, got[i], id, want)
		}
	}
}

// feed writes numbered lines to a process until it ends.
func feed(p *process, from, to int) {
	for i := from; i <= to; i++ {
		if _, err := fmt.Fprintf(p.in, "line %d\n", i); err != nil {
			return
		}
	}
	p.in.Close()
}

// With --retry, publishing goes on over a crash of the server, and so do those
// who receive.
func TestRetryOverACrash(t *testing.T) {
	t.Parallel()
	const n = 100_000
	server := serve(t)
	env := []string{"BECK_AT=" + server.url}
	follow := start(t, env, "sub", "logs", "--from", "start")
	billing := start(t, env, "sub", "logs", "--as", "billing")
	pub := start(t, env, "pub", "logs", "--lines", "--retry", "1m")
	go feed(pub, 1, n)
	pub.out.until(t, "some ids", func(s string) bool { return strings.Count(s, "\n") > 2000 })
	for _, p := range []*process{follow, billing} {
		p.out.contains(t, "line 1\n")
	}
	server.kill()
	pub.err.contains(t, "trying again")
	server.again(t)
	if code := pub.exit(); code != 0 {
		t.Fatalf("pub: exit code %d\n%s", code, pub.err)
	}
	if got := len(pub.out.lines()); got != n {
		t.Errorf("%d ids, want %d", got, n)
	}
	last := fmt.Sprintf("\nline %d\n", n)
	for _, p := range []*process{follow, billing} {
		p.out.contains(t, last)
		seen := p.out.lines()
		repeated := len(seen) - n
		slices.Sort(seen)
		if got := len(slices.Compact(seen)); got != n {
			t.Errorf("%v received %d different lines, want %d", p.cmd.Args, got, n)
		}
		// One batch may be stored, or delivered, twice.
		if repeated > batchLines+beck.MaxFetch {
			t.Errorf("%v received %d lines twice", p.cmd.Args, repeated)
		}
	}
}
