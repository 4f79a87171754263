package onredis

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

func configure(t testing.TB, e *engine, topic string, change func(c *driver.TopicConfig)) {
	t.Helper()
	c := driver.DefaultTopicConfig
	change(&c)
	if err := e.Configure(t.Context(), topic, c); err != nil {
		t.Fatalf("Configure: %v", err)
	}
}

// TestConfiguredElsewhere has another process bound a topic that this one
// publishes to.
func TestConfiguredElsewhere(t *testing.T) {
	e, s := start(t)
	other := open(t, s)
	closeAtEnd(t, other)
	join(t, e, "orders", "s", time.Minute)
	for i, lose := range []func(){
		func() {},
		func() { s.Do("CLIENT", "KILL", "TYPE", "normal") },
	} {
		configure(t, other, "orders", func(*driver.TopicConfig) {})
		for refused := errors.New(""); refused != nil; time.Sleep(time.Millisecond) {
			_, refused = e.Append(t.Context(), "orders", batchOf(1))
		}
		lose()
		time.Sleep(50 * time.Millisecond)
		configureSoon(t, other, "orders")
		limit := time.Now().Add(2 * time.Second)
		for {
			_, err := e.Append(t.Context(), "orders", batchOf(1))
			if errors.Is(err, driver.ErrTopicFull) {
				break
			}
			if time.Now().After(limit) {
				t.Fatalf("%d: another process publishes to a full topic: %v", i, err)
			}
		}
	}
}

// configureSoon bounds a topic, also if connections were just lost.
func configureSoon(t testing.TB, e *engine, topic string) {
	t.Helper()
	c := driver.DefaultTopicConfig
	c.MaxMessages = 1
	for limit := time.Now().Add(2 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		err := e.Configure(t.Context(), topic, c)
		if err == nil {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("Configure: %v", err)
		}
	}
}

func TestConfigsAreBounded(t *testing.T) {
	c := configs{bounded: map[string]bool{}}
	for i := range maxConfigs + 100 {
		c.put(fmt.Sprint(i), true, 0)
	}
	if len(c.bounded) != maxConfigs {
		t.Errorf("%d topics are remembered, want %d at most", len(c.bounded), maxConfigs)
	}
	_, _, changes := c.get("x")
	c.forget("y")
	c.put("x", false, changes)
	if _, known, _ := c.get("x"); known {
		t.Error("what was read before a change is remembered behind it")
	}
}

// TestLargeMessagesInABoundedTopic replaces large messages, which a script looks
// at before it drops them.
func TestLargeMessagesInABoundedTopic(t *testing.T) {
	e, _ := start(t)
	join(t, e, "orders", "s", time.Minute)
	configure(t, e, "orders", func(c *driver.TopicConfig) { c.MaxBytes, c.DropOldest = 20<<20, true })
	large := make([]driver.Message, 60)
	for i := range large {
		large[i].Body = make([]byte, 1<<20)
	}
	ids, err := e.Append(t.Context(), "orders", large)
	if err != nil || len(ids) != len(large) {
		t.Fatalf("Append: %d ids, %v", len(ids), err)
	}
	info, err := e.Topic(t.Context(), "orders")
	if err != nil || info.Length < 15 || info.Length > 20 || info.Bytes > 21<<20 {
		t.Errorf("%d messages with %d bytes are stored, %v; want about 19 MiB", info.Length, info.Bytes, err)
	}
	lost := int64(len(large)) - info.Length
	if s := info.Subscriptions[0]; s.Lost != lost || info.Dropped != lost || s.Lag != info.Length {
		t.Errorf("%d are dropped, %d lost and %d to come, want %d, %d and %d", info.Dropped, s.Lost, s.Lag, lost, lost, info.Length)
	}
	first := fetch(t, e, "orders", "s", "c", 1)
	if again := fetch(t, e, "orders", "s", "c", 1); first.Lost != lost || again.Lost != 0 {
		t.Errorf("Fetch tells of %d lost, then of %d, want %d and none", first.Lost, again.Lost, lost)
	}
	if _, err := e.Append(t.Context(), "orders", []driver.Message{{Body: make([]byte, 21<<20)}}); !errors.Is(err, driver.ErrTopicFull) {
		t.Errorf("a message larger than MaxBytes: %v, want ErrTopicFull", err)
	}
	if after, err := e.Topic(t.Context(), "orders"); err != nil || after.Length != info.Length {
		t.Errorf("a message that can't fit has others dropped: %d are left, %v", after.Length, err)
	}
}

// TestManyHeaders has messages of more fields than a script can publish.
func TestManyHeaders(t *testing.T) {
	e, _ := start(t)
	m := driver.Message{Body: []byte("x"), Headers: map[string]string{}}
	for i := range 3400 {
		m.Headers[fmt.Sprintf("h%d", i)] = "v"
	}
	m.DedupeID = "a"
	id, err := e.Append(t.Context(), "orders", []driver.Message{m})
	if err != nil {
		t.Fatal(err)
	}
	page, err := e.Read(t.Context(), "orders", driver.Position{Kind: driver.AtID, ID: id[0]}, 1)
	if err != nil || len(page.Messages) != 1 || len(page.Messages[0].Headers) != len(m.Headers) {
		t.Errorf("Read: %v", err)
	}
	for i := range 100 {
		m.Headers[fmt.Sprintf("i%d", i)] = "v"
	}
	m.DedupeID = "b"
	if _, err := e.Append(t.Context(), "orders", []driver.Message{{Body: []byte("a"), DedupeID: "c"}, m}); !errors.Is(err, driver.ErrTooLarge) {
		t.Errorf("%d headers: %v, want ErrTooLarge", len(m.Headers), err)
	}
	m.DedupeID = ""
	publishPlain, err := e.Append(t.Context(), "orders", []driver.Message{m})
	if err != nil || len(publishPlain) != 1 {
		t.Errorf("a plain message of %d headers: %v", len(m.Headers), err)
	}
}

// TestOneCommandAMessage counts what is sent to publish messages to a topic without
// bounds: its configuration is read once.
func TestOneCommandAMessage(t *testing.T) {
	e, s := start(t)
	sent := monitor(t, s)
	before := sent()
	const n = 1000
	for range n / 100 {
		if _, err := e.Append(t.Context(), "orders", batchOf(50)); err != nil {
			t.Fatal(err)
		}
		for range 50 {
			publish(t, e, "orders", "x")
		}
	}
	if got := sent() - before; got != n+1 {
		t.Errorf("%d commands for %d messages, want one each and one to read what the topic keeps", got, n)
	}
}
