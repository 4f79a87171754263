package drivertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

func inspectCases() []Case {
	return []Case{
		{Name: "topics", Promise: "all topics are listed, by name, with length, newest id and number of subscriptions", run: inspectTopics},
		{Name: "topic", Promise: "the information about a topic tells its length, oldest and newest id, and its subscriptions by name", run: inspectTopic},
		{Name: "missing", Promise: "information about a topic that does not exist is ErrTopicNotFound", run: inspectMissing},
		{Name: "subscription", Promise: "per subscription it tells what was delivered last, lag, pending, waiting and dead", run: inspectSubscription},
		{Name: "beginning", Promise: "before its first delivery, the last delivered id is where the subscription began", run: inspectBeginning},
		{Name: "consumers", Promise: "consumers are listed by name, with what each holds and how long it was silent", run: inspectConsumers},
		{Name: "leave", Promise: "a consumer that leaves is forgotten if it holds nothing; one that is not known is no error", run: inspectLeave},
		{Name: "ping and string", Promise: "an open engine answers a ping, and says what it is on one line", run: inspectPing},
	}
}

func inspectTopics(t *T) {
	ctx, cancel := t.ctx()
	defer cancel()
	list, err := t.engine.Topics(ctx)
	if err != nil || len(list) != 0 {
		t.Fatalf("Topics of a fresh engine: %+v, %v, want none", list, err)
	}
	want := []driver.TopicSummary{{Name: "A"}, {Name: "a", Length: 3}, {Name: "a:b", Length: 1, Subscriptions: 2}, {Name: "b", Subscriptions: 1}}
	want[1].LastID = t.append("a", "1", "2", "3")[2]
	want[2].LastID = t.append("a:b", "1")[0]
	t.joinStart("b", billing, long)
	t.joinStart("a:b", "audit", long)
	t.joinStart("a:b", billing, long)
	want[0].LastID = t.append("A", "1")[0]
	t.trim("A", end)
	// A message on its way in every way must not show up as a topic.
	id := t.take("a:b", billing, "c", 1)[0].ID
	t.settle("a:b", billing, "c", driver.DeadLetter, id)
	t.take("a:b", "audit", "c", 1)
	t.trySettle("a:b", "audit", "c", driver.Settlement{ID: id, Do: driver.Retry, After: time.Hour})
	if list, err = t.engine.Topics(ctx); err != nil || !slices.Equal(list, want) {
		t.Errorf("Topics: %+v, %v\nwant %+v", list, err, want)
	}
}

func inspectTopic(t *T) {
	ids := t.appendN(orders, 10)
	t.joinStart(orders, "b", long)
	t.join(orders, "a", driver.JoinConfig{From: end})
	info := t.topic(orders)
	if info.Name != orders || info.Length != 10 || info.FirstID != ids[0] || info.LastID != ids[9] {
		t.Errorf("%+v, want the name %s, 10 messages from %s to %s", info, orders, ids[0], ids[9])
	}
	if len(info.Subscriptions) != 2 || info.Subscriptions[0].Name != "a" || info.Subscriptions[1].Name != "b" {
		t.Errorf("subscriptions %+v, want a and b", info.Subscriptions)
	}
	ctx, cancel := t.ctx()
	defer cancel()
	if err := t.engine.DeleteSubscription(ctx, orders, "b"); err != nil {
		t.Fatalf("DeleteSubscription: %v", err)
	}
	t.trim(orders, at(ids[4]))
	if info = t.topic(orders); info.Length != 6 || info.FirstID != ids[4] || info.LastID != ids[9] || len(info.Subscriptions) != 1 {
		t.Errorf("after 4 were trimmed: %+v, want 6 messages from %s to %s, one subscription", info, ids[4], ids[9])
	}
	t.trim(orders, end)
	if info = t.topic(orders); info.Length != 0 || info.FirstID != "" || info.LastID != ids[9] {
		t.Errorf("after all were trimmed: %+v, want none, and the newest id %s", info, ids[9])
	}
}

func inspectMissing(t *T) {
	ctx, cancel := t.ctx()
	defer cancel()
	if _, err := t.engine.Topic(ctx, "missing"); !errors.Is(err, driver.ErrTopicNotFound) {
		t.Errorf("Topic: %v, want ErrTopicNotFound", err)
	}
}

func inspectSubscription(t *T) {
	t.joinStart(orders, billing, long)
	ids := t.appendN(orders, 10)
	check := func(what, last string, lag, pending, waiting, dead int64) {
		t.Helper()
		s := t.subscription(orders, billing)
		if s.LastDelivered != last || (s.Lag != lag && s.Lag != -1) || s.Pending != pending || s.Waiting != waiting || s.Dead != dead || s.Lost != 0 {
			t.Errorf("%s: last %q, lag %d, pending %d, waiting %d, dead %d, lost %d; want %q, %d, %d, %d, %d, 0",
				what, s.LastDelivered, s.Lag, s.Pending, s.Waiting, s.Dead, s.Lost, last, lag, pending, waiting, dead)
		}
	}
	check("before the first fetch", "", 10, 0, 0, 0)
	t.take(orders, billing, "c", 6)
	check("after 6 of 10 were fetched", ids[5], 4, 6, 0, 0)
	t.settle(orders, billing, "c", driver.Acknowledge, ids[0], ids[1])
	check("after 2 were acknowledged", ids[5], 4, 4, 0, 0)
	t.settle(orders, billing, "c", driver.DeadLetter, ids[2])
	check("after a dead letter", ids[5], 4, 3, 0, 1)
	t.trySettle(orders, billing, "c", driver.Settlement{ID: ids[3], Do: driver.Retry, After: time.Hour})
	check("after a retry in an hour", ids[5], 4, 2, 1, 1)
	t.trim(orders, end)
	check("after a trim, which takes nothing it needs", ids[5], 4, 2, 1, 1)
	t.take(orders, billing, "d", 4)
	check("after the rest was fetched", ids[9], 0, 6, 1, 1)
}

func inspectBeginning(t *T) {
	ids := t.append(orders, "a", "b", "c")
	for s, c := range map[string]struct {
		from driver.Position
		last string
		lag  int64
	}{
		"start": {start, "", 3}, "end": {end, ids[2], 0}, "id": {at(ids[0]), ids[0], 2},
	} {
		t.join(orders, s, driver.JoinConfig{From: c.from})
		got := t.subscription(orders, s)
		if got.LastDelivered != c.last || got.Lag != c.lag && got.Lag != -1 {
			t.Errorf("a subscription from %s: last delivered %q, lag %d, want %q, %d", s, got.LastDelivered, got.Lag, c.last, c.lag)
		}
	}
}

func inspectConsumers(t *T) {
	t.joinStart(orders, billing, long)
	t.appendN(orders, 6)
	before := time.Now()
	t.take(orders, billing, "b", 2)
	t.take(orders, billing, "a", 3)
	time.Sleep(50 * time.Millisecond)
	got := t.subscription(orders, billing).Consumers
	silent := time.Since(before)
	want := []driver.ConsumerInfo{{Name: "a", Pending: 3}, {Name: "b", Pending: 2}}
	if len(got) != len(want) {
		t.Fatalf("consumers %+v, want a and b", got)
	}
	for i, c := range got {
		if c.Name != want[i].Name || c.Pending != want[i].Pending {
			t.Errorf("consumer %+v, want %s holding %d", c, want[i].Name, want[i].Pending)
		}
		if c.Idle < 50*time.Millisecond-slack || c.Idle > silent+slack {
			t.Errorf("consumer %s was silent for %v, want between 50ms and %v", c.Name, c.Idle, silent)
		}
	}
}

func inspectLeave(t *T) {
	t.joinStart(orders, billing, long)
	ids := t.appendN(orders, 3)
	t.take(orders, billing, "a", 1)
	t.take(orders, billing, "b", 2)
	t.settle(orders, billing, "a", driver.Acknowledge, ids[0])
	ctx, cancel := t.ctx()
	defer cancel()
	for _, c := range [][3]string{{orders, billing, "a"}, {orders, billing, "b"}, {orders, billing, "unknown"}, {orders, "missing", "a"}, {"missing", billing, "a"}} {
		if err := t.engine.Leave(ctx, c[0], c[1], c[2]); err != nil {
			t.Errorf("Leave of %s from %s of %s: %v", c[2], c[1], c[0], err)
		}
	}
	got := t.subscription(orders, billing)
	if len(got.Consumers) != 1 || got.Consumers[0].Name != "b" || got.Pending != 2 {
		t.Errorf("after both left: consumers %+v, %d pending, want b, which holds 2", got.Consumers, got.Pending)
	}
	t.settle(orders, billing, "b", driver.Acknowledge, ids[1:]...)
}

func inspectPing(t *T) {
	ctx, cancel := context.WithTimeout(context.Background(), t.patience)
	defer cancel()
	if err := t.engine.Ping(ctx); err != nil {
		t.Errorf("Ping: %v", err)
	}
	if s := fmt.Sprint(t.engine); s == "" || strings.Contains(s, "\n") {
		t.Errorf("String: %q, want one line", s)
	}
}
