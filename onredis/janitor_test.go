package onredis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
)

// log collects what is logged.
type logged struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// cleaning runs a janitor that comes by every few ms.
func cleaning(t *testing.T, e *engine) {
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { e.clean(ctx, 20*time.Millisecond) })
	t.Cleanup(func() {
		cancel()
		done.Wait()
	})
}

// until waits for something that the janitor does.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for limit := time.Now().Add(5 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("not within 5s: %s", what)
		}
	}
}

func TestMaxAge(t *testing.T) {
	e, s := start(t)
	join(t, e, "orders", "s", time.Minute)
	configure(t, e, "orders", func(c *driver.TopicConfig) { c.MaxAge = 300 * time.Millisecond })
	publish(t, e, "orders", "a", "b", "c")
	publish(t, e, "kept", "a")
	old := time.Now().Add(-8 * 24 * time.Hour).UnixMilli()
	s.Do("XADD", "beck:foreign", fmt.Sprintf("%d-0", old), "body", "of last week")
	id := fetch(t, e, "orders", "s", "c", 1).Messages[0].ID
	settle(t, e, "orders", "s", "c", driver.Acknowledge, id)
	_, stop := e.Watch("foreign")
	defer stop()
	cleaning(t, e)
	until(t, "what is old and needed by nobody is removed", func() bool { return s.Do("XLEN", "beck:orders") == "2" })
	until(t, "a message of last week is removed from a topic that was not configured", func() bool { return s.Do("XLEN", "beck:foreign") == "0" })
	time.Sleep(400 * time.Millisecond)
	if n := s.Do("XLEN", "beck:orders"); n != "2" {
		t.Errorf("%s messages are left, want the 2 that are needed", n)
	}
	if n := s.Do("XLEN", "beck:kept"); n != "1" {
		t.Error("a message that is not old is removed")
	}
}

func TestMaxAgeWithoutPrefix(t *testing.T) {
	_, s := start(t)
	e, err := openEngine(t.Context(), s.URL(), &Options{NoPrefix: true})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, e)
	old := time.Now().Add(-8 * 24 * time.Hour).UnixMilli()
	for _, topic := range []string{"theirs", "ours"} {
		s.Do("XADD", topic, fmt.Sprintf("%d-0", old), "body", "of last week")
		_, stop := e.Watch(topic)
		defer stop()
	}
	configure(t, e, "ours", func(*driver.TopicConfig) {})
	cleaning(t, e)
	until(t, "a configured topic is cleaned", func() bool { return s.Do("XLEN", "ours") == "0" })
	if n := s.Do("XLEN", "theirs"); n != "1" {
		t.Error("a stream that nobody configured, in a Redis without a prefix, lost a message")
	}
}

func TestSubscriptionExpires(t *testing.T) {
	_, s := start(t)
	var log logged
	e, err := openEngine(t.Context(), s.URL(), &Options{Options: beck.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, e)
	const expires = 600 * time.Millisecond
	for _, name := range []string{"read", "paused", "left", "forever"} {
		config := driver.JoinConfig{Lease: 200 * time.Millisecond, Expires: expires}
		if name == "forever" {
			config.Expires = 0
		}
		if _, err := e.Join(t.Context(), "orders", name, config); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Pause(t.Context(), "orders", "paused", true); err != nil {
		t.Fatal(err)
	}
	publish(t, e, "orders", "a")
	cleaning(t, e)
	reading := true
	names := func() (all string) {
		info, err := e.Topic(t.Context(), "orders")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range info.Subscriptions {
			all += " " + s.Name
			if s.Name == "read" && reading && (s.Unread > 300*time.Millisecond || s.Expires != expires) {
				t.Errorf("read is unread for %v and expires after %v", s.Unread, s.Expires)
			}
		}
		return all
	}
	for end := time.Now().Add(2 * expires); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		fetch(t, e, "orders", "read", "c", 1)
		fetch(t, e, "orders", "paused", "c", 1)
	}
	if got := names(); got != " forever paused read" {
		t.Errorf("there are%s, want forever paused read", got)
	}
	if !strings.Contains(log.String(), "subscription expired: nobody has read it for") || !strings.Contains(log.String(), "subscription=left") {
		t.Errorf("it is not logged: %s", log.String())
	}
	if _, err := e.Fetch(t.Context(), "orders", "left", driver.FetchRequest{Consumer: "c", Max: 1}); !errors.Is(err, driver.ErrSubscriptionNotFound) {
		t.Errorf("Fetch from one that expired: %v", err)
	}
	reading = false
	until(t, "the others expire once nobody reads them", func() bool { return names() == " forever" })
	if left := s.Do("HKEYS", "{beck:orders}:seen"); left != "" && left != "forever" {
		t.Errorf("seen has %q", left)
	}
}

func TestDedupeIDsAreForgotten(t *testing.T) {
	e, s := start(t)
	configure(t, e, "orders", func(c *driver.TopicConfig) { c.DedupeWindow = time.Second })
	messages := batchOf(1500)
	for i := range messages {
		messages[i].DedupeID = fmt.Sprint(i)
	}
	first, err := e.Append(t.Context(), "orders", messages)
	if err != nil {
		t.Fatal(err)
	}
	again, err := e.Append(t.Context(), "orders", messages)
	if err != nil || again[0] != first[0] || again[1499] != first[1499] || s.Do("XLEN", "beck:orders") != "1500" {
		t.Fatalf("published again: %d ids, %v", len(again), err)
	}
	if ttl := s.Do("PTTL", "{beck:orders}:once"); ttl == "-1" {
		t.Error("the DedupeIDs of a topic that is not used any more stay for ever")
	}
	s.Do("PERSIST", "{beck:orders}:once")
	s.Do("PERSIST", "{beck:orders}:once:ends")
	cleaning(t, e)
	until(t, "DedupeIDs are forgotten", func() bool { return s.Do("EXISTS", "{beck:orders}:once", "{beck:orders}:once:ends") == "0" })
}

// TestWhatIsHeldDoesNotExpire has handlers run for longer than the subscription may go
// unread: they renew their leases, and have no need to fetch.
func TestWhatIsHeldDoesNotExpire(t *testing.T) {
	e, _ := start(t)
	const expires = 400 * time.Millisecond
	config := driver.JoinConfig{Lease: 200 * time.Millisecond, Expires: expires}
	for _, name := range []string{"first", "retried", "gone"} {
		if _, err := e.Join(t.Context(), "orders", name, config); err != nil {
			t.Fatal(err)
		}
	}
	id := publish(t, e, "orders", "a")[0]
	for _, name := range []string{"first", "retried", "gone"} {
		fetch(t, e, "orders", name, "c", 1)
	}
	settle(t, e, "orders", "retried", "c", driver.Retry, id)
	if got := fetchWithin(t, e, time.Second, "orders", "retried", "c"); got[0].Attempt != 2 {
		t.Fatalf("attempt %d", got[0].Attempt)
	}
	cleaning(t, e)
	for end := time.Now().Add(3 * expires); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		for _, name := range []string{"first", "retried"} {
			if n := settle(t, e, "orders", name, "c", driver.Renew, id); len(n) > 0 {
				t.Fatalf("%s: the message is not held any more", name)
			}
		}
	}
	info, err := e.Topic(t.Context(), "orders")
	if err != nil || len(info.Subscriptions) != 2 {
		t.Errorf("there are %d subscriptions (%v), want first and retried", len(info.Subscriptions), err)
	}
	until(t, "the others expire once nobody renews what they hold", func() bool {
		info, err := e.Topic(t.Context(), "orders")
		return err == nil && len(info.Subscriptions) == 0
	})
}
