package onredis

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/redistest"
)

// delay publishes messages, each with a delay of its own, and returns their ids.
func delay(t testing.TB, e *engine, topic string, delays ...time.Duration) []string {
	t.Helper()
	messages := make([]driver.Message, len(delays))
	for i, d := range delays {
		messages[i] = driver.Message{Body: fmt.Append(nil, i), Delay: d}
	}
	ids, err := e.Append(t.Context(), topic, messages)
	if err != nil || len(ids) != len(delays) {
		t.Fatalf("Append: %d ids, %v", len(ids), err)
	}
	return ids
}

// dueOf is when the message with the id of a delayed one is due.
func dueOf(id string) time.Time {
	var ms int64
	_, _ = fmt.Sscanf(id, "d%d-", &ms)
	return time.UnixMilli(ms)
}

// receive fetches and acknowledges, waiting for hints, until n messages have come,
// and returns when each came, by the id it had when it was delayed.
func receive(t testing.TB, e *engine, topic string, n int) map[string]time.Time {
	t.Helper()
	hints, stop := e.Watch(topic)
	defer stop()
	came := map[string]time.Time{}
	for limit := time.After(20 * time.Second); len(came) < n; {
		f := fetch(t, e, topic, "s", "c", 1000)
		now := time.Now()
		for _, m := range f.Messages {
			id := m.Headers[delayedHeader]
			if !came[id].IsZero() {
				t.Errorf("%s came twice", id)
			}
			came[id] = now
			if early := dueOf(id).UnixMilli() - m.Time.UnixMilli(); early > 0 {
				t.Errorf("%s entered the topic %d ms early", id, early)
			}
		}
		if len(f.Messages) > 0 {
			settle(t, e, topic, "s", "c", driver.Acknowledge, idsOf(f.Messages)...)
		}
		if f.More || len(came) == n {
			continue
		}
		var next <-chan time.Time
		if f.Next > 0 {
			next = time.After(f.Next)
		}
		select {
		case <-hints:
		case <-next:
		case <-limit:
			t.Fatalf("%d of %d delayed messages came", len(came), n)
		}
	}
	return came
}

// lateness is how late messages came, in order.
func lateness(came map[string]time.Time) []time.Duration {
	var late []time.Duration
	for id, at := range came {
		late = append(late, at.Sub(dueOf(id)))
	}
	slices.Sort(late)
	return late
}

// TestDelayOverCrash kills Redis while messages are delayed: none is lost, none
// early, and those due behind the restart come in time.
func TestDelayOverCrash(t *testing.T) {
	e, s := start(t, "--appendonly", "yes", "--appendfsync", "always")
	join(t, e, "orders", "s", time.Minute)
	delays := make([]time.Duration, 1000)
	for i := range delays {
		delays[i] = time.Duration(1+rand.IntN(2500)) * time.Millisecond
	}
	ids := delay(t, e, "orders", delays...)
	s.Kill()
	s.Restart()
	for wait := time.Now().Add(5 * time.Second); e.Ping(t.Context()) != nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(wait) {
			t.Fatal("no connection to the Redis that was restarted")
		}
	}
	restarted := time.Now()
	came := receive(t, e, "orders", len(ids))
	for _, id := range ids {
		if came[id].IsZero() {
			t.Errorf("%s never came", id)
		}
	}
	for id := range came {
		if dueOf(id).Before(restarted) {
			delete(came, id)
		}
	}
	late := lateness(came)
	t.Logf("%d were due after the restart; late by %v (median) to %v", len(late), late[len(late)/2], late[len(late)-1])
	if p99 := late[len(late)*99/100]; p99 > promptly {
		t.Errorf("1%% came later than %v", p99)
	}
	info, err := e.Topic(t.Context(), "orders")
	if err != nil || info.Delayed != 0 || info.Length != int64(len(ids)) {
		t.Errorf("there are %d delayed and %d other messages (%v), want 0 and %d", info.Delayed, info.Length, err, len(ids))
	}
	if left := s.Do("EXISTS", "{beck:orders}:delayed", "{beck:orders}:delayed:fields", "{beck:orders}:due"); left != "0" {
		t.Errorf("%s keys of delayed messages are left behind", left)
	}
}

// promptly is how late a message may be: 50 ms, and what a busy machine adds.
const promptly = 50*time.Millisecond + 200*time.Millisecond

// TestDelayedByManyProcesses has several processes wait for the same messages.
func TestDelayedByManyProcesses(t *testing.T) {
	e, s := start(t)
	join(t, e, "orders", "s", time.Minute)
	for range 5 {
		other := open(t, s)
		closeAtEnd(t, other)
		_, stop := other.Watch("orders")
		defer stop()
	}
	delays := make([]time.Duration, 300)
	for i := range delays {
		delays[i] = time.Duration(1+rand.IntN(500)) * time.Millisecond
	}
	delay(t, e, "orders", delays...)
	late := lateness(receive(t, e, "orders", len(delays)))
	if p99 := late[len(late)*99/100]; p99 > promptly {
		t.Errorf("1%% came later than %v", p99)
	}
}

// TestDelayedMessagesCostNoWaiting has a topic of very many delayed messages, and
// counts what is sent while a consumer waits for another one's.
func TestDelayedMessagesCostNoWaiting(t *testing.T) {
	e, s := start(t)
	join(t, e, "orders", "s", time.Hour)
	delays := make([]time.Duration, 10_000)
	for i := range delays {
		delays[i] = time.Duration(1000-i%500) * time.Hour
	}
	delay(t, e, "orders", delays...)
	hints, stop := e.Watch("orders")
	defer stop()
	fetch(t, e, "orders", "s", "c", 10)
	drain(hints)
	sent := monitor(t, s)
	fetch(t, e, "orders", "s", "c", 10)
	one := sent()
	delay(t, e, "orders", delays...)
	select {
	case <-hints:
		t.Error("delayed messages that are not the first to be due wake those who wait")
	case <-time.After(100 * time.Millisecond):
	}
	if n := sent() - one; n > len(delays)/maxScripted+3 {
		t.Errorf("%d commands were sent to publish %d delayed messages while others wait", n, len(delays))
	}
	took := func() time.Duration {
		began := time.Now()
		for range 100 {
			fetch(t, e, "orders", "s", "c", 10)
		}
		return time.Since(began) / 100
	}
	t.Logf("a fetch takes %v beside %d delayed messages", took(), 2*len(delays))
}

// TestDelayedCommands counts what a delayed message costs more than a plain one, in
// the dearest way there is: one at a time, and a process that waits.
func TestDelayedCommands(t *testing.T) {
	e, s := start(t)
	join(t, e, "orders", "s", time.Hour)
	hints, stop := e.Watch("orders")
	defer stop()
	publish(t, e, "orders", "x")
	delay(t, e, "orders", time.Millisecond)
	time.Sleep(50 * time.Millisecond)
	fetch(t, e, "orders", "s", "c", 10)
	drain(hints)
	sent := monitor(t, s)
	const rounds, n = 5, 20
	round := func(publish func()) float64 {
		before := sent()
		for range n {
			publish()
			for deadline := time.Now().Add(time.Second); ; {
				hinted(t, hints, time.Until(deadline), "a message")
				if f := fetch(t, e, "orders", "s", "c", 10); len(f.Messages) > 0 {
					break
				}
			}
			drain(hints)
		}
		return float64(sent()-before) / n
	}
	// The best of some rounds: who is slow is woken between two messages, and looks
	// once more.
	count := func(publish func()) float64 {
		best := round(publish)
		for range rounds - 1 {
			best = min(best, round(publish))
		}
		return best
	}
	plain := count(func() { publish(t, e, "orders", "x") })
	delayed := count(func() { delay(t, e, "orders", 20*time.Millisecond) })
	t.Logf("%.2f commands a plain message, %.2f a delayed one", plain, delayed)
	if delayed-plain > 3.3 {
		t.Errorf("a delayed message takes %.2f commands more than a plain one, want 3", delayed-plain)
	}
}

// beside are lines of MONITOR that don't count: what scripts do, and what is sent to
// open connections and to keep them.
var beside = regexp.MustCompile(` lua\] |\] "(PING|AUTH|HELLO|CLIENT)"`)

// monitor counts the commands that clients send, but not those of scripts.
func monitor(t testing.TB, s *redistest.Server) (sent func() int) {
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int64
	seen := make(chan string, 100)
	var reading sync.WaitGroup
	reading.Go(func() {
		lines := bufio.NewScanner(c)
		lines.Buffer(nil, 64<<20)
		for lines.Scan() {
			line := lines.Text()
			if _, after, ok := strings.Cut(line, `"ECHO" "mark`); ok {
				seen <- after
			} else if strings.Contains(line, "] ") && !beside.MatchString(line) {
				n.Add(1)
			}
		}
	})
	t.Cleanup(func() {
		c.Close()
		reading.Wait()
	})
	if _, err := fmt.Fprintf(c, "MONITOR\r\n"); err != nil {
		t.Fatal(err)
	}
	marks := 0
	return func() int {
		t.Helper()
		marks++
		s.Do("ECHO", fmt.Sprintf("mark%d", marks))
		select {
		case <-seen:
		case <-time.After(5 * time.Second):
			t.Fatal("MONITOR shows nothing")
		}
		return int(n.Load())
	}
}

// TestDelayedTooLarge publishes a delayed message that its topic could never take: it
// is refused, as it would keep those behind it from entering.
func TestDelayedTooLarge(t *testing.T) {
	e, s := start(t)
	join(t, e, "orders", "s", time.Minute)
	configure(t, e, "orders", func(c *driver.TopicConfig) { c.MaxBytes = 10_000 })
	batch := make([]driver.Message, 3)
	for i := range batch {
		batch[i] = driver.Message{Body: []byte("small"), Delay: 10 * time.Millisecond}
	}
	batch[1].Body = make([]byte, 9_940)
	ids, err := e.Append(t.Context(), "orders", batch)
	if !errors.Is(err, driver.ErrTopicFull) || len(ids) != 1 {
		t.Errorf("Append: %d ids, %v, want the first one's and ErrTopicFull", len(ids), err)
	}
	if n := s.Do("ZCARD", "{beck:orders}:delayed"); n != "1" {
		t.Errorf("%s messages are delayed, want the first", n)
	}
	if _, err := e.Append(t.Context(), "orders", batch[2:]); err != nil {
		t.Fatal(err)
	}
	batch[1].Body = batch[1].Body[:9_700]
	if _, err := e.Append(t.Context(), "orders", batch[1:2]); err != nil {
		t.Errorf("Append of one that fits in an empty topic: %v", err)
	}
	receive(t, e, "orders", 3)
	batch[1].Delay = time.Second
	if _, err := e.Append(t.Context(), "orders", batch[1:2]); err != nil {
		t.Fatal(err)
	}
	configure(t, e, "orders", func(c *driver.TopicConfig) { c.MaxBytes = 8_000 })
	time.Sleep(1010 * time.Millisecond)
	delay(t, e, "orders", 10*time.Millisecond, 10*time.Millisecond)
	receive(t, e, "orders", 2)
	if n := s.Do("ZCARD", "{beck:orders}:delayed"); n != "1" {
		t.Errorf("%s messages are delayed, want the one that is too large now", n)
	}
	configure(t, e, "orders", func(c *driver.TopicConfig) { c.MaxBytes = 0 })
	receive(t, e, "orders", 1)
}
