package cli

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/beckmq/beck/internal/redistest"
)

// TestMain makes this test binary the beck program when it is called by that
// name, so that tests run real processes.
func TestMain(m *testing.M) {
	if os.Getenv(raceEnv) == "" {
		_ = os.Setenv(raceEnv, "atexit_sleep_ms=10")
	}
	testscript.Main(m, map[string]func(){"beck": func() { os.Exit(Main()) }})
}

// raceEnv has the options of the race detector. By default it has every process
// that ends wait a second for a last report, and these tests end five hundred.
const raceEnv = "GORACE"

// patience is how long a test waits for what should happen at once.
const patience = time.Minute

// process is a running beck.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    *watched
	err    *watched
	in     io.WriteCloser
	ended  chan struct{}
	status error
}

// start runs beck with an open standard input, and ends it with the test.
func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := prepare(t, env, args...)
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	p.run()
	return p
}

// startReading runs beck with a standard input.
func startReading(t *testing.T, in io.Reader, env []string, args ...string) *process {
	t.Helper()
	p := prepare(t, env, args...)
	p.cmd.Stdin = in
	p.run()
	return p
}

func prepare(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	program, err := exec.LookPath("beck")
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(program, args...), out: newWatched(), err: newWatched(), ended: make(chan struct{})}
	p.cmd.Args[0] = "beck"
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Dir = t.TempDir()
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.err
	return p
}

func (p *process) run() {
	p.t.Helper()
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		p.status = p.cmd.Wait()
		close(p.ended)
	}()
	p.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
	})
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// kill ends the process as a crash does.
func (p *process) kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	<-p.ended
}

// exit waits for the end of the process and returns its exit code.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.t.Fatalf("beck %s did not end\nstdout: %.2000s\nstderr: %.2000s", strings.Join(p.cmd.Args[1:], " "), p.out, p.err)
		return -1
	}
}

// run runs a command to its end, which must be a good one, and returns what it
// printed.
func run(t *testing.T, in string, env []string, args ...string) string {
	t.Helper()
	p := startReading(t, strings.NewReader(in), env, args...)
	if code := p.exit(); code != 0 {
		t.Fatalf("beck %s: exit code %d\n%s", strings.Join(args, " "), code, p.err)
	}
	return p.out.String()
}

// watched is output that a test can wait for.
type watched struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func newWatched() *watched { return &watched{changed: make(chan struct{}, 1)} }

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(b)
	signalOne(w.changed)
	return len(b), nil
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

func (w *watched) lines() []string { return lines(w.String()) }

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// until waits until the output is as wanted.
func (w *watched) until(t *testing.T, what string, done func(text string) bool) {
	t.Helper()
	late := time.After(patience)
	for !done(w.String()) {
		select {
		case <-w.changed:
		case <-late:
			t.Fatalf("waited in vain for %s; there is:\n%.2000s", what, w)
		}
	}
}

func (w *watched) contains(t *testing.T, text string) {
	t.Helper()
	w.until(t, fmt.Sprintf("%q", text), func(s string) bool { return strings.Contains(s, text) })
}

// testServer is a beck serve that can be killed and started again.
type testServer struct {
	*process
	url  string
	data string
}

var servedAt = regexp.MustCompile(`on (http://\S+)\n`)

// serve starts a server on a free port and waits until it is ready.
func serve(t *testing.T, args ...string) *testServer {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	if len(args) == 0 {
		args = []string{"--data", data}
	}
	return serveOn(t, "127.0.0.1:0", data, args...)
}

func serveOn(t *testing.T, listen, data string, args ...string) *testServer {
	t.Helper()
	s := &testServer{process: start(t, nil, append([]string{"serve", "--listen", listen}, args...)...), data: data}
	s.out.until(t, "the address of the server", servedAt.MatchString)
	s.url = servedAt.FindStringSubmatch(s.out.String())[1]
	return s
}

// again starts a server like one that has ended, at the same address.
func (s *testServer) again(t *testing.T) *testServer {
	t.Helper()
	return serveOn(t, strings.TrimPrefix(s.url, "http://"), s.data, "--data", s.data)
}

func TestScripts(t *testing.T) {
	t.Parallel()
	params := scripts(func(env *testscript.Env) error { env.Setenv("BECK_AT", "disk:data"); return nil })
	params.Dir = "testdata"
	testscript.Run(t, params)
}

// The scripts that are about no place run on Redis and over HTTP, too.
func TestScriptsElsewhere(t *testing.T) {
	t.Parallel()
	var files []string
	for _, name := range []string{"archive", "confirm", "dead", "delayed", "live", "queue", "steer", "subscription"} {
		files = append(files, filepath.Join("testdata", name+".txtar"))
	}
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		redis := redistest.Start(t)
		var databases atomic.Int32
		params := scripts(func(env *testscript.Env) error {
			env.Setenv("BECK_AT", fmt.Sprintf("%s/%d", strings.TrimSuffix(redis.URL(), "/0"), databases.Add(1)))
			return nil
		})
		params.Files = files
		testscript.Run(t, params)
	})
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		params := scripts(func(env *testscript.Env) error {
			env.Setenv("BECK_AT", serve(t).url)
			return nil
		})
		params.Files = files
		testscript.Run(t, params)
	})
}

func scripts(setup func(*testscript.Env) error) testscript.Params {
	return testscript.Params{
		Setup: func(env *testscript.Env) error {
			env.Setenv(raceEnv, os.Getenv(raceEnv))
			return setup(env)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits,
			"serve": serveScript,
			"sleep": sleepScript,
		},
	}
}

// exits CODE COMMAND... runs a command and checks its exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	code := "0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		code = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if code != args[0] {
		ts.Fatalf("exit code %s, want %s", code, args[0])
	}
}

// sleep DURATION lets time pass where time is what is tested.
func sleepScript(ts *testscript.TestScript, _ bool, args []string) {
	d, err := time.ParseDuration(strings.Join(args, ""))
	ts.Check(err)
	time.Sleep(d)
}

// serve [ARGS...] runs a server on a free port until the script ends, and sets
// BECK_AT to its address.
func serveScript(ts *testscript.TestScript, _ bool, args []string) {
	program, err := exec.LookPath("beck")
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	cmd.Dir = ts.MkAbs(".")
	problems := newWatched()
	cmd.Stderr = problems
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		cancel()
		_ = cmd.Wait()
	})
	first, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !servedAt.MatchString(first) {
		ts.Fatalf("the server did not start: %q, %v\n%s", first, err, problems)
	}
	ts.Setenv("BECK_AT", servedAt.FindStringSubmatch(first)[1])
}
