package acceptance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/cli"
	"github.com/beckmq/beck/internal/redistest"
	"github.com/beckmq/beck/onhttp"
	"github.com/beckmq/beck/onredis"
)

// full has the tests run at the size at which they are shown.
var full = os.Getenv("BECK_SHOW") == "full"

// sized returns the size of a test.
func sized[T any](short, whole T) T {
	if full {
		return whole
	}
	return short
}

const roleVariable = "BECK_ACCEPTANCE_ROLE"

// TestMain has this program be one of the processes that a test starts.
func TestMain(m *testing.M) {
	text := os.Getenv(roleVariable)
	if text == "" {
		os.Exit(m.Run())
	}
	var r role
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		panic(err)
	}
	if r.Name == "serve" {
		os.Args = append([]string{"beck", "serve"}, r.Args...)
		os.Exit(cli.Main())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	bus, err := openBus(ctx, r.At)
	if err == nil {
		fmt.Println("ready")
		err = roles[r.Name](ctx, bus, r)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, r.Name, err)
		os.Exit(1)
	}
	bus.Close(context.Background())
}

// role is what a process is to do.
type role struct {
	Name string
	At   string
	File string // that it writes to
	Args []string
}

// roles are what a process can do until it is ended.
var roles = map[string]func(context.Context, *beck.Bus, role) error{
	"work":    work,
	"cron":    runCron,
	"archive": runArchive,
}

func openBus(ctx context.Context, at string) (*beck.Bus, error) {
	quiet := beck.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	if strings.HasPrefix(at, "http") {
		return onhttp.Open(at, &onhttp.Options{Options: quiet})
	}
	return onredis.Open(ctx, at, &onredis.Options{Options: quiet})
}

// process is one that a test has started.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	err  bytes.Buffer
	ends sync.Once
}

func start(t *testing.T, r role) *process {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), roleVariable+"="+string(text))
	p.cmd.Stderr = &p.err
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	// The first thing that each says tells that signals are seen to.
	if _, err := out.Read(make([]byte, 256)); err != nil {
		p.kill()
		t.Fatalf("the process for %s: %v\n%s", r.Name, err, p.err.String())
	}
	go io.Copy(io.Discard, out)
	return p
}

// kill ends a process as a crash does.
func (p *process) kill() {
	p.ends.Do(func() {
		p.cmd.Process.Kill()
		p.cmd.Wait()
	})
}

// end has a process end by itself.
func (p *process) end() {
	p.t.Helper()
	p.ends.Do(func() {
		p.cmd.Process.Signal(syscall.SIGTERM)
		if err := p.cmd.Wait(); err != nil {
			p.t.Errorf("a process ended with %v:\n%s", err, p.err.String())
		}
	})
}

// deployment is what the tests run on.
type deployment struct {
	at      string
	redis   *redistest.Server // nil on disk
	restart func()            // all of it, as a crash does
}

// onEach runs a test on Redis, and over a server on disk.
func onEach(t *testing.T, test func(t *testing.T, d deployment)) {
	t.Run("disk", func(t *testing.T) {
		address := freeAddress(t)
		r := role{Name: "serve", Args: []string{"--listen", address, "--data", filepath.Join(t.TempDir(), "data")}}
		server := start(t, r)
		d := deployment{at: "http://" + address}
		awaitServer(t, server, d.at)
		d.restart = func() {
			server.kill()
			server = start(t, r)
			awaitServer(t, server, d.at)
		}
		test(t, d)
	})
	t.Run("redis", func(t *testing.T) {
		redis := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
		test(t, deployment{at: redis.URL(), redis: redis, restart: func() {
			redis.Kill()
			redis.Restart()
		}})
	})
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func awaitServer(t *testing.T, p *process, url string) {
	t.Helper()
	for begin := time.Now(); time.Since(begin) < 20*time.Second; time.Sleep(10 * time.Millisecond) {
		answer, err := http.Get(url + "/readyz")
		if err != nil {
			continue
		}
		answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			return
		}
	}
	p.kill()
	t.Fatalf("the server does not answer:\n%s", p.err.String())
}

// open opens a bus for the test itself.
func open(t *testing.T, d deployment) *beck.Bus {
	t.Helper()
	bus, err := openBus(t.Context(), d.at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close(context.WithoutCancel(t.Context())) })
	return bus
}

// await waits until what is asked for is so.
func await(t *testing.T, what string, most time.Duration, is func() bool) {
	t.Helper()
	for begin := time.Now(); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Since(begin) > most {
			t.Fatalf("after %v it is still not so: %s", most, what)
		}
	}
}
