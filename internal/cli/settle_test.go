package cli

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// between returns the address of a proxy before a server. It asks spoil what to
// do with each answer: true loses it.
func between(t *testing.T, server string, spoil func(*http.Request) bool) string {
	t.Helper()
	to, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.FlushInterval = -1
	proxy.ModifyResponse = func(r *http.Response) error {
		if spoil(r.Request) {
			panic(http.ErrAbortHandler)
		}
		return nil
	}
	s := httptest.NewServer(proxy)
	t.Cleanup(s.Close)
	return s.URL
}

// An acknowledgement whose answer was lost is repeated. That nothing is held then
// does not mean that another reader had it.
func TestLostAnswerOfAcknowledgement(t *testing.T) {
	server := serve(t)
	run(t, numbered(10), []string{"BECK_AT=" + server.url}, "pub", "logs", "--lines")
	var lost atomic.Bool
	at := between(t, server.url, func(r *http.Request) bool {
		return strings.HasSuffix(r.URL.Path, "/settle") && lost.CompareAndSwap(false, true)
	})
	p := start(t, nil, "sub", "logs", "--as", "billing", "--no-wait", "--at", at)
	if code := p.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	each(t, 10, p.out.lines())
	said := p.err.String()
	if !lost.Load() || !strings.Contains(said, "trying again") || strings.Contains(said, "another reader") {
		t.Errorf("said:\n%s", said)
	}
	if left := run(t, "", []string{"BECK_AT=" + server.url}, "info", "logs", "--json"); !strings.Contains(left, `"pending":0,`) {
		t.Errorf("not acknowledged: %s", left)
	}
}
