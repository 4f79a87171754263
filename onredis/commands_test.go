package onredis

import (
	"fmt"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/redistest"
)

// served is how many commands Redis has run, those of scripts too, without what keeps
// connections open, and what is sent to count.
func served(s *redistest.Server) (sum int) {
	for name, n := range calls(s) {
		switch name {
		case "info", "ping", "auth", "hello", "client|tracking":
		default:
			sum += n
		}
	}
	return sum
}

// TestCommandsOfEveryKind counts the commands that messages take, those of scripts
// too, from publishing batches of 100 to reading them, by one who waits for them. None
// may take more than three more than a plain one.
func TestCommandsOfEveryKind(t *testing.T) {
	const batch, rounds = 100, 10
	cost := map[string]float64{}
	for name, set := range map[string]func(m *driver.Message, n int){
		"plain":   func(*driver.Message, int) {},
		"delayed": func(m *driver.Message, _ int) { m.Delay = 20 * time.Millisecond },
		"delayed by times of their own": func(m *driver.Message, n int) {
			m.Delay = 20*time.Millisecond + time.Duration(n%batch)*time.Millisecond/4
		},
		"deduplicated":             func(m *driver.Message, n int) { m.DedupeID = fmt.Sprint(n) },
		"published twice":          func(m *driver.Message, n int) { m.DedupeID = fmt.Sprint(n / 2) },
		"delayed and deduplicated": func(m *driver.Message, n int) { m.Delay, m.DedupeID = 20*time.Millisecond, fmt.Sprint(n) },
	} {
		e, s := start(t)
		hints, stop := e.Watch("orders")
		defer stop()
		from := driver.Position{Kind: driver.Start}
		publishAndRead := func(first int) {
			list := batchOf(batch)
			for i := range list {
				set(&list[i], first+i)
			}
			ids, err := e.Append(t.Context(), "orders", list)
			if err != nil {
				t.Fatalf("%s: Append: %v", name, err)
			}
			missing := map[string]struct{}{}
			for _, id := range ids {
				missing[id] = struct{}{}
			}
			for limit := time.After(5 * time.Second); len(missing) > 0; {
				page, err := e.Read(t.Context(), "orders", from, 2*batch)
				if err != nil {
					t.Fatalf("%s: Read: %v", name, err)
				}
				for _, m := range page.Messages {
					delete(missing, m.ID)
					delete(missing, m.Headers[delayedHeader])
					from = driver.Position{Kind: driver.AtID, ID: m.ID}
				}
				if len(page.Messages) > 1 {
					continue
				}
				select {
				case <-hints:
				case <-limit:
					t.Fatalf("%s: %d of %d messages did not come", name, len(missing), batch)
				}
			}
		}
		publishAndRead(0) // what is done once is done now
		before := served(s)
		for i := range rounds {
			publishAndRead((1 + i) * batch)
		}
		cost[name] = float64(served(s)-before) / (batch * rounds)
		t.Logf("%s: %.2f commands a message", name, cost[name])
	}
	for name, n := range cost {
		if n > cost["plain"]+3 {
			t.Errorf("a message that is %s takes %.2f commands, a plain one %.2f: want three more at most", name, n, cost["plain"])
		}
	}
}
