package onredis

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
)

func TestForeignEntries(t *testing.T) {
	e, s := start(t)
	for _, c := range []struct {
		fields []string
		body   string
	}{
		{[]string{"body", "hello"}, "hello"},
		{[]string{"body", ""}, ""},
		{[]string{"user", "7", "name", "Ann <&>"}, `{"user":"7","name":"Ann <&>"}`},
		{[]string{"name", "Ann", "body", "not first"}, `{"name":"Ann","body":"not first"}`},
		{[]string{"body", "b", "other", "x"}, `{"body":"b","other":"x"}`},
		{[]string{"a", "1", "b", "2", "a", "3"}, `{"a":["1","3"],"b":"2"}`},
		{[]string{"bin", "\xff\x00"[:1]}, `{"bin_base64":"/w=="}`},
		{[]string{"body", "b", "header:a b", "x"}, `{"body":"b","header:a b":"x"}`},
		{[]string{"body", "b", "key", "k", "key", "l"}, `{"body":"b","key":["k","l"]}`},
		{[]string{"body", "b", "key", strings.Repeat("k", beck.MaxKey+1)}, `{"body":"b","key":"` + strings.Repeat("k", beck.MaxKey+1) + `"}`},
		{[]string{"body", "b", "header:A", "1", "header:a", "2"}, `{"body":"b","header:A":"1","header:a":"2"}`},
		{[]string{"body", "b", "header:evil", "x\r\ny: z"}, `{"body":"b","header:evil":"x\r\ny: z"}`},
	} {
		id := s.Do(append([]string{"XADD", "beck:orders", "*"}, c.fields...)...)
		page, err := e.Read(t.Context(), "orders", driver.Position{Kind: driver.AtID, ID: id}, 1)
		if err != nil || len(page.Messages) != 1 {
			t.Fatalf("%q: %v, %v", c.fields, page, err)
		}
		if m := page.Messages[0]; string(m.Body) != c.body || m.Body == nil || m.Key != "" || m.Headers != nil {
			t.Errorf("%q is %q with key %q and headers %q, want %q", c.fields, m.Body, m.Key, m.Headers, c.body)
		}
	}
}

func TestLayoutIsReadable(t *testing.T) {
	e, s := start(t)
	_, err := e.Append(t.Context(), "orders", []driver.Message{{Key: "42", Headers: map[string]string{"h": "v"}, Body: []byte("hello")}})
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(s.Do("XRANGE", "beck:orders", "-", "+"))
	if want := []string{"body", "hello", "key", "42", "header:h", "v"}; !slices.Equal(got[1:], want) {
		t.Errorf("XRANGE shows %q, want %q", got[1:], want)
	}
	join(t, e, "orders", "billing", time.Minute)
	fetch(t, e, "orders", "billing", "c", 1)
	settle(t, e, "orders", "billing", "c", driver.Retry, got[0])
	id := s.Do("ZRANGE", "{beck:orders}:waiting:billing", "0", "-1")
	if state := s.Do("HGET", "{beck:orders}:retry:billing", id+" state"); !strings.Contains(state, `"attempt":1`) {
		t.Errorf("state of %s is %q", id, state)
	}
	if config := s.Do("HGET", "{beck:orders}:subs", "billing"); !strings.Contains(config, `"lease_ms":60000`) {
		t.Errorf("subs has %q", config)
	}
	m := fetch(t, e, "orders", "billing", "c", 1).Messages
	if len(m) != 1 || m[0].Attempt != 2 || m[0].Headers["h"] != "v" || m[0].Key != "42" {
		t.Errorf("retried: %+v", m)
	}
	settle(t, e, "orders", "billing", "c", driver.DeadLetter, m[0].ID)
	if dead := s.Do("XRANGE", "{beck:orders}:dead:billing", "-", "+"); !strings.Contains(dead, "dead:id\n"+m[0].ID) {
		t.Errorf("dead letter: %q", dead)
	}
	for _, key := range []string{"waiting", "leased", "retry"} {
		if n := s.Do("EXISTS", "{beck:orders}:"+key+":billing"); n != "0" {
			t.Errorf("%s is left behind", key)
		}
	}
}

func TestForeignGroup(t *testing.T) {
	e, s := start(t)
	publish(t, e, "orders", "a", "b")
	s.Do("XGROUP", "CREATE", "beck:orders", "theirs", "0")
	s.Do("XREADGROUP", "GROUP", "theirs", "them", "COUNT", "1", "STREAMS", "beck:orders", ">")
	info, err := e.Topic(t.Context(), "orders")
	if err != nil || len(info.Subscriptions) != 1 || info.Subscriptions[0].Pending != 1 || info.Subscriptions[0].Lag != 1 {
		t.Fatalf("Topic: %+v, %v", info, err)
	}
	if !join(t, e, "orders", "theirs", 100*time.Millisecond) {
		t.Error("Join of a foreign group says that it is new")
	}
	if f := fetch(t, e, "orders", "theirs", "us", 10); bodies(f.Messages) != `["b"]` {
		t.Errorf("fetched %s, want b", bodies(f.Messages))
	}
}

func TestForeignPublisherWakes(t *testing.T) {
	e, s := start(t)
	hints, stop := e.Watch("orders")
	defer stop()
	join(t, e, "orders", "billing", time.Minute)
	for i := range 5 {
		if i%2 == 0 {
			if _, err := e.Read(t.Context(), "orders", driver.Position{}, 10); err != nil {
				t.Fatal(err)
			}
		} else {
			fetch(t, e, "orders", "billing", "c", 10)
		}
		drain(hints)
		id := s.Do("XADD", "beck:orders", "*", "body", "hello")
		began := time.Now()
		hinted(t, hints, time.Second, "after a foreign XADD "+id)
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("the hint took %v", took)
		}
	}
}

func drain(hints <-chan struct{}) {
	for {
		select {
		case <-hints:
		case <-time.After(20 * time.Millisecond):
			return
		}
	}
}

func TestRestartWhileWatching(t *testing.T) {
	e, s := start(t, "--appendonly", "yes", "--appendfsync", "always")
	ids := publish(t, e, "orders", "before")
	hints, stop := e.Watch("orders")
	defer stop()
	from := driver.Position{Kind: driver.AtID, ID: ids[0]}
	if _, err := e.Read(t.Context(), "orders", from, 10); err != nil {
		t.Fatal(err)
	}
	drain(hints)
	s.Kill()
	hinted(t, hints, 2*time.Second, "after the connection was lost")
	if _, err := e.Append(t.Context(), "orders", []driver.Message{{Body: []byte("x")}}); !errors.Is(err, driver.ErrUnavailable) && !errors.Is(err, driver.ErrUncertain) {
		t.Errorf("Append while Redis is away: %v", err)
	}
	if _, err := e.Read(t.Context(), "orders", from, 10); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("Read while Redis is away: %v, want ErrUnavailable", err)
	}
	s.Restart()
	page, err := e.Read(t.Context(), "orders", from, 10)
	if err != nil || bodies(page.Messages) != `["before"]` {
		t.Fatalf("Read after the restart: %s, %v", bodies(page.Messages), err)
	}
	drain(hints)
	s.Do("XADD", "beck:orders", "*", "body", "after")
	hinted(t, hints, time.Second, "a publication after the restart")
}

// TestLoss takes things away from a running subscription.
func TestLoss(t *testing.T) {
	for _, c := range []struct {
		what    string
		command []string
		want    string
	}{
		{"script flush", []string{"SCRIPT", "FLUSH"}, `["c" "d"]`},
		{"group destroyed", []string{"XGROUP", "DESTROY", "beck:orders", "billing"}, `["b" "c" "d"]`},
		{"flushall", []string{"FLUSHALL"}, `["d"]`},
		{"stream deleted", []string{"DEL", "beck:orders"}, `["d"]`},
		{"config deleted", []string{"DEL", "{beck:orders}:subs"}, `["c" "d"]`},
	} {
		t.Run(c.what, func(t *testing.T) {
			e, s := start(t)
			join(t, e, "orders", "billing", 400*time.Millisecond)
			ids := publish(t, e, "orders", "a", "b", "c")
			fetch(t, e, "orders", "billing", "c", 2)
			settle(t, e, "orders", "billing", "c", driver.Acknowledge, ids[0])
			time.Sleep(110 * time.Millisecond)
			fetch(t, e, "orders", "billing", "idle", 0+1) // looks, and takes c
			settle(t, e, "orders", "billing", "idle", driver.Release, ids[2])
			if c.what == "group destroyed" {
				// Only what was saved is known: b is pending, and a release of c
				// is a copy, which no group is needed for.
				settle(t, e, "orders", "billing", "idle", driver.Acknowledge, ids[2])
			}
			s.Do(c.command...)
			publish(t, e, "orders", "d")
			var got []string
			for deadline := time.Now().Add(250 * time.Millisecond); time.Now().Before(deadline); {
				for _, m := range fetch(t, e, "orders", "billing", "new", 10).Messages {
					got = append(got, string(m.Body))
				}
				time.Sleep(20 * time.Millisecond)
			}
			slices.Sort(got)
			got = slices.Compact(got)
			if !strings.Contains(fmt.Sprintf("%q", got), `"d"`) {
				t.Errorf("delivered %q, want d among them", got)
			}
			if c.what == "group destroyed" && !slices.Contains(got, "b") {
				t.Errorf("delivered %q, want b again, which was pending", got)
			}
		})
	}
}

func TestDeletedIsNotHealed(t *testing.T) {
	e, s := start(t)
	other := open(t, s)
	closeAtEnd(t, other)
	for i, remove := range []func() error{
		func() error { return other.DeleteTopic(t.Context(), "orders") },
		func() error { return other.DeleteSubscription(t.Context(), "orders", "billing") },
	} {
		if join(t, e, "orders", "billing", time.Minute) {
			t.Errorf("%d: existed", i)
		}
		publish(t, e, "orders", "a")
		if err := remove(); err != nil {
			t.Fatal(err)
		}
		publish(t, e, "orders", "b")
		_, err := e.Fetch(t.Context(), "orders", "billing", driver.FetchRequest{Consumer: "c", Max: 1})
		if !errors.Is(err, driver.ErrSubscriptionNotFound) {
			t.Errorf("%d: Fetch after deletion by another: %v", i, err)
		}
	}
}

func TestReclaimAndFencing(t *testing.T) {
	e, s := start(t)
	other := open(t, s)
	closeAtEnd(t, other)
	join(t, e, "orders", "billing", 200*time.Millisecond)
	ids := publish(t, e, "orders", "a")
	fetch(t, e, "orders", "billing", "crashed", 1)
	f := fetch(t, other, "orders", "billing", "next", 1)
	if f.Next <= 0 || f.Next > 200*time.Millisecond {
		t.Errorf("Next is %v, want the end of the other's lease", f.Next)
	}
	began := time.Now()
	got := fetchWithin(t, other, time.Second, "orders", "billing", "next")
	if took := time.Since(began); took > 350*time.Millisecond {
		t.Errorf("the message came after %v, want within a lease and a quarter", took)
	}
	if got[0].ID != ids[0] || got[0].Attempt != 2 {
		t.Errorf("got %s with attempt %d", got[0].ID, got[0].Attempt)
	}
	for _, do := range []driver.Action{driver.Retry, driver.Release, driver.DeadLetter, driver.Renew} {
		if n := settle(t, e, "orders", "billing", "crashed", do, ids[0]); len(n) != 1 {
			t.Errorf("action %d by one that lost the lease is accepted", do)
		}
	}
}

func TestWrongType(t *testing.T) {
	e, s := start(t)
	s.Do("LPUSH", "beck:orders", "x")
	ctx := t.Context()
	for name, err := range map[string]error{
		"Append": func() error {
			_, err := e.Append(ctx, "orders", []driver.Message{{Body: []byte("a")}})
			return err
		}(),
		"Read": func() error { _, err := e.Read(ctx, "orders", driver.Position{}, 1); return err }(),
		"Join": func() error { _, err := e.Join(ctx, "orders", "s", driver.JoinConfig{}); return err }(),
		"Fetch": func() error {
			_, err := e.Fetch(ctx, "orders", "s", driver.FetchRequest{Consumer: "c", Max: 1})
			return err
		}(),
		"Topic":  func() error { _, err := e.Topic(ctx, "orders"); return err }(),
		"Trim":   func() error { _, err := e.Trim(ctx, "orders", driver.Position{Kind: driver.End}); return err }(),
		"Delete": e.DeleteTopic(ctx, "orders"),
	} {
		if !errors.Is(err, driver.ErrWrongType) || !strings.Contains(err.Error(), "beck:orders") || !strings.Contains(err.Error(), "list") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := s.Do("LRANGE", "beck:orders", "0", "-1"); got != "x" {
		t.Errorf("the list is now %q", got)
	}
}

func TestCommandsPerMessage(t *testing.T) {
	e, s := start(t)
	const n = 2000
	messages := make([]driver.Message, 100)
	for i := range messages {
		messages[i].Body = []byte("hello")
	}
	s.Do("CONFIG", "RESETSTAT")
	for range n / len(messages) {
		if _, err := e.Append(t.Context(), "orders", messages); err != nil {
			t.Fatal(err)
		}
	}
	total := func() (sum int) {
		for name, n := range calls(s) {
			// All but what redis-cli sends.
			if strings.HasPrefix(name, "x") || strings.HasPrefix(name, "eval") || strings.HasPrefix(name, "z") || strings.HasPrefix(name, "h") && name != "hello" {
				sum += n
			}
		}
		return sum
	}
	if got := total(); got != n {
		t.Errorf("%d commands for %d messages published: %v", got, n, calls(s))
	}
	join(t, e, "orders", "billing", time.Minute)
	s.Do("CONFIG", "RESETSTAT")
	for done := 0; done < n; {
		f := fetch(t, e, "orders", "billing", "c", 500)
		ids := make([]string, len(f.Messages))
		for i, m := range f.Messages {
			ids[i] = m.ID
		}
		settle(t, e, "orders", "billing", "c", driver.Acknowledge, ids...)
		done += len(ids)
	}
	if got := total(); got > n/10 {
		t.Errorf("%d commands for %d messages subscribed, want well under one each: %v", got, n, calls(s))
	}
}
