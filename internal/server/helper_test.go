package server

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/drivertest/model"
	"github.com/beckmq/beck/ondisk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func silent() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// running is a real server, on a port of its own, and a client of it.
type running struct {
	t      testing.TB
	bus    *beck.Bus
	server *Server
	served chan error
	url    string
	client *http.Client
}

// start serves the reference engine.
func start(t testing.TB, o *Options) *running {
	t.Helper()
	bus, err := beck.New(model.New(time.Now), &beck.Options{Logger: silent(), MaxBody: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, bus, o)
}

// startOnDisk serves the disk engine.
func startOnDisk(t testing.TB) *running {
	t.Helper()
	return serve(t, onDiskWith(t, 0), nil)
}

// onDiskWith is a bus on disk with a limit on bodies.
func onDiskWith(t testing.TB, maxBody int) *beck.Bus {
	t.Helper()
	bus, err := ondisk.Open(t.TempDir(), &ondisk.Options{Options: beck.Options{Logger: silent(), MaxBody: maxBody}})
	if err != nil {
		t.Fatal(err)
	}
	return bus
}

func serve(t testing.TB, bus *beck.Bus, o *Options) *running {
	t.Helper()
	if o == nil {
		o = &Options{}
	}
	if o.Logger == nil {
		o.Logger = silent()
	}
	s, err := New(bus, o)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := Listen(t.Context(), "127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{
		t: t, bus: bus, server: s, served: make(chan error, 1), url: "http://" + listener.Addr().String(),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}},
	}
	go func() { r.served <- s.Serve(listener) }()
	t.Cleanup(r.stop)
	return r
}

func (r *running) stop() {
	r.client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := r.server.Shutdown(ctx); err != nil {
		r.t.Errorf("shutdown: %v", err)
	}
	select {
	case err := <-r.served:
		if err != nil {
			r.t.Errorf("serve: %v", err)
		}
	case <-ctx.Done():
		r.t.Error("Serve did not return")
	}
	if err := r.bus.Close(ctx); err != nil {
		r.t.Errorf("close: %v", err)
	}
}

// request makes a request; each of headers is "Name: value".
func (r *running) request(method, path, body string, headers ...string) *http.Request {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			req.Host = value
		}
		req.Header.Add(name, value)
	}
	return req
}

// do sends a request and returns status, head and body.
func (r *running) do(method, path, body string, headers ...string) (int, http.Header, string) {
	r.t.Helper()
	answer, err := r.client.Do(r.request(method, path, body, headers...))
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, string(text)
}

// want sends a request whose answer must have a status, and reads it into v.
func (r *running) want(status int, v any, method, path, body string, headers ...string) {
	r.t.Helper()
	got, _, text := r.do(method, path, body, headers...)
	if got != status {
		r.t.Fatalf("%s %s answers %d, want %d: %s", method, path, got, status, text)
	}
	if v != nil {
		if err := json.Unmarshal([]byte(text), v); err != nil {
			r.t.Fatalf("%s %s answers %s: %v", method, path, text, err)
		}
	}
}

// publish publishes messages with these bodies.
func (r *running) publish(topic string, bodies ...string) []string {
	r.t.Helper()
	messages := make([]beck.Message, len(bodies))
	for i, b := range bodies {
		messages[i].Body = []byte(b)
	}
	ids, err := r.bus.Publish(r.t.Context(), topic, messages...)
	if err != nil {
		r.t.Fatal(err)
	}
	return ids
}

// An event is a block of a stream.
type event struct {
	name, id, data string
	comment        bool
}

// events is a stream that a client reads.
type events struct {
	t      testing.TB
	answer *http.Response
	lines  *bufio.Reader
	cancel context.CancelFunc
}

// follow opens a stream.
func (r *running) follow(path string, headers ...string) *events {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	answer, err := r.client.Do(r.request("GET", path, "", headers...).WithContext(ctx))
	if err != nil {
		r.t.Fatal(err)
	}
	if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "text/event-stream" {
		r.t.Fatalf("%s answers %s, %s", path, answer.Status, answer.Header)
	}
	e := &events{t: r.t, answer: answer, lines: bufio.NewReader(answer.Body), cancel: cancel}
	r.t.Cleanup(e.close)
	return e
}

func (e *events) close() {
	e.cancel()
	e.answer.Body.Close()
}

// next reads a block; an error is the end of the stream.
func (e *events) next() (event, error) {
	var got event
	for {
		line, err := e.lines.ReadString('\n')
		if err != nil {
			return got, err
		}
		line = strings.TrimSuffix(line, "\n")
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "":
			return got, nil
		case "id":
			got.id = value
		case "event":
			got.name = value
		case "data":
			got.data = value
		case ":":
			got.comment = true
		default:
			e.t.Errorf("a stream has the line %q", line)
		}
	}
}

// must reads a block that is there or comes.
func (e *events) must() event {
	e.t.Helper()
	watchdog := time.AfterFunc(10*time.Second, e.close)
	defer watchdog.Stop()
	got, err := e.next()
	if err != nil {
		e.t.Fatalf("the stream has ended: %v", err)
	}
	return got
}

// body is that of the message in the block.
func (v event) body() string {
	var m struct{ Body string }
	if json.Unmarshal([]byte(v.data), &m) != nil {
		return "?"
	}
	return m.Body
}

// dial opens a bare connection.
func (r *running) dial() net.Conn {
	r.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	return conn
}
