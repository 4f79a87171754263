package server

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/wire"
)

func TestHosts(t *testing.T) {
	g := newGuard(Options{Hosts: []string{"Beck.Example.com"}})
	for host, want := range map[string]bool{
		"localhost": true, "localhost:8080": true, "LOCALHOST.": true, "a.localhost:1": true, "127.0.0.1": true,
		"127.3.2.1:80": true, "[::1]:8080": true, "[::1]": true, "": true, "beck.example.com": true, "beck.example.com:443": true,
		"example.com": false, "127.0.0.1.example.com": false, "localhost.example.com": false, "10.0.0.1:8080": false,
		"[2001:db8::1]": false, "0.0.0.0": false, "xlocalhost": false,
	} {
		if got := g.allowed(host); got != want {
			t.Errorf("host %q is allowed: %v, want %v", host, got, want)
		}
	}
}

// A server with names of its own answers to no others, insecure or not: a web
// page whose name is made to point to it can't reach it.
func TestHostsOfAnInsecureServer(t *testing.T) {
	for host, want := range map[string]bool{
		"beck.example.com": true, "localhost:8080": true, "10.0.0.1:8080": true, "[2001:db8::1]": true, "evil.example": false,
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = host
		if p := newGuard(Options{Insecure: true, Hosts: []string{"beck.example.com"}}).check(r); (p == nil) != want {
			t.Errorf("host %q gives %v", host, p)
		}
	}
}

func TestOrigins(t *testing.T) {
	for _, c := range []struct {
		method, origin, site string
		insecure             bool
		want                 wire.Code
	}{
		{"POST", "", "", false, ""},
		{"POST", "http://localhost:8080", "same-origin", false, ""},
		{"POST", "http://localhost:8080", "", false, ""},
		{"POST", "https://evil.example", "cross-site", false, wire.CodeCrossOrigin},
		{"DELETE", "https://evil.example", "", false, wire.CodeCrossOrigin},
		{"PUT", "null", "cross-site", true, wire.CodeCrossOrigin},
		{"GET", "https://evil.example", "cross-site", false, ""}, // it can't read the answer
	} {
		r := httptest.NewRequest(c.method, "http://localhost:8080/v1/topics/a", nil)
		r.Header = http.Header{}
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		if c.site != "" {
			r.Header.Set("Sec-Fetch-Site", c.site)
		}
		var got wire.Code
		if p := newGuard(Options{Insecure: c.insecure}).check(r); p != nil {
			got = p.Code
		}
		if got != c.want {
			t.Errorf("%+v is answered by %q", c, got)
		}
	}
	r := httptest.NewRequest("GET", "http://anything.example/", nil)
	if p := newGuard(Options{Insecure: true}).check(r); p != nil {
		t.Errorf("an insecure server refuses a host: %v", p)
	}
}

func TestListen(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "localhost:0", "[::1]:0"} {
		listener, err := Listen(t.Context(), address, false)
		if err != nil {
			if strings.HasPrefix(address, "[::1]") {
				continue // a machine without IPv6
			}
			t.Errorf("%s: %v", address, err)
			continue
		}
		listener.Close()
	}
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0", "127.0.0.1", "", "127.0.0.1:x"} {
		listener, err := Listen(t.Context(), address, false)
		if err == nil {
			listener.Close()
			t.Errorf("%s is listened on", address)
		}
		if address != "127.0.0.1:x" && !errors.Is(err, beck.ErrOption) {
			t.Errorf("%s: %v, want ErrOption", address, err)
		}
	}
	listener, err := Listen(t.Context(), ":0", true)
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
}

func TestOptionsAreChecked(t *testing.T) {
	r := start(t, nil)
	for _, o := range []*Options{{MaxRequest: -1}, {WriteTimeout: -1}, {Hosts: []string{""}}, {Hosts: []string{"http://x"}}} {
		if _, err := New(r.bus, o); !errors.Is(err, beck.ErrOption) {
			t.Errorf("%+v gives %v", o, err)
		}
	}
	if _, err := New(nil, nil); !errors.Is(err, beck.ErrOption) {
		t.Errorf("no bus gives %v", err)
	}
}

// A panic is answered as a fault of the server, or, if the answer has begun,
// breaks the connection.
func TestPanics(t *testing.T) {
	r := start(t, nil)
	r.server.mux.Handle("/panic/early", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("early") }))
	r.server.mux.Handle("/panic/late", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(200)
		_ = http.NewResponseController(w).Flush()
		panic("late")
	}))
	var p wire.Problem
	r.want(500, &p, "GET", "/panic/early", "")
	if p.Code != wire.CodeInternal || strings.Contains(p.Detail, "early") {
		t.Errorf("problem %+v", p)
	}
	answer, err := r.client.Do(r.request("GET", "/panic/late", ""))
	if err == nil {
		defer answer.Body.Close()
		if _, err = answer.Body.Read(make([]byte, 10)); err == nil || err.Error() == "EOF" {
			t.Errorf("an answer that panicked looks whole: %v", err)
		}
	}
	r.want(200, nil, "GET", "/healthz", "")
}
