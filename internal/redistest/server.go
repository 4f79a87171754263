package redistest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
	t    testing.TB
	dir  string
	port int
	args []string

	mu  sync.Mutex
	pid int // 0 when the server does not run
}

// Start runs a server on a free port, with its data in t.TempDir(). The
// arguments are those of redis-server, such as "--appendonly", "yes"; without
// any, it stores nothing on disk. The server ends with the test.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	for _, program := range []string{"redis-server", "redis-cli"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("BECK_TEST_REDIS") == "require" {
				t.Fatalf("%s is needed for this test: %v", program, err)
			}
			t.Skipf("%s is not installed: %v", program, err)
		}
	}
	s := &Server{t: t, dir: t.TempDir(), args: args}
	t.Cleanup(s.end)
	var err error
	for range startAttempts {
		if s.port, err = freePort(); err != nil {
			break
		}
		if err = s.run(); err == nil {
			return s
		}
		s.end()
	}
	t.Fatalf("can't start redis-server: %v\n%s", err, s.log())
	return nil
}

// Addr is the server's host and port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL is the server's address as beck takes it.
func (s *Server) URL() string { return "redis://" + s.Addr() }

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

// Do runs one command by redis-cli and returns what it printed, without the
// space around it.
func (s *Server) Do(args ...string) string {
	s.t.Helper()
	out, err := s.cli(args...)
	if err != nil {
		s.t.Fatalf("redis-cli %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// FlushAll removes all data.
func (s *Server) FlushAll() {
	s.t.Helper()
	s.Do("FLUSHALL")
}

// cli runs redis-cli, which prints errors of the server and may end well.
func (s *Server) cli(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	all := append([]string{"-e", "--raw", "-h", "127.0.0.1", "-p", strconv.Itoa(s.port)}, args...)
	var out, problem bytes.Buffer
	cmd := exec.CommandContext(ctx, "redis-cli", all...)
	cmd.Env = append(os.Environ(), "REDISCLI_AUTH="+s.password())
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w: %s%s", err, out.String(), problem.String())
	}
	return strings.TrimSpace(out.String()), nil
}

// password is that of the default user, if the server was started with one.
func (s *Server) password() string {
	for i, arg := range s.args {
		if arg == "--requirepass" && i+1 < len(s.args) {
			return s.args[i+1]
		}
	}
	return ""
}

// run starts the server and waits until it answers.
func (s *Server) run() error {
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the server has its own copy
	args := []string{
		"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir,
		"--save", "", "--daemonize", "no", "--enable-debug-command", "yes",
	}
	cmd := exec.Command("redis-server", append(args, s.args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	s.mu.Lock()
	s.pid = cmd.Process.Pid
	s.mu.Unlock()
	return s.wait(cmd.Process.Pid)
}

// wait returns once this server, and not another one on its port, answers.
func (s *Server) wait(pid int) error {
	own := fmt.Sprintf("process_id:%d", pid)
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(pollInterval) {
		if info, err := s.cli("INFO", "server"); err == nil && strings.Contains(info, own) {
			if info, err = s.cli("INFO", "persistence"); err == nil && strings.Contains(info, "loading:0") {
				return nil
			}
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

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
