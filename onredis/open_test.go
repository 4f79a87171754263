package onredis

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/redistest"
)

// TestErrorsHideThePassword also checks that each error is of its kind, names
// the address, and comes in time.
func TestErrorsHideThePassword(t *testing.T) {
	locked := redistest.Start(t, "--requirepass", "right")
	old := fakeServer(t, "6.2.14")
	silent := fakeServer(t, "")
	const secret = "sesame99"
	for _, c := range []struct {
		url  string
		want error
		name string // what the error must tell
	}{
		{"redis://u:" + secret + "@127.0.0.1:1", beck.ErrUnavailable, "127.0.0.1:1"},
		{"redis://:" + secret + "@" + locked.Addr(), beck.ErrDenied, locked.Addr()},
		{locked.URL(), beck.ErrDenied, locked.Addr()},
		{"redis://:" + secret + "@" + old, beck.ErrVersion, "6.2.14"},
		{"redis://:" + secret + "@" + silent, beck.ErrUnavailable, silent},
		{"redis://:right@" + locked.Addr() + "/99", beck.ErrOption, "DB index"},
		{"http://:" + secret + "@host", beck.ErrOption, "http"},
		{"unix:///tmp/redis.sock", beck.ErrOption, "unix"},
		{"host:6379", beck.ErrOption, "redis://"},
		{"redis://:" + secret + "@host?timeout=5", beck.ErrOption, "timeout"},
		{"redis://:" + secret + "@host/x", beck.ErrOption, "x"},
		{"redis://:" + secret + "%zz@host", beck.ErrOption, "malformed"},
		{"redis://:" + secret + "#1@host", beck.ErrOption, ""},
		{"redis://user:123?" + secret + "@host:6379", beck.ErrOption, "%3F"},
		{"redis://user:123/" + secret + "@host:6379", beck.ErrOption, "%2F"},
		{"redis://user:/" + secret + "@host", beck.ErrOption, "%2F"},
		{"redis://user:123#" + secret + "@host", beck.ErrOption, "%23"},
		{"redis://:" + secret + "@host:99999", beck.ErrOption, "port"},
		{"redis://:" + secret + "@ho st:x" + secret, beck.ErrOption, ""},
	} {
		began := time.Now()
		_, err := Open(t.Context(), c.url, nil)
		if !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), c.name) {
			t.Errorf("%s: %v, want %v naming %q", c.url, err, c.want, c.name)
		}
		if strings.Contains(fmt.Sprintf("%+v %#v", err, err), secret) || strings.Contains(fmt.Sprint(err), secret) {
			t.Errorf("%s: the error shows the password: %v", c.url, err)
		}
		if took := time.Since(began); took > 5500*time.Millisecond {
			t.Errorf("%s: the error took %v", c.url, took)
		}
	}
}

func TestPrefix(t *testing.T) {
	s := redistest.Start(t)
	for _, c := range []struct {
		o    Options
		key  string
		want error
	}{
		{Options{}, "beck:orders", nil},
		{Options{Prefix: "a*[x]?:"}, "a*[x]?:orders", nil},
		{Options{NoPrefix: true}, "orders", nil},
		{Options{Prefix: "{a}"}, "", beck.ErrOption},
		{Options{Prefix: "a:", NoPrefix: true}, "", beck.ErrOption},
	} {
		bus, err := Open(t.Context(), s.URL(), &c.o)
		if !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, want %v", c.o, err, c.want)
		}
		if err != nil {
			continue
		}
		s.FlushAll()
		s.Do("XADD", "a*", "*", "body", "x") // not a topic with the second prefix
		if _, err := bus.Publish(t.Context(), "orders", beck.Message{Body: []byte("b")}); err != nil {
			t.Error(err)
		}
		if s.Do("EXISTS", c.key) != "1" {
			t.Errorf("%+v: there is no %s", c.o, c.key)
		}
		if list, err := bus.Topics(t.Context()); err != nil || len(list) != 1 || list[0].Name != "orders" {
			t.Errorf("%+v: topics %+v, %v", c.o, list, err)
		}
		_ = bus.Close(t.Context())
	}
}

// TestHangingRedis stops Redis in its tracks: calls return when their contexts
// end, many at a time, and the engine works on when Redis does.
func TestHangingRedis(t *testing.T) {
	e, s := start(t)
	publish(t, e, "orders", "a")
	s.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	const callers = 3000
	done := make(chan error, callers)
	for range callers {
		go func() {
			_, _, err := e.lastID(ctx, e.work.at("beck:orders"), "beck:orders")
			done <- err
		}()
	}
	limit := time.After(3 * time.Second)
	for range callers {
		select {
		case err := <-done:
			// A connection that is being made may give up a moment earlier.
			if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, beck.ErrUnavailable) {
				t.Fatalf("a call on a hanging Redis: %v", err)
			}
		case <-limit:
			t.Fatal("calls go on after their context has ended")
		}
	}
	s.Continue()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err := e.Ping(ctx)
		cancel()
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after Redis went on: %v", err)
		}
	}
}

// fakeServer answers HELLO as a Redis of some version; with no version it never
// answers.
func fakeServer(t *testing.T, version string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveFake(c, version)
		}
	}()
	return l.Addr().String()
}

func serveFake(c net.Conn, version string) {
	defer c.Close()
	for in := bufio.NewScanner(c); in.Scan(); {
		switch {
		case version == "":
		case in.Text() == "HELLO":
			fmt.Fprintf(c, "%%3\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$%d\r\n%s\r\n$5\r\nproto\r\n:3\r\n", len(version), version)
		case in.Text() == "PING":
			fmt.Fprint(c, "+PONG\r\n")
		}
	}
}
