package onhttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/server"
)

func TestAddresses(t *testing.T) {
	for _, address := range []string{
		"", "localhost:8080", "redis://localhost", "http://", "http:///x", "http://localhost/?x=1", "http://localhost/#x",
		"http://user:hunter2@local host", "ftp://user:hunter2@localhost", "http://user:hunter2@localhost?x", "://hunter2",
	} {
		_, err := Open(address, nil)
		if !errors.Is(err, beck.ErrOption) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q gives %v", address, err)
		}
	}
	if _, err := Open("http://localhost", &Options{Client: &http.Client{Timeout: time.Second}}); !errors.Is(err, beck.ErrOption) {
		t.Errorf("a client with a time-out gives %v", err)
	}
	for address, name := range map[string]string{
		"http://localhost:8080":                     "http localhost:8080",
		"http://localhost:8080/":                    "http localhost:8080",
		"https://user:hunter2@beck.example.com/a/b": "http beck.example.com/a/b",
	} {
		bus, err := Open(address, nil)
		if err != nil || bus.String() != name {
			t.Errorf("%q gives %v, %v", address, bus, err)
			continue
		}
		if err := bus.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// What did not happen is unavailable, what may have happened is uncertain, and
// nothing is sent twice.
func TestLostAnswers(t *testing.T) {
	var requests atomic.Int64
	hangUp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler)
	}))
	defer hangUp.Close()
	refusing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing.Close()
	for _, c := range []struct {
		url            string
		changing, read error
	}{
		{hangUp.URL, driver.ErrUncertain, driver.ErrUnavailable},
		{"http://user:hunter2@" + refusing.Addr().String(), driver.ErrUnavailable, driver.ErrUnavailable},
	} {
		e := connect(t, c.url)
		messages := []driver.Message{{Body: []byte("x")}}
		for what, call := range map[string]func() error{
			"append": func() error { _, err := e.Append(t.Context(), "t", messages); return err },
			"join":   func() error { _, err := e.Join(t.Context(), "t", "s", driver.JoinConfig{}); return err },
			"delete": func() error { return e.DeleteTopic(t.Context(), "t") },
			"settle": func() error {
				_, err := e.Settle(t.Context(), "t", "s", "c", []driver.Settlement{{ID: "1", Do: driver.Acknowledge}})
				return err
			},
		} {
			before := requests.Load()
			if err := call(); !errors.Is(err, c.changing) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s at %s: %v, want %v", what, c.url, err, c.changing)
			}
			if n := requests.Load() - before; n > 1 {
				t.Errorf("%s was sent %d times", what, n)
			}
		}
		if err := e.Ping(t.Context()); !errors.Is(err, c.read) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("ping at %s: %v, want %v", c.url, err, c.read)
		}
		shut(t, e)
	}
}

func shut(t *testing.T, e *engine) {
	t.Helper()
	if err := e.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// problem stands before the bodies that have a problem's content type.
const problem = "problem "

// What answers, but is no beck server, is told apart.
func TestOtherServers(t *testing.T) {
	for _, c := range []struct {
		status         int
		location, body string
		changing, read error
	}{
		{200, "", "<html>", driver.ErrUncertain, driver.ErrVersion},
		{404, "", "<html>", driver.ErrVersion, driver.ErrVersion},
		{308, "https://elsewhere/", "", driver.ErrVersion, driver.ErrVersion},
		{401, "", "", driver.ErrDenied, driver.ErrDenied},
		{413, "", "", driver.ErrTooLarge, driver.ErrTooLarge},
		{502, "", "bad gateway", driver.ErrUncertain, driver.ErrUnavailable},
		{503, "", problem + `{"code":"closed","detail":"gone"}`, driver.ErrUnavailable, driver.ErrUnavailable},
		{503, "", `{"code":"unavailable","detail":"of a proxy"}`, driver.ErrUncertain, driver.ErrUnavailable},
		{502, "", problem + `{"code":"of_a_proxy"}`, driver.ErrUncertain, driver.ErrUnavailable},
		{507, "", problem + `{"code":"full"}`, driver.ErrFull, driver.ErrFull},
		{404, "", problem + `{"code":"topic_not_found"}`, driver.ErrTopicNotFound, driver.ErrTopicNotFound},
	} {
		other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if c.location != "" {
				w.Header().Set("Location", c.location)
			}
			body, isProblem := strings.CutPrefix(c.body, problem)
			if isProblem {
				w.Header().Set("Content-Type", "application/problem+json; charset=utf-8")
			}
			w.WriteHeader(c.status)
			fmt.Fprint(w, body)
		}))
		e := connect(t, other.URL)
		if _, err := e.Append(t.Context(), "t", []driver.Message{{Body: []byte("x")}}); !errors.Is(err, c.changing) {
			t.Errorf("append answered by %d: %v, want %v", c.status, err, c.changing)
		}
		if _, err := e.Topics(t.Context()); !errors.Is(err, c.read) {
			t.Errorf("topics answered by %d: %v, want %v", c.status, err, c.read)
		}
		shut(t, e)
		other.Close()
	}
}

// A server behind a proxy, under a path, with a password, over TLS.
func TestBehindAProxy(t *testing.T) {
	bus := onModel(t)
	s, err := server.New(bus, &server.Options{Logger: silent()})
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewTLSServer(http.StripPrefix("/mq", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "u" || password != "p:w" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		s.ServeHTTP(w, r)
	})))
	defer proxy.Close()
	remote, err := Open(strings.Replace(proxy.URL, "https://", "https://u:p%3Aw@", 1)+"/mq/", &Options{Client: proxy.Client()})
	if err != nil {
		t.Fatal(err)
	}
	ids, err := remote.Publish(t.Context(), "orders", beck.Message{Body: []byte("x")})
	if err != nil || len(ids) != 1 {
		t.Errorf("publish: %q, %v", ids, err)
	}
	for m, err := range remote.Follow(t.Context(), "orders", beck.FromStart) {
		if err != nil || m.ID != ids[0] {
			t.Errorf("followed %+v, %v", m, err)
		}
		break
	}
	for _, err := range []error{remote.Close(t.Context()), s.Shutdown(t.Context()), bus.Close(t.Context())} {
		if err != nil {
			t.Error(err)
		}
	}
}

// Errors are the same ones on both sides, and read well.
func TestErrorsCross(t *testing.T) {
	r := serve(t, onModel(t), "127.0.0.1:0")
	remote, err := Open(r.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, there := r.bus.Topic(t.Context(), "none")
	_, here := remote.Topic(t.Context(), "none")
	if !errors.Is(here, beck.ErrTopicNotFound) || here.Error() != there.Error() {
		t.Errorf("there %v\nhere  %v", there, here)
	}
	if _, err = remote.Join(t.Context(), "orders", "s", nil); err != nil {
		t.Error(err)
	}
	err = remote.Settle(t.Context(), "orders", "s", "c", beck.Ack("x"), beck.Renew("y"))
	held, ok := errors.AsType[*beck.NotHeldError](err)
	if !ok || len(held.IDs) != 2 || !errors.Is(err, beck.ErrNotHeld) {
		t.Errorf("settle: %v", err)
	}
	if err := errors.Join(remote.Close(t.Context()), r.stop(t.Context())); err != nil {
		t.Error(err)
	}
	if _, err := remote.Topics(t.Context()); !errors.Is(err, beck.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
