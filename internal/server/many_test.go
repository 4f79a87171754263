package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beckmq/beck"
)

// A thousand clients follow one topic. All get all, in order, and each message
// is read from the engine once.
func TestManyClients(t *testing.T) {
	const clients, messages = 1000, 10
	r := start(t, nil)
	r.publish("orders", "before")
	var began, done sync.WaitGroup
	began.Add(clients)
	for range clients {
		done.Go(func() {
			e := r.followBare("orders")
			began.Done()
			for i := range messages {
				if got := e.must(); got.body() != fmt.Sprint(i) {
					t.Errorf("message %d is %+v", i, got)
					return
				}
			}
		})
	}
	began.Wait()
	before := r.bus.Stats()
	for i := range messages {
		r.publish("orders", fmt.Sprint(i))
	}
	done.Wait()
	after := r.bus.Stats()
	if read := after.Read - before.Read; read != messages {
		t.Errorf("%d messages were read from the engine, want %d", read, messages)
	}
	if followed := after.Followed - before.Followed; followed != clients*messages {
		t.Errorf("%d messages went to followers, want %d", followed, clients*messages)
	}
}

// followBare follows from the end, by a connection without a client around it.
func (r *running) followBare(topic string) *events {
	conn := r.dial()
	fmt.Fprintf(conn, "GET /v1/topics/%s/events HTTP/1.0\r\nHost: localhost\r\n\r\n", topic)
	e := &events{t: r.t, lines: bufio.NewReader(conn), cancel: func() { conn.Close() }}
	e.skipHead()
	e.must() // where it begins
	return e
}

func (e *events) skipHead() {
	for {
		line, err := e.lines.ReadString('\n')
		if err != nil {
			e.t.Fatalf("no answer: %v", err)
		}
		if strings.TrimSpace(line) == "" {
			return
		}
	}
}

// A client that stops reading harms nobody, is cut off after the write time-out,
// and has everything once it resumes.
func TestStalledClient(t *testing.T) {
	r := start(t, &Options{WriteTimeout: 300 * time.Millisecond})
	stalled := r.followBare("orders")
	healthy := r.follow("/v1/topics/orders/events?from=start")
	healthy.must()

	const messages = 12000 // more than the buffers of a connection hold
	body := strings.Repeat("x", 990)
	began := time.Now()
	go func() {
		batch := make([]beck.Message, 100)
		for i := range messages / 100 {
			for j := range batch {
				batch[j] = beck.Message{Key: fmt.Sprint(i*100 + j), Body: []byte(body)}
			}
			if _, err := r.bus.Publish(t.Context(), "orders", batch...); err != nil {
				t.Error(err)
			}
		}
	}()
	ids := make([]string, messages)
	for i := range ids {
		ids[i] = healthy.must().id
	}
	t.Logf("the other client had all after %v", time.Since(began))

	deadline := time.Now().Add(10 * time.Second)
	for r.bus.Stats().Followers > 1 {
		if time.Now().After(deadline) {
			t.Fatal("the stalled client was not cut off")
		}
		time.Sleep(10 * time.Millisecond)
	}
	// It reads on: what was sent before the cut, and from there by a new stream.
	var last string
	n := 0
	for {
		got, err := stalled.next()
		if err != nil {
			break
		}
		if got.id != ids[n] {
			t.Fatalf("block %d has the id %s, want %s", n, got.id, ids[n])
		}
		last = got.id
		n++
	}
	if n == 0 || n == messages {
		t.Fatalf("the stalled client had %d of %d messages before it was cut off", n, messages)
	}
	resumed := r.follow("/v1/topics/orders/events", "Last-Event-ID: "+last)
	resumed.must()
	for ; n < messages; n++ {
		if got := resumed.must(); got.id != ids[n] {
			t.Fatalf("block %d has the id %s, want %s", n, got.id, ids[n])
		}
	}
}

// A slow sender is cut off, at any stage of its request.
func TestSlowSender(t *testing.T) {
	r := start(t, &Options{ReadTimeout: 200 * time.Millisecond})
	conn := r.dial()
	fmt.Fprint(conn, "POST /v1/topics/orders/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
	text := readUntilClosed(t, conn)
	if !strings.HasPrefix(text, "HTTP/1.1 408 ") || !strings.Contains(text, `"request_timeout"`) {
		t.Errorf("a slow body is answered by %q", text)
	}
	// One that is sent in time may then take as long as it needs.
	r.want(201, nil, "PUT", subscriptionOf, "")
	r.want(200, nil, "POST", subscriptionOf+"/fetch", `{"consumer":"c","wait":"500ms"}`)
}

// A body that ends early stores nothing.
func TestBrokenOffBody(t *testing.T) {
	r := start(t, nil)
	conn := r.dial()
	fmt.Fprint(conn, "POST /v1/topics/orders/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	readUntilClosed(t, conn)
	r.want(404, nil, "GET", "/v1/topics/orders", "")
}

func TestLargeRequests(t *testing.T) {
	r := start(t, &Options{MaxRequest: 5000})
	lines := strings.Repeat(`{"body":"`+strings.Repeat("x", 900)+"\"}\n", 10)
	for _, announced := range []bool{true, false} {
		conn := r.dial()
		length := "Transfer-Encoding: chunked"
		body := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(lines), lines)
		if announced {
			length, body = fmt.Sprintf("Content-Length: %d", len(lines)), lines
		}
		fmt.Fprintf(conn, "POST /v1/topics/orders/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n%s\r\n\r\n%s", length, body)
		if text := readUntilClosed(t, conn); !strings.HasPrefix(text, "HTTP/1.1 413 ") || !strings.Contains(text, "5000 bytes") {
			t.Errorf("a request that is too large is answered by %q", text)
		}
	}
	conn := r.dial()
	fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n", strings.Repeat("x", 100<<10))
	if text := readUntilClosed(t, conn); !strings.HasPrefix(text, "HTTP/1.1 431 ") {
		t.Errorf("a head that is too large is answered by %q", text)
	}
	r.want(404, nil, "GET", "/v1/topics/orders", "")
}

func readUntilClosed(t *testing.T, conn net.Conn) string {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	text, err := io.ReadAll(conn)
	if err != nil && len(text) == 0 {
		t.Fatalf("no answer: %v", err)
	}
	return string(text)
}
