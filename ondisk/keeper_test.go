package ondisk

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beckmq/beck/internal/driver"
)

// What is too old goes, but for what a subscription needs.
func TestRetentionByAge(t *testing.T) {
	clock := newMovingClock()
	set := settings{fs: vfs.NewMem(), reserve: 1, now: clock.now}
	e := mustOpen(t, "db", set)
	defer func() { shut(t, e) }()
	left := func(what, topic, want string) {
		t.Helper()
		e.sweep(t.Context())
		if got := text(readAll(t, e, topic)); got != want {
			t.Errorf("%s: %s has %q, want %q", what, topic, got, want)
		}
		audit(t, e)
	}
	for _, topic := range []string{"week", "hour", "ever", "needed"} {
		publish(t, e, topic, bodies(0, 2)...)
	}
	join(t, e, "needed", "s", driver.JoinConfig{})
	for topic, age := range map[string]time.Duration{"hour": time.Hour, "ever": 0, "needed": time.Hour} {
		if err := e.Configure(t.Context(), topic, driver.TopicConfig{MaxAge: age}); err != nil {
			t.Fatal(err)
		}
	}
	clock.forward(time.Hour)
	left("after an hour", "hour", "0 1 ")
	publish(t, e, "hour", bodies(2, 1)...)
	clock.forward(time.Minute)
	left("a minute later", "hour", "2 ")
	left("a minute later", "needed", "0 1 ")
	f := fetch(t, e, "needed", "s", "c", 10)
	settle(t, e, "needed", "s", "c", each(driver.Acknowledge, f.Messages[0].ID)...)
	left("half is done", "needed", "1 ")
	shut(t, e)
	e = mustOpen(t, "db", set)
	left("opened again", "needed", "1 ")
	clock.forward(8 * 24 * time.Hour)
	left("after a week", "week", "")
	left("after a week", "ever", "0 1 ")
	left("after a week", "hour", "")
}

// logLines is a log to look into.
type logLines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logLines) has(parts ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(line, p)
		}
		if all {
			return true
		}
	}
	return false
}

func TestSubscriptionsExpire(t *testing.T) {
	clock := newMovingClock()
	lines := &logLines{}
	set := settings{fs: vfs.NewMem(), reserve: 1, now: clock.now, log: slog.New(slog.NewTextHandler(lines, nil))}
	e := mustOpen(t, "db", set)
	defer func() { shut(t, e) }()
	publish(t, e, "a", bodies(0, 5)...)
	for _, s := range []string{"read", "idle", "holds"} {
		join(t, e, "a", s, driver.JoinConfig{Expires: time.Hour, Lease: time.Minute})
	}
	join(t, e, "a", "ever", driver.JoinConfig{})
	there := func(when, want string) {
		t.Helper()
		e.sweep(t.Context())
		var names []string
		for _, s := range topicInfo(t, e, "a").Subscriptions {
			names = append(names, s.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	clock.forward(40 * time.Minute)
	fetch(t, e, "a", "read", "c", 1)
	ids := idsOf(fetch(t, e, "a", "holds", "c", 1).Messages)
	clock.forward(10 * time.Minute)
	settle(t, e, "a", "holds", "c", each(driver.Renew, ids...)...)
	there("in time", "ever holds idle read")
	clock.forward(10 * time.Minute)
	there("idle is due", "ever holds read")
	if !lines.has("subscription expired: nobody has read it for 1h0m0s", "topic=a", "subscription=idle") {
		t.Errorf("log: %s", lines.b.String())
	}
	if _, err := e.Fetch(t.Context(), "a", "idle", driver.FetchRequest{Consumer: "c", Max: 1}); !errors.Is(err, driver.ErrSubscriptionNotFound) {
		t.Errorf("fetching from what expired: %v", err)
	}
	info := accounts(t, e)["read"]
	if info.Expires != time.Hour || info.Unread != 20*time.Minute {
		t.Errorf("%+v", info)
	}
	shut(t, e)
	e = mustOpen(t, "db", set)
	if info := accounts(t, e)["read"]; info.Unread != 20*time.Minute {
		t.Errorf("opened again: %+v", info)
	}
	clock.forward(39 * time.Minute)
	settle(t, e, "a", "holds", "c", each(driver.Renew, ids...)...)
	clock.forward(30 * time.Second)
	there("in time", "ever holds read")
	settle(t, e, "a", "holds", "c", each(driver.Renew, ids...)...)
	clock.forward(30 * time.Second)
	there("read is due, holds still holds", "ever holds")
	clock.forward(time.Minute)
	there("holds is due", "ever")
}

// A consumer that waits where nothing happens keeps its subscription.
func TestWaitingKeepsFromExpiring(t *testing.T) {
	clock := newMovingClock()
	e := open(t, "db", settings{fs: vfs.NewMem(), reserve: 1, now: clock.now, sweep: time.Hour})
	join(t, e, "a", "s", driver.JoinConfig{Expires: time.Minute})
	for i := range 20 {
		next := fetch(t, e, "a", "s", "c", 1).Next
		if next <= 0 || next > time.Minute/2 {
			t.Fatalf("next after %v", next)
		}
		clock.forward(next)
		e.sweep(t.Context())
		if i == 10 {
			if err := e.Pause(t.Context(), "a", "s", true); err != nil {
				t.Fatal(err)
			}
		}
	}
	clock.forward(time.Minute)
	e.sweep(t.Context())
	if info := topicInfo(t, e, "a"); len(info.Subscriptions) > 0 {
		t.Errorf("%+v", info)
	}
}

// A topic of a program that did not count its bytes gets them counted.
func TestBytesOfOldTopics(t *testing.T) {
	set := settings{fs: vfs.NewMem(), reserve: 1}
	e := mustOpen(t, "db", set)
	publish(t, e, "a", bodies(0, 1000)...)
	join(t, e, "a", "s", driver.JoinConfig{})
	fetch(t, e, "a", "s", "c", 3)
	asFormat1(t, e, "a", "s")
	shut(t, e)

	e = mustOpen(t, "db", set)
	defer func() { shut(t, e) }()
	info := topicInfo(t, e, "a")
	if s := info.Subscriptions[0]; info.Bytes != -1 || info.Length != 1000 || s.Lag != 997 || s.Pending != 3 || s.Expires != 0 || s.Unread > time.Minute {
		t.Errorf("%+v", info)
	}
	if info.Config != driver.DefaultTopicConfig {
		t.Errorf("%+v", info.Config)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 50 {
				publish(t, e, "a", bodies(i, 1)...)
			}
		})
	}
	e.sweep(t.Context())
	all.Wait()
	if info := topicInfo(t, e, "a"); info.Bytes <= 0 || info.Length != 1200 {
		t.Errorf("%+v", info)
	}
	audit(t, e)
}

// asFormat1 has the records of a topic and a subscription as older programs wrote
// them.
func asFormat1(t *testing.T, e *engine, topic, subscription string) {
	t.Helper()
	tp := e.find(topic)
	s := e.findSubscription(tp, subscription)
	b := e.db.NewBatch()
	rec := tp.rec.last.Append([]byte{format1})
	for _, n := range []uint64{tp.rec.appended, tp.rec.trimmed} {
		rec = appendNumber(rec, n)
	}
	err := b.Set(tableKey(tagTopic, topic), rec, nil)
	rec = s.rec.cursor.Append([]byte{format1})
	for _, n := range []uint64{s.rec.delivered, uint64(s.rec.lease), s.rec.dead} {
		rec = appendNumber(rec, n)
	}
	if err := errors.Join(err, b.Set(tableKey(tagSub, topic, subscription), rec, nil), b.Commit(pebble.Sync)); err != nil {
		t.Fatal(err)
	}
}
