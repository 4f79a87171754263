package drivertest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// T is a test with an engine at hand. Its methods make a call, with a deadline,
// and fail the test if the call fails.
type T struct {
	testing.TB
	h        Harness
	engine   driver.Engine
	patience time.Duration
}

// Names that most cases use: each has an engine of its own.
const (
	orders  = "orders"
	billing = "billing"
)

// promptly is how long a hint may take. It is shorter than the sweeps by which
// engines catch what a hint missed, so that those can't hide a lost hint.
func (t *T) promptly() time.Duration { return min(4*time.Second, t.patience) }

// long is a lease that doesn't end during a case.
const long = time.Hour

// slack is what two clocks may differ by when a lower bound of time is checked.
const slack = 20 * time.Millisecond

// ctx returns a context that ends when patience does.
func (t *T) ctx() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), t.patience)
}

// append adds messages with these bodies in one call.
func (t *T) append(topic string, bodies ...string) []string {
	t.Helper()
	messages := make([]driver.Message, len(bodies))
	for i, b := range bodies {
		messages[i].Body = []byte(b)
	}
	return t.appendMessages(topic, messages...)
}

// appendN adds n messages, whose bodies are 0 to n-1, in one call.
func (t *T) appendN(topic string, n int) []string {
	t.Helper()
	return t.append(topic, numbers(0, n)...)
}

func (t *T) appendMessages(topic string, messages ...driver.Message) []string {
	t.Helper()
	ctx, cancel := t.ctx()
	defer cancel()
	ids, err := t.engine.Append(ctx, topic, messages)
	if err != nil {
		t.Fatalf("Append of %d messages to %s: %v", len(messages), topic, err)
	}
	if len(ids) != len(messages) {
		t.Fatalf("Append of %d messages to %s returned %d ids", len(messages), topic, len(ids))
	}
	return ids
}

func (t *T) read(topic string, from driver.Position, max int) driver.Page {
	t.Helper()
	ctx, cancel := t.ctx()
	defer cancel()
	page, err := t.engine.Read(ctx, topic, from, max)
	if err != nil {
		t.Fatalf("Read of %s from %s: %v", topic, show(from), err)
	}
	if len(page.Messages) > max {
		t.Fatalf("Read of at most %d messages returned %d", max, len(page.Messages))
	}
	return page
}

// readAll reads on as long as pages say that there is more, as a reader does:
// from the last message inclusive.
func (t *T) readAll(topic string, from driver.Position) []driver.Message {
	t.Helper()
	page := t.read(topic, from, 1000)
	all := page.Messages
	for page.More {
		last := all[len(all)-1].ID
		page = t.read(topic, at(last), 1000)
		if len(page.Messages) == 0 || page.Messages[0].ID != last {
			t.Fatalf("Read from the id %s did not begin with that message, which was read a moment ago", last)
		}
		if len(page.Messages) == 1 && page.More {
			t.Fatalf("Read says More, but from the last message %s it returns nothing but that message", last)
		}
		all = append(all, page.Messages[1:]...)
	}
	return all
}

func (t *T) join(topic, subscription string, config driver.JoinConfig) (existed bool) {
	t.Helper()
	ctx, cancel := t.ctx()
	defer cancel()
	existed, err := t.engine.Join(ctx, topic, subscription, config)
	if err != nil {
		t.Fatalf("Join of %s to %s: %v", subscription, topic, err)
	}
	return existed
}

// joinStart makes a subscription from the start of a topic.
func (t *T) joinStart(topic, subscription string, lease time.Duration) {
	t.Helper()
	t.join(topic, subscription, driver.JoinConfig{Lease: lease})
}

func (t *T) fetch(topic, subscription string, req driver.FetchRequest) driver.Fetched {
	t.Helper()
	ctx, cancel := t.ctx()
	defer cancel()
	f, err := t.engine.Fetch(ctx, topic, subscription, req)
	if err != nil {
		t.Fatalf("Fetch by %s of %s of %s: %v", req.Consumer, subscription, topic, err)
	}
	if len(f.Messages) > req.Max {
		t.Fatalf("Fetch of at most %d messages returned %d", req.Max, len(f.Messages))
	}
	for _, m := range f.Messages {
		if m.Attempt < 1 {
			t.Fatalf("Fetch returned message %s with the attempt number %d; attempts count from 1", m.ID, m.Attempt)
		}
	}
	return f
}

// take fetches until a consumer has got n messages, waiting as Next says.
func (t *T) take(topic, subscription, consumer string, n int) []driver.Message {
	t.Helper()
	var got []driver.Message
	deadline := time.Now().Add(t.patience)
	for {
		f := t.fetch(topic, subscription, driver.FetchRequest{Consumer: consumer, Max: n - len(got)})
		got = append(got, f.Messages...)
		switch {
		case len(got) == n:
			return got
		case time.Now().After(deadline):
			t.Fatalf("%s fetched %d messages of %s within %v, want %d", consumer, len(got), subscription, t.patience, n)
		case f.More:
		case f.Next > 0:
			time.Sleep(min(f.Next, time.Until(deadline)))
		case len(f.Messages) == 0:
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// abandon has a consumer fetch n messages whose leases are short. Where the
// machine is slow, it may get the first again before it has them all.
func (t *T) abandon(topic, subscription, consumer string, n int) {
	t.Helper()
	seen := map[string]bool{}
	t.eventually(fmt.Sprintf("%s fetched %d messages of %s", consumer, n, subscription), func() bool {
		f := t.fetch(topic, subscription, driver.FetchRequest{Consumer: consumer, Max: n - len(seen)})
		for _, m := range f.Messages {
			seen[m.ID] = true
		}
		return len(seen) == n
	})
}

// none checks that there is nothing to fetch right now.
func (t *T) none(topic, subscription, consumer string) driver.Fetched {
	t.Helper()
	f := t.fetch(topic, subscription, driver.FetchRequest{Consumer: consumer, Max: 100})
	if len(f.Messages) > 0 {
		t.Fatalf("%s fetched %s (attempt %d), want nothing", consumer, f.Messages[0].ID, f.Messages[0].Attempt)
	}
	return f
}

// settle does the same to all ids, which the consumer must hold.
func (t *T) settle(topic, subscription, consumer string, do driver.Action, ids ...string) {
	t.Helper()
	if notHeld := t.trySettle(topic, subscription, consumer, each(do, ids...)...); len(notHeld) > 0 {
		t.Fatalf("Settle (%s) by %s: %d of %d are not held, among them %s", name(do), consumer, len(notHeld), len(ids), notHeld[0])
	}
}

func (t *T) trySettle(topic, subscription, consumer string, settlements ...driver.Settlement) (notHeld []string) {
	t.Helper()
	ctx, cancel := t.ctx()
	defer cancel()
	notHeld, err := t.engine.Settle(ctx, topic, subscription, consumer, settlements)
	if err != nil {
		t.Fatalf("Settle of %d by %s: %v", len(settlements), consumer, err)
	}
	return notHeld
}

func (t *T) trim(topic string, before driver.Position) int64 {
	t.Helper()
	ctx, cancel := t.ctx()
	defer cancel()
	removed, err := t.engine.Trim(ctx, topic, before)
	if err != nil {
		t.Fatalf("Trim of %s before %s: %v", topic, show(before), err)
	}
	return removed
}

func (t *T) topic(topic string) driver.TopicInfo {
	t.Helper()
	ctx, cancel := t.ctx()
	defer cancel()
	info, err := t.engine.Topic(ctx, topic)
	if err != nil {
		t.Fatalf("Topic %s: %v", topic, err)
	}
	return info
}

func (t *T) subscription(topic, subscription string) driver.SubscriptionInfo {
	t.Helper()
	info := t.topic(topic)
	i := slices.IndexFunc(info.Subscriptions, func(s driver.SubscriptionInfo) bool { return s.Name == subscription })
	if i < 0 {
		t.Fatalf("Topic %s does not list its subscription %s", topic, subscription)
	}
	return info.Subscriptions[i]
}

// eventually waits until a condition holds.
func (t *T) eventually(what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(t.patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", t.patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// hinted waits for a hint.
func (t *T) hinted(hints <-chan struct{}, after string) {
	t.Helper()
	select {
	case <-hints:
	case <-time.After(t.promptly()):
		t.Fatalf("no hint within %v after %s", t.promptly(), after)
	}
}

// wantBodies checks messages by their bodies, in order.
func (t *T) wantBodies(what string, got []driver.Message, want ...string) {
	t.Helper()
	for i, m := range got[:min(len(got), len(want))] {
		if string(m.Body) != want[i] {
			t.Fatalf("%s: message %d of %d is %.40q, want %.40q", what, i+1, len(got), m.Body, want[i])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d messages, want %d", what, len(got), len(want))
	}
}

// wantIDs checks messages by their ids, in order.
func (t *T) wantIDs(what string, got []driver.Message, want ...string) {
	t.Helper()
	if ids := idsOf(got); !slices.Equal(ids, want) {
		t.Fatalf("%s: %s, want %s", what, few(ids), few(want))
	}
}

func idsOf(messages []driver.Message) []string {
	ids := make([]string, len(messages))
	for i, m := range messages {
		ids[i] = m.ID
	}
	return ids
}

func at(id string) driver.Position { return driver.Position{Kind: driver.AtID, ID: id} }

var (
	start = driver.Position{Kind: driver.Start}
	end   = driver.Position{Kind: driver.End}
)

func each(do driver.Action, ids ...string) []driver.Settlement {
	list := make([]driver.Settlement, len(ids))
	for i, id := range ids {
		list[i] = driver.Settlement{ID: id, Do: do}
	}
	return list
}

func numbers(from, to int) []string {
	var list []string
	for i := from; i < to; i++ {
		list = append(list, strconv.Itoa(i))
	}
	return list
}

// few shows a list without flooding the terminal.
func few(list []string) string {
	if len(list) <= 12 {
		return fmt.Sprint(list)
	}
	return fmt.Sprintf("%v … and %d more", list[:12], len(list)-12)
}

func show(p driver.Position) string {
	switch p.Kind {
	case driver.Start:
		return "the start"
	case driver.End:
		return "the end"
	case driver.AtTime:
		return p.Time.Format(time.RFC3339Nano)
	}
	return "the id " + p.ID
}

func name(do driver.Action) string {
	return map[driver.Action]string{
		driver.Acknowledge: "acknowledge", driver.Retry: "retry", driver.Release: "release",
		driver.DeadLetter: "dead-letter", driver.Renew: "renew",
	}[do]
}
