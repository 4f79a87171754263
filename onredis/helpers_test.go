package onredis

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/redistest"
)

// start opens an engine on a Redis of its own; both end with the test.
func start(t testing.TB, args ...string) (*engine, *redistest.Server) {
	t.Helper()
	s := redistest.Start(t, args...)
	e := open(t, s)
	closeAtEnd(t, e)
	return e, s
}

func closeAtEnd(t testing.TB, e *engine) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := e.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

func publish(t testing.TB, e *engine, topic string, bodies ...string) []string {
	t.Helper()
	messages := make([]driver.Message, len(bodies))
	for i, b := range bodies {
		messages[i].Body = []byte(b)
	}
	ids, err := e.Append(t.Context(), topic, messages)
	if err != nil {
		t.Fatalf("Append: %v", err)
	}
	return ids
}

func join(t testing.TB, e *engine, topic, name string, lease time.Duration) (existed bool) {
	t.Helper()
	existed, err := e.Join(t.Context(), topic, name, driver.JoinConfig{Lease: lease})
	if err != nil {
		t.Fatalf("Join: %v", err)
	}
	return existed
}

func fetch(t testing.TB, e *engine, topic, name, consumer string, max int) driver.Fetched {
	t.Helper()
	f, err := e.Fetch(t.Context(), topic, name, driver.FetchRequest{Consumer: consumer, Max: max})
	if err != nil {
		t.Fatalf("Fetch: %v", err)
	}
	return f
}

// fetchWithin fetches until there is a message.
func fetchWithin(t testing.TB, e *engine, limit time.Duration, topic, name, consumer string) []driver.Message {
	t.Helper()
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if f := fetch(t, e, topic, name, consumer, 100); len(f.Messages) > 0 {
			return f.Messages
		}
	}
	t.Fatalf("no message within %v", limit)
	return nil
}

func settle(t testing.TB, e *engine, topic, name, consumer string, do driver.Action, ids ...string) (notHeld []string) {
	t.Helper()
	list := make([]driver.Settlement, len(ids))
	for i, id := range ids {
		list[i] = driver.Settlement{ID: id, Do: do}
	}
	notHeld, err := e.Settle(t.Context(), topic, name, consumer, list)
	if err != nil {
		t.Fatalf("Settle: %v", err)
	}
	return notHeld
}

func bodies(messages []driver.Message) string {
	var all []string
	for _, m := range messages {
		all = append(all, string(m.Body))
	}
	return fmt.Sprintf("%q", all)
}

func hinted(t testing.TB, hints <-chan struct{}, limit time.Duration, why string) {
	t.Helper()
	select {
	case <-hints:
	case <-time.After(limit):
		t.Fatalf("no hint within %v: %s", limit, why)
	}
}

// calls counts the commands that a server has run, by name.
func calls(s *redistest.Server) map[string]int {
	counts := map[string]int{}
	for _, m := range regexp.MustCompile(`cmdstat_(\S+?):calls=(\d+)`).FindAllStringSubmatch(s.Do("INFO", "commandstats"), -1) {
		counts[m[1]], _ = strconv.Atoi(m[2])
	}
	return counts
}

func idsOf(messages []driver.Message) []string {
	ids := make([]string, len(messages))
	for i, m := range messages {
		ids[i] = m.ID
	}
	return ids
}

// openAt opens an engine at an address; it ends with the test.
func openAt(t testing.TB, url string) *engine {
	t.Helper()
	e, err := openEngine(t.Context(), url, &Options{})
	if err != nil {
		t.Fatalf("open %s: %v", url, err)
	}
	closeAtEnd(t, e)
	return e
}

// read reads what a topic has.
func read(t testing.TB, e *engine, topic string) []driver.Message {
	t.Helper()
	page, err := e.Read(t.Context(), topic, driver.Position{}, 1000)
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	return page.Messages
}
