package server

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/wire"
)

// Large requests that stall take no more memory than there is for all; small
// ones are served meanwhile, and large ones again once there is room.
func TestMemoryOfAllRequests(t *testing.T) {
	r := start(t, &Options{MaxRequest: 1 << 20})
	lines := "Content-Type: application/x-ndjson"
	batch := strings.Repeat(`{"body":"`+strings.Repeat("x", 900)+`"}`+"\n", 500)
	var stalled []net.Conn
	for i := range int64(4) { // one after the other: of two that race, both may be refused
		conn := r.dial()
		stalled = append(stalled, conn)
		fmt.Fprintf(conn, "POST /v1/topics/orders/messages HTTP/1.1\r\nHost: localhost\r\n%s\r\nContent-Length: %d\r\n\r\n", lines, 1<<20)
		go func() { _, _ = io.WriteString(conn, strings.Repeat("\n", 1<<20-10)) }()
		r.eventually("its memory is taken", func() bool { return r.server.memory.taken.Load() == (i+1)*(1<<20-small) })
	}
	status, head, text := r.do("POST", "/v1/topics/orders/messages", batch, lines)
	if status != 503 || head.Get("Retry-After") != "1" || !strings.Contains(text, string(wire.CodeUnavailable)) {
		t.Errorf("a large request got %d, %v, %s, want 503", status, head, text)
	}
	if taken := r.server.memory.taken.Load(); taken > 4<<20 {
		t.Errorf("%d bytes are taken", taken)
	}
	r.want(201, nil, "POST", "/v1/topics/orders/messages", "a small one")
	for _, conn := range stalled {
		conn.Close()
	}
	r.eventually("the memory is given back", func() bool { return r.server.memory.taken.Load() == 0 })
	r.want(201, nil, "POST", "/v1/topics/orders/messages", batch, lines)
	if taken := r.server.memory.taken.Load(); taken != 0 {
		t.Errorf("%d bytes are still taken", taken)
	}
}

// What a list of empty objects becomes, many times its text, is counted while it
// is read; small requests are served meanwhile.
func TestMemoryOfLists(t *testing.T) {
	text := `{"consumer":"c","settlements":[` + strings.Repeat("{},", 340_000) + `{}]}`
	r := start(t, &Options{MaxRequest: 4 << 20})
	settle := "/v1/topics/orders/subscriptions/s/settle"
	r.want(201, nil, "PUT", "/v1/topics/orders/subscriptions/s", "")
	r.want(400, nil, "POST", settle, text)
	r.server.memory.taken.Add(14 << 20) // others leave room for the text, but not for the list
	r.want(503, nil, "POST", settle, text)
	r.want(409, nil, "POST", settle, `{"consumer":"c","settlements":[{"id":"1-1","do":"ack"}]}`)
	r.server.memory.taken.Add(-14 << 20)
	if taken := r.server.memory.taken.Load(); taken != 0 {
		t.Errorf("%d bytes are still taken", taken)
	}
}

func (r *running) eventually(what string, is func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("it does not come about that %s", what)
		}
	}
}

// A body is given memory as it comes, and little more than it has.
func TestRoomForBodies(t *testing.T) {
	for _, c := range []struct {
		has       int
		announced int64
		want      int
	}{
		{0, 1 << 30, firstRead},
		{0, 100, 101},
		{0, -1, firstRead},
		{firstRead, 1 << 30, 2 * firstRead},
		{1 << 20, 1<<20 + 5, 1<<20 + 6},
		{16 << 20, -1, 20 << 20},
		{16 << 20, 1 << 30, 20 << 20},
	} {
		if got := roomFor(c.has, c.announced); got != c.want {
			t.Errorf("behind %d of %d bytes there is room for %d, want %d", c.has, c.announced, got, c.want)
		}
	}
}
