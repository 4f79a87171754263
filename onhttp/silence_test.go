package onhttp

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// A server that accepts and never answers, or stops within its answer, or never
// takes the request, is given up.
func TestSilentServers(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // connections wait in its queue
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	release := make(chan struct{})
	half := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"ids":[`)
		_ = http.NewResponseController(w).Flush()
		<-release
	}))
	defer half.Close()
	defer close(release)
	for _, url := range []string{"http://" + listener.Addr().String(), half.URL} {
		e := connect(t, url)
		e.patience = 100 * time.Millisecond
		for _, size := range []int{1, 16 << 20} {
			_, err := e.Append(t.Context(), "t", []driver.Message{{Body: bytes.Repeat([]byte("x"), size)}})
			if !errors.Is(err, driver.ErrUncertain) || errors.Is(err, driver.ErrUnavailable) {
				t.Errorf("append of %d bytes at %s: %v", size, url, err)
			}
		}
		if _, err := e.Topics(t.Context()); !errors.Is(err, driver.ErrUnavailable) || !strings.Contains(err.Error(), "silent") {
			t.Errorf("topics at %s: %v", url, err)
		}
		shut(t, e)
	}
}

// A server that is slow, but not silent, is waited for.
func TestSlowServer(t *testing.T) {
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, part := range strings.SplitAfter(`{"topics":[{"name":"a"},{"name":"b"},{"name":"c"},{"name":"d"}]}`, "}") {
			_, _ = io.WriteString(w, part)
			_ = http.NewResponseController(w).Flush()
			time.Sleep(100 * time.Millisecond)
		}
	}))
	defer slow.Close()
	e := connect(t, slow.URL)
	e.patience = 400 * time.Millisecond
	if topics, err := e.Topics(t.Context()); err != nil || len(topics) != 4 {
		t.Errorf("topics: %v, %v", topics, err)
	}
	shut(t, e)
}

// An answer takes memory as it comes, and not without end.
func TestHugeAnswers(t *testing.T) {
	huge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Length", "9000000000000000000")
		w.WriteHeader(http.StatusOK)
	}))
	defer huge.Close()
	e := connect(t, huge.URL)
	if _, err := e.Topics(t.Context()); !errors.Is(err, driver.ErrTooLarge) {
		t.Errorf("topics: %v", err)
	}
	if _, err := e.Append(t.Context(), "t", []driver.Message{{Body: []byte("x")}}); !errors.Is(err, driver.ErrUncertain) {
		t.Errorf("append: %v", err)
	}
	shut(t, e)
	for text, want := range map[string]error{"12345": nil, "123456": errTooLong} {
		if got, err := readBody(strings.NewReader(text), -1, 5); err != want || err == nil && string(got) != text {
			t.Errorf("%s is read as %q, %v", text, got, err)
		}
	}
}
