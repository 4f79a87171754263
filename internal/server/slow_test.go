package server

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/drivertest/model"
)

// A body that is announced and doesn't come is not waited for where it is not
// needed, and not for ever where it is.
func TestAnnouncedBodies(t *testing.T) {
	r := start(t, &Options{ReadTimeout: 150 * time.Millisecond})
	for _, c := range []struct {
		request string
		status  int
	}{
		{"GET /healthz", 200},
		{"GET /metrics", 200},
		{"GET /nothing", 404},
		{"GET /v1/topics/orders/events?from=start", 200},
		{"DELETE /v1/topics/orders", 408}, // it might say that something else is meant
		{"POST /v1/topics/orders/messages", 408},
		{"POST /v1/topics/.x/messages", 400},
		{"PUT /v1/topics/orders/subscriptions/s", 408},
	} {
		for _, body := range []string{"Content-Length: 1000", "Transfer-Encoding: chunked", "Expect: 100-continue\r\nContent-Length: 10"} {
			conn := r.dial()
			fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n", c.request, body)
			_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			lines := bufio.NewReader(conn)
			answer, err := http.ReadResponse(lines, nil)
			if err == nil && answer.StatusCode == 100 {
				answer, err = http.ReadResponse(lines, nil)
			}
			if err != nil {
				t.Errorf("%s, %s: %v", c.request, body, err)
				continue
			}
			if answer.StatusCode != c.status || !answer.Close {
				t.Errorf("%s, %s: status %d, want %d; closes: %v", c.request, body, answer.StatusCode, c.status, answer.Close)
			}
			conn.Close()
		}
	}
}

// A connection whose request was refused before its body was read ends, and a
// body that was read leaves no deadline behind.
func TestConnectionsAreKept(t *testing.T) {
	r := start(t, &Options{ReadTimeout: 100 * time.Millisecond, WriteTimeout: 100 * time.Millisecond})
	conn := r.dial()
	lines := bufio.NewReader(conn)
	for i, request := range []string{
		"POST /v1/topics/orders/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx",
		"PUT /v1/topics/orders/subscriptions/s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
		"POST /v1/topics/orders/subscriptions/s/fetch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n\r\n{\"consumer\":\"c\"}",
		"POST /v1/topics/orders/subscriptions/s/fetch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 31\r\n\r\n{\"consumer\":\"c\",\"wait\":\"300ms\"}",
		"DELETE /v1/topics/orders HTTP/1.1\r\nHost: localhost\r\n\r\n", // 204: nothing but a head
	} {
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		answer, err := http.ReadResponse(lines, nil)
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		if answer.StatusCode >= 300 || answer.Close {
			t.Errorf("request %d: %s, closes: %v", i, answer.Status, answer.Close)
		}
		time.Sleep(150 * time.Millisecond) // longer than the time-outs
	}
}

// A stalled stream does not hold up the end of the server.
func TestShutdownWithAStalledStream(t *testing.T) {
	r := serve(t, large(t), nil)
	body := strings.Repeat("x", 1<<20)
	for range 16 {
		r.publish("orders", body)
	}
	conn := r.dial()
	fmt.Fprintf(conn, "GET /v1/topics/orders/events?from=start HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if _, err := io.ReadFull(conn, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond) // until no more goes into the connection
	began := time.Now()
	if err := r.server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// large is a bus that takes messages of more than a connection holds.
func large(t *testing.T) *beck.Bus {
	bus, err := beck.New(model.New(time.Now), &beck.Options{Logger: silent(), MaxBody: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return bus
}
