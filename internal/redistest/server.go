package redistest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// startTimeout is how long a server may take until it answers.
	startTimeout = 10 * time.Second
	// stopTimeout is how long it may take to end by itself.
	stopTimeout = 10 * time.Second
	// startAttempts is how often another port is tried, since a free port may
	// be taken by someone else before the server has it.
	startAttempts = 5
	pollInterval  = 5 * time.Millisecond
)

// Server is a running Redis server. Its methods fail the test on any error.
type Server struct {
	t       testing.TB
	dir     string
	port    int
	busPort int // of a node of a cluster
	options Options
	started bool // it has run before

	mu  sync.Mutex
	pid int // 0 when the server does not run
}

// Start runs a server on a free port, with its data in a directory of its own. The
// arguments are those of redis-server, such as "--appendonly", "yes"; without
// any, it stores nothing on disk. The server ends with the test.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return StartWith(t, Options{Args: args})
}

// StartWith is Start with all there is to choose.
func StartWith(t testing.TB, options Options) *Server {
	t.Helper()
	needRedis(t)
	s, err := launch(t, options)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func needRedis(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("BECK_TEST_REDIS") == "require" {
			t.Fatalf("redis-server is needed for this test: %v", err)
		}
		t.Skipf("redis-server is not installed: %v", err)
	}
}

// launch starts a server that ends with the test. It may be called from any
// goroutine.
func launch(t testing.TB, options Options) (*Server, error) {
	// Not t.TempDir: the path of a socket has to be short.
	dir, err := os.MkdirTemp("", "redis")
	if err != nil {
		return nil, err
	}
	s := &Server{t: t, dir: dir, options: options}
	t.Cleanup(func() {
		s.end()
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the files of redis-server: %v", err)
		}
	})
	for range startAttempts {
		if s.port, err = freePort(); err != nil {
			break
		}
		if s.busPort, err = freePort(); err != nil {
			break
		}
		if err = s.run(); err == nil {
			return s, nil
		}
		s.end()
	}
	return nil, fmt.Errorf("can't start redis-server: %w\n%s", err, s.log())
}

// ended adds to an error what those of the servers wrote last that have ended though
// nobody ended them.
func ended(err error, servers []*Server) error {
	if err == nil {
		return nil
	}
	for _, s := range servers {
		if s != nil && !s.running() {
			err = fmt.Errorf("%w\n%s has ended:\n%s", err, s.Addr(), s.log())
		}
	}
	return err
}

// launchAll starts servers side by side.
func launchAll(t testing.TB, options []Options) ([]*Server, error) {
	servers, errs := make([]*Server, len(options)), make([]error, len(options))
	var wait sync.WaitGroup
	for i, o := range options {
		wait.Go(func() { servers[i], errs[i] = launch(t, o) })
	}
	wait.Wait()
	return servers, errors.Join(errs...)
}

// Addr is the server's host and port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// socket is the path of the server's unix socket.
func (s *Server) socket() string { return filepath.Join(s.dir, "redis.sock") }

// Dir is the directory with the server's data.
func (s *Server) Dir() string { return s.dir }

// Running reports whether the server's process is there, paused or not.
func (s *Server) Running() bool { return s.running() }

// Kill ends the server as a crash does (kill -9).
func (s *Server) Kill() {
	s.t.Helper()
	s.signal(syscall.SIGKILL)
}

// Stop ends the server as an operator does (SIGTERM) and waits until it is gone.
func (s *Server) Stop() {
	s.t.Helper()
	s.signal(syscall.SIGTERM)
}

// Pause makes the server hang, with its connections open (SIGSTOP), until
// Continue.
func (s *Server) Pause() {
	s.t.Helper()
	if err := s.send(syscall.SIGSTOP); err != nil {
		s.t.Fatalf("pause redis-server: %v", err)
	}
}

// Continue ends a Pause.
func (s *Server) Continue() {
	s.t.Helper()
	if err := s.send(syscall.SIGCONT); err != nil {
		s.t.Fatalf("continue redis-server: %v", err)
	}
}

// Restart starts the server again, after Kill or Stop, on the same port and with
// the same data, and waits until it answers. One that still runs is stopped
// first.
func (s *Server) Restart() {
	s.t.Helper()
	if s.running() {
		s.Stop()
	}
	if err := s.run(); err != nil {
		s.t.Fatalf("restart redis-server: %v\n%s", err, s.log())
	}
}

// Do runs one command as a user who may do everything and returns the reply: an
// array one line an element, and without the space around it.
func (s *Server) Do(args ...string) string {
	s.t.Helper()
	out, err := s.try(args...)
	if err != nil {
		s.t.Fatalf("redis %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// FlushAll removes all data.
func (s *Server) FlushAll() {
	s.t.Helper()
	s.Do("FLUSHALL")
}

// run starts the server and waits until it answers.
func (s *Server) run() error {
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the server has its own copy
	args, err := s.arguments()
	if err != nil {
		return err
	}
	cmd := exec.Command("redis-server", args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attributes()
	if err := cmd.Start(); err != nil {
		return err
	}
	s.mu.Lock()
	s.pid = cmd.Process.Pid
	s.mu.Unlock()
	err = s.wait(cmd.Process.Pid)
	s.started = s.started || err == nil
	return err
}

// wait returns once this server, and not another one on its port, answers.
func (s *Server) wait(pid int) error {
	own := fmt.Sprintf("process_id:%d", pid)
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(pollInterval) {
		info, err := s.try("INFO")
		if err == nil && strings.Contains(info, own) && (s.options.sentinel || field(info, "loading") == "0") {
			return nil
		}
		if !s.running() {
			return errors.New("it ended by itself")
		}
	}
	return fmt.Errorf("no answer after %v", startTimeout)
}

// running asks the system, rather than have a goroutine wait: tests look for
// goroutines that were left behind.
func (s *Server) running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid == 0 {
		return false
	}
	if ended, err := syscall.Wait4(s.pid, nil, syscall.WNOHANG, nil); ended == s.pid || err == syscall.ECHILD {
		s.pid = 0
	}
	return s.pid != 0
}

func (s *Server) send(sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid == 0 {
		return errors.New("it does not run")
	}
	return syscall.Kill(s.pid, sig)
}

// signal sends a signal that ends the server and waits until it has.
func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.send(sig); err != nil {
		s.t.Fatalf("end redis-server: %v", err)
	}
	for deadline := time.Now().Add(stopTimeout); s.running(); time.Sleep(pollInterval) {
		if time.Now().After(deadline) {
			s.t.Fatalf("redis-server still runs %v after the signal to end", stopTimeout)
		}
	}
}

// end is for the end of the test: it kills what may still run.
func (s *Server) end() {
	if s.running() {
		_ = s.send(syscall.SIGKILL)
	}
	for s.running() {
		time.Sleep(pollInterval)
	}
}

func (s *Server) logFile() string { return filepath.Join(s.dir, "redis.log") }

// log returns what the server wrote last.
func (s *Server) log() string {
	all, _ := os.ReadFile(s.logFile())
	return string(all[max(0, len(all)-2000):])
}

// freePort returns a port below those that systems give to outgoing connections,
// so that a server finds its port free when it starts again.
func freePort() (int, error) {
	for range 100 {
		port := 11000 + rand.IntN(21000)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("no free port found")
}
