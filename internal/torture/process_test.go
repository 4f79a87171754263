package torture

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// process is one that a test has started.
type process struct {
	t    testing.TB
	name string
	cmd  *exec.Cmd
	log  string        // the file with what it wrote to standard error
	over chan struct{} // closed when it has ended
	err  error         // and how
}

// begin starts this program anew, in what an environment variable says.
func begin(t testing.TB, dir, name, variable string) *process {
	t.Helper()
	p := &process{t: t, name: name, cmd: exec.Command(os.Args[0]), log: filepath.Join(dir, name+".log"), over: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), variable)
	p.cmd.SysProcAttr = attributes()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() // the process has its own
	p.cmd.Stderr = log
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	first := make([]byte, 1)
	if _, err := io.ReadFull(out, first); err != nil {
		p.cmd.Process.Kill()
		p.cmd.Wait()
		close(p.over)
		t.Fatalf("%s: %v\n%s", name, err, p.tail())
	}
	go func() {
		io.Copy(io.Discard, out)
		p.err = p.cmd.Wait()
		close(p.over)
	}()
	return p
}

// kill ends a process as a crash does.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.over
}

// stop has a process stand still, until proceed.
func (p *process) stop()    { p.cmd.Process.Signal(syscall.SIGSTOP) }
func (p *process) proceed() { p.cmd.Process.Signal(syscall.SIGCONT) }

// end has a process end by itself.
func (p *process) end() { p.cmd.Process.Signal(syscall.SIGTERM) }

// ended waits until a process has ended by itself, and fails the test if it doesn't,
// or not well.
func (p *process) ended(within time.Duration) {
	p.t.Helper()
	select {
	case <-p.over:
		if p.err != nil {
			p.t.Errorf("%s ended with %v\n%s", p.name, p.err, p.tail())
		}
	case <-time.After(within):
		p.t.Errorf("%s has not ended after %v", p.name, within)
	}
}

func (p *process) running() bool {
	select {
	case <-p.over:
		return false
	default:
		return true
	}
}

// tail is what a process wrote last.
func (p *process) tail() []byte {
	content, _ := os.ReadFile(p.log)
	content = content[max(0, len(content)-3000):]
	return content[bytes.IndexByte(content, '\n')+1:]
}
