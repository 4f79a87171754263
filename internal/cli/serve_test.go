package cli

import (
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The lines that a server prints can be copied to a shell, and work.
func TestServeBanner(t *testing.T) {
	s := serve(t)
	s.out.contains(t, "--from start")
	banner := s.out.lines()
	if !strings.HasPrefix(banner[0], "beck serves disk ") || !strings.HasSuffix(banner[0], "data on "+s.url) {
		t.Errorf("the first line is %q", banner[0])
	}
	var got []byte
	for _, line := range banner {
		if command, ok := strings.CutPrefix(line, "Publish:"); ok {
			if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", command, err, out)
			}
		}
		if command, ok := strings.CutPrefix(line, "Subscribe:"); ok {
			got, _ = exec.Command("sh", "-c", command+" --count 1").Output()
		}
	}
	if string(got) != "hello\n" {
		t.Errorf("the subscriber got %q", got)
	}
}

func TestServeAddressInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	data := filepath.Join(t.TempDir(), "data")
	p := startReading(t, strings.NewReader(""), nil, "serve", "--listen", taken.Addr().String(), "--data", data)
	if code := p.exit(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	want := "beck: can't listen on " + taken.Addr().String() + ": the address is in use\nhint: perhaps a server runs there already; another address: beck serve --listen 127.0.0.1:8081\n"
	if got := p.err.String(); got != want {
		t.Errorf("it says %q", got)
	}
}

// A request that is still coming in holds up the end for as long as --drain
// says; a second signal does not wait for that.
func TestServeSecondSignal(t *testing.T) {
	for _, c := range []struct {
		name    string
		drain   string
		signals int
		code    int
	}{
		{"drained", "500ms", 1, 0},
		{"second signal", "1m", 2, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, "--data", filepath.Join(t.TempDir(), "data"), "--drain", c.drain)
			client, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			request := "POST /v1/topics/a/messages HTTP/1.1\r\nHost: " + client.RemoteAddr().String() + "\r\nContent-Length: 100\r\n\r\nhalf"
			if _, err := client.Write([]byte(request)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(200 * time.Millisecond)
			s.signal(syscall.SIGTERM)
			s.err.contains(t, "ending")
			if c.signals == 2 {
				s.signal(syscall.SIGTERM)
			}
			began := time.Now()
			if code := s.exit(); code != c.code || time.Since(began) > 10*time.Second {
				t.Errorf("exit code %d after %v\n%s", code, time.Since(began), s.err)
			}
		})
	}
}
