package torture

import (
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// longer than a client waits for a sign of life from a server.
const beyondHTTP = 33 * time.Second

// server is a beck server on a directory, in a process of its own.
type server struct {
	t       *testing.T
	dir     string
	address string
	process *process
}

// diskServer is the engine on disk behind a server, with proxies before it.
func diskServer(t *testing.T, long bool) deployment {
	s := &server{t: t, dir: t.TempDir(), address: freeAddress(t)}
	s.start()
	d := deployment{name: "disk", direct: "http://" + s.address, heal: s.await}
	var proxies []*Proxy
	for range 2 {
		p := newProxy(t, s.address)
		proxies = append(proxies, p)
		d.at = append(d.at, "http://"+p.Addr())
	}
	d.faults = append(linkFaults(proxies...), []fault{
		{name: "kill server", place: engine, harm: Cuts, hold: 300 * time.Millisecond, do: func(*run) (string, func()) {
			s.process.kill()
			return "", s.restart
		}},
		{name: "end server", place: engine, harm: Cuts, hold: 100 * time.Millisecond, do: func(*run) (string, func()) {
			s.process.end()
			return "", s.restart
		}},
		{name: "stop server", place: engine, harm: Cuts, hold: 2500 * time.Millisecond, do: func(*run) (string, func()) {
			s.process.stop()
			return "", s.process.proceed
		}},
	}...)
	if limitFiles(s.process.cmd.Process.Pid, 0) {
		d.faults = append(d.faults, fault{name: "failing writes", place: engine, harm: Cuts, hold: 700 * time.Millisecond, do: func(*run) (string, func()) {
			limitFiles(s.process.cmd.Process.Pid, 1)
			return "", func() {
				limitFiles(s.process.cmd.Process.Pid, 0)
				s.restart()
			}
		}})
	}
	if long {
		d.faults = append(d.faults, fault{name: "stop server long", place: engine, harm: Cuts, hold: beyondHTTP, do: func(*run) (string, func()) {
			s.process.stop()
			return "", s.process.proceed
		}})
	}
	return d
}

// start starts the server and waits until it answers.
func (s *server) start() {
	args := []string{"--listen", s.address, "--data", filepath.Join(s.dir, "data"), "--drain", "2s"}
	s.process = begin(s.t, s.dir, "server", serveVariable+"="+strings.Join(args, "\n"))
	s.await()
}

// restart ends the server, if it still runs, and starts it again.
func (s *server) restart() {
	s.process.end()
	select {
	case <-s.process.over:
	case <-time.After(endTime):
		s.t.Errorf("the server has not ended %v after it was told to\n%s", endTime, s.process.tail())
		s.process.kill()
	}
	s.start()
}

func (s *server) await() {
	s.t.Helper()
	for begin := time.Now(); time.Since(begin) < endTime && s.process.running(); time.Sleep(10 * time.Millisecond) {
		answer, err := http.Get("http://" + s.address + "/readyz")
		if err != nil {
			continue
		}
		answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			return
		}
	}
	s.t.Fatalf("the server does not answer:\n%s", s.process.tail())
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
