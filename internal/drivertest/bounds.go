package drivertest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

func boundsCases() []Case {
	return []Case{
		{Name: "configure", Promise: "a topic is made by configuring it, tells its configuration, and has what was configured last, as a whole", run: boundsConfigure},
		{Name: "needed by nobody", Promise: "in a bounded topic new messages replace the oldest that no subscription needs, which is no loss", run: boundsUnneeded},
		{Name: "refusal", Promise: "a topic full of messages that are needed, waiting or held, refuses with ErrTopicFull and keeps them all; once they are acknowledged it takes new ones", run: boundsRefuse},
		{Name: "batch", Promise: "of a batch that is too large for a topic the messages in front are stored, and their ids returned beside ErrTopicFull", run: boundsBatch},
		{Name: "concurrent", Promise: "publishers at once never exceed the bound, and each knows what was stored", run: boundsConcurrent},
		{Name: "drop oldest", Promise: "a topic that drops takes every message and removes the oldest; each subscription counts those that it still needed, and the next fetch tells it once", run: boundsDrop},
		{Name: "dropped while held", Promise: "what is dropped while a consumer holds it counts as lost, and may be settled without an error", run: boundsDropHeld},
		{Name: "gap", Promise: "a reader that has not come as far as the topic dropped finds another message than the one it resumes with", run: boundsGap},
		{Name: "bytes", Promise: "MaxBytes refuses, or drops, at about that size", run: boundsBytes},
		{Name: "lowered", Promise: "a bound that is lowered below what is stored holds from the next message on", run: boundsLowered},
		{Name: "retry waits", Promise: "a message that waits for its retry when its topic drops it comes nevertheless, or is counted as lost", run: boundsRetry},
		{Name: "restart", needs: needReopen, Promise: "the configuration, and what was counted, survive a restart", run: boundsRestart},
	}
}

// full appends to a topic that must refuse.
func (t *T) full(topic string, bodies ...string) (stored []string) {
	t.Helper()
	messages := make([]driver.Message, len(bodies))
	for i, b := range bodies {
		messages[i].Body = []byte(b)
	}
	t.wantErr("Append to a topic that is full", func(ctx context.Context) (err error) {
		stored, err = t.engine.Append(ctx, topic, messages)
		return err
	}, driver.ErrTopicFull)
	return stored
}

// done has a consumer fetch and acknowledge n messages.
func (t *T) done(topic, subscription string, n int) {
	t.Helper()
	t.settle(topic, subscription, "done", driver.Acknowledge, idsOf(t.take(topic, subscription, "done", n))...)
}

func boundsConfigure(t *T) {
	want := driver.TopicConfig{MaxAge: time.Hour, MaxMessages: 3, MaxBytes: 1 << 20, DropOldest: true, DedupeWindow: time.Minute}
	t.configure(orders, func(c *driver.TopicConfig) { *c = want })
	if got := t.topic(orders).Config; got != want {
		t.Errorf("the configuration is %+v, want %+v", got, want)
	}
	want = driver.TopicConfig{DedupeWindow: time.Hour} // of any age
	t.configure(orders, func(c *driver.TopicConfig) { *c = want })
	if got := t.topic(orders).Config; got != want {
		t.Errorf("the second configuration is %+v, want %+v", got, want)
	}
	t.appendN(orders, 10)
	t.left(orders, 10)
	t.append("other", "a")
	if got := t.topic("other").Config; got.MaxMessages != 0 || got.MaxBytes != 0 || got.DropOldest {
		t.Errorf("a topic that was never configured has %+v, want no bounds", got)
	}
}

func boundsUnneeded(t *T) {
	t.bounded(orders, 5, false)
	t.appendN(orders, 3)
	ids := t.append(orders, numbers(3, 20)...)
	t.wantIDs("the newest", t.readAll(orders, start), ids[12:]...)
	t.join(orders, billing, driver.JoinConfig{From: end, Lease: long})
	t.append(orders, "20", "21")
	t.done(orders, billing, 2)
	t.append(orders, "22", "23", "24")
	t.wantBodies("the newest", t.readAll(orders, start), "20", "21", "22", "23", "24")
	if info := t.topic(orders); info.Dropped != 0 || info.Subscriptions[0].Lost != 0 {
		t.Errorf("%d are dropped and %d lost, want none: nobody needed them", info.Dropped, info.Subscriptions[0].Lost)
	}
	t.wantBodies("the subscription", t.take(orders, billing, "c", 3), "22", "23", "24")
}

func boundsRefuse(t *T) {
	t.joinStart(orders, billing, long)
	t.bounded(orders, 4, false)
	ids := t.appendN(orders, 4)
	for range 2 {
		if stored := t.full(orders, "x"); len(stored) > 0 {
			t.Fatalf("a topic that is full returned the id %s", stored[0])
		}
		t.wantIDs("the topic", t.readAll(orders, start), ids...)
		if f := t.fetch(orders, billing, driver.FetchRequest{Consumer: "c", Max: 2}); f.Lost != 0 {
			t.Errorf("Fetch says that %d were lost, want none", f.Lost)
		}
	}
	// Now all are held. Two are done, so that there is room for two.
	t.settle(orders, billing, "c", driver.Acknowledge, ids[:2]...)
	t.append(orders, "4", "5")
	t.full(orders, "x")
	t.wantBodies("the topic", t.readAll(orders, start), "2", "3", "4", "5")
	t.settle(orders, billing, "c", driver.Acknowledge, ids[2:]...)
	t.wantBodies("what comes then", t.take(orders, billing, "c", 2), "4", "5")
	if info := t.topic(orders); info.Dropped != 0 || info.Subscriptions[0].Lost != 0 {
		t.Errorf("%d are dropped and %d lost, want none", info.Dropped, info.Subscriptions[0].Lost)
	}
}

func boundsBatch(t *T) {
	t.joinStart(orders, billing, long)
	t.bounded(orders, 5, false)
	first := t.appendN(orders, 3)
	stored := t.full(orders, "3", "4", "5", "6")
	t.wantIDs("the topic", t.readAll(orders, start), append(first, stored...)...)
	t.wantBodies("the topic", t.readAll(orders, start), "0", "1", "2", "3", "4")
}

func boundsConcurrent(t *T) {
	const most, publishers, calls = 50, 6, 20
	t.joinStart(orders, billing, long)
	t.bounded(orders, most, false)
	var stored atomic.Int64
	var wg sync.WaitGroup
	for range publishers {
		wg.Go(func() {
			for range calls {
				ctx, cancel := t.ctx()
				ids, err := t.engine.Append(ctx, orders, []driver.Message{{Body: []byte("a")}, {Body: []byte("b")}})
				cancel()
				if err != nil && !errors.Is(err, driver.ErrTopicFull) || err == nil && len(ids) != 2 {
					t.Errorf("Append: %d ids, %v, want two or ErrTopicFull", len(ids), err)
				}
				stored.Add(int64(len(ids)))
			}
		})
	}
	wg.Wait()
	t.left(orders, most)
	if n := stored.Load(); n != most {
		t.Errorf("%d ids were returned, want %d", n, most)
	}
}

func boundsDrop(t *T) {
	t.joinStart(orders, billing, long)
	t.joinStart(orders, "audit", long)
	t.bounded(orders, 5, true)
	t.appendN(orders, 5)
	t.done(orders, "audit", 3)
	t.append(orders, "5", "6", "7", "8") // 0 to 3 go, of which audit still needs the last
	t.wantBodies("the topic", t.readAll(orders, start), numbers(4, 9)...)
	info := t.topic(orders)
	if info.Dropped != 4 || t.subscription(orders, billing).Lost != 4 || t.subscription(orders, "audit").Lost != 1 {
		t.Errorf("%d are dropped, want 4: %+v, want billing to have lost 4 and audit 1", info.Dropped, info.Subscriptions)
	}
	for s, want := range map[string]int64{billing: 4, "audit": 1} {
		var told int64
		var got []driver.Message
		for range 3 {
			f := t.fetch(orders, s, driver.FetchRequest{Consumer: "c", Max: 3})
			told += f.Lost
			got = append(got, f.Messages...)
		}
		t.wantBodies(s, got, numbers(4, 9)...)
		if told != want {
			t.Errorf("the fetches of %s told of %d lost messages, want %d", s, told, want)
		}
		if lost := t.subscription(orders, s).Lost; lost != want {
			t.Errorf("%s has lost %d, want %d, also when it was told", s, lost, want)
		}
	}
}

func boundsDropHeld(t *T) {
	t.joinStart(orders, billing, long)
	t.bounded(orders, 4, true)
	ids := t.appendN(orders, 4)
	t.take(orders, billing, "c", 2)
	t.append(orders, "4", "5", "6")
	t.trySettle(orders, billing, "c", each(driver.Acknowledge, ids[:2]...)...)
	f := t.fetch(orders, billing, driver.FetchRequest{Consumer: "c", Max: 10})
	t.wantBodies("what is left", f.Messages, "3", "4", "5", "6")
	if f.Lost != 3 {
		t.Errorf("Fetch says that %d were lost, want 3: two were held and one was never delivered", f.Lost)
	}
	t.settle(orders, billing, "c", driver.Acknowledge, idsOf(f.Messages)...)
	t.none(orders, billing, "c")
	if s := t.subscription(orders, billing); s.Pending != 0 || s.Lost != 3 {
		t.Errorf("%d are pending and %d lost, want 0 and 3", s.Pending, s.Lost)
	}
}

func boundsGap(t *T) {
	t.joinStart(orders, billing, long)
	t.bounded(orders, 3, true)
	ids := t.appendN(orders, 3)
	t.wantIDs("from the last message seen", t.readAll(orders, at(ids[0])), ids...)
	later := t.append(orders, "3", "4")
	got := t.readAll(orders, at(ids[0]))
	t.wantIDs("from a message that was dropped", got, ids[2], later[0], later[1])
}

func boundsBytes(t *T) {
	const bound, body = 1 << 20, 16 << 10
	large := strings.Repeat("x", body)
	t.joinStart(orders, billing, long)
	t.configure(orders, func(c *driver.TopicConfig) { c.MaxBytes = bound })
	stored := 0
	for ; stored < 10*bound/body; stored++ {
		ctx, cancel := t.ctx()
		_, err := t.engine.Append(ctx, orders, []driver.Message{{Body: []byte(large)}})
		cancel()
		if errors.Is(err, driver.ErrTopicFull) {
			break
		}
		t.must(err, "Append")
	}
	if few, many := bound/body/4, 4*bound/body; stored < few || stored > many {
		t.Fatalf("%d messages of %d bytes fit into %d bytes, want about %d", stored, body, bound, bound/body)
	}
	t.left(orders, int64(stored))
	t.configure(orders, func(c *driver.TopicConfig) { c.MaxBytes, c.DropOldest = bound, true })
	for range 2 * bound / body {
		t.append(orders, large)
	}
	info := t.topic(orders)
	if info.Length > 4*bound/body || info.Dropped == 0 || info.Dropped+info.Length != int64(stored+2*bound/body) {
		t.Errorf("%d messages are kept and %d dropped of %d, want about %d kept", info.Length, info.Dropped, stored+2*bound/body, bound/body)
	}
}

func boundsLowered(t *T) {
	t.joinStart(orders, billing, long)
	t.appendN(orders, 10)
	t.bounded(orders, 3, false)
	t.left(orders, 10) // all are needed
	t.full(orders, "x")
	t.done(orders, billing, 10)
	t.append(orders, "10")
	t.wantBodies("the topic", t.readAll(orders, start), "8", "9", "10")
}

func boundsRetry(t *T) {
	t.joinStart(orders, billing, long)
	t.bounded(orders, 3, true)
	id := t.append(orders, "a")[0]
	t.take(orders, billing, "c", 1)
	t.trySettle(orders, billing, "c", driver.Settlement{ID: id, Do: driver.Retry, After: 100 * time.Millisecond})
	t.append(orders, "b", "c", "d") // no room for a
	came, lost := "", int64(0)
	t.eventually("the three new ones have come, and the one that waited has come or is counted", func() bool {
		f := t.fetch(orders, billing, driver.FetchRequest{Consumer: "c", Max: 10})
		for _, m := range f.Messages {
			came += string(m.Body)
		}
		lost += f.Lost
		return len(came)+int(lost) >= 4
	})
	if !strings.Contains(came, "bcd") || strings.Contains(came, "a") == (lost > 0) {
		t.Errorf("%q came and %d are lost, want the new ones in order, and the other either to come or to be lost", came, lost)
	}
}

func boundsRestart(t *T) {
	t.joinStart(orders, billing, long)
	t.bounded(orders, 3, true)
	t.appendN(orders, 5)
	before := t.topic(orders)
	t.reopen()
	after := t.topic(orders)
	if after.Config != before.Config || after.Dropped != 2 || after.Subscriptions[0].Lost != 2 {
		t.Errorf("after a restart: %+v, %d dropped, %d lost, want %+v, 2 and 2", after.Config, after.Dropped, after.Subscriptions[0].Lost, before.Config)
	}
	t.append(orders, "5")
	f := t.fetch(orders, billing, driver.FetchRequest{Consumer: "c", Max: 10})
	t.wantBodies("after a restart", f.Messages, "3", "4", "5")
	if f.Lost != 3 {
		t.Errorf("Fetch says that %d were lost, want 3", f.Lost)
	}
}
