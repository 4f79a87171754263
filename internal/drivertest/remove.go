package drivertest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

func removeCases() []Case {
	return []Case{
		{Name: "trim", Promise: "Trim removes the messages before a position, from the front, and says how many", run: trimPositions},
		{Name: "trim spares", Promise: "Trim never takes a message that a subscription has yet to be delivered or to settle", run: trimSpares},
		{Name: "trim and retries", Promise: "a message that waits for its retry is delivered although its topic was trimmed", run: trimRetries},
		{Name: "trim malformed", Promise: "Trim before a malformed id is refused as a position and removes nothing", run: trimMalformed},
		{Name: "delete topic", Promise: "a deleted topic is gone with its messages and subscriptions; deleting it again is ErrTopicNotFound", run: deleteTopic},
		{Name: "delete subscription", Promise: "a deleted subscription is gone with what it held, and running consumers get ErrSubscriptionNotFound; others are untouched", run: deleteSubscription},
		{Name: "recreate topic", Promise: "a topic made again under an old name has nothing of the old one, its ids go on growing, and a reader at an old id sees that something is missing", run: recreateTopic},
		{Name: "recreate subscription", Promise: "a subscription made again under an old name begins anew: no leases, retries, dead letters or attempts of the old one", run: recreateSubscription},
		{Name: "foreign removal", needs: needRemove, Promise: "a message removed by someone else while a consumer held it is counted as lost, and the others are delivered", run: foreignRemoval},
	}
}

func trimPositions(t *T) {
	ids := t.appendN(orders, 10)
	timeOf := func(i int) time.Time { return t.read(orders, at(ids[i]), 1).Messages[0].Time }
	check := func(before driver.Position, removed int64, first int) {
		t.Helper()
		if got := t.trim(orders, before); got != removed {
			t.Errorf("Trim before %s says that it removed %d messages, want %d", show(before), got, removed)
		}
		t.wantBodies("after Trim before "+show(before), t.readAll(orders, start), numbers(first, 10)...)
	}
	check(start, 0, 0)
	check(at(ids[0]), 0, 0)
	check(at(ids[3]), 3, 3)
	check(at(ids[3]), 0, 3)
	check(at(ids[1]), 0, 3) // it is gone already
	check(at(ids[5]), 2, 5)
	check(driver.Position{Kind: driver.AtTime, Time: timeOf(5).Add(-time.Hour)}, 0, 5)
	check(driver.Position{Kind: driver.AtTime, Time: timeOf(9).Add(time.Millisecond)}, 5, 10)
	t.append(orders, "10")
	check2 := t.readAll(orders, start)
	t.wantBodies("a message after all were trimmed", check2, "10")
	if got := t.trim(orders, end); got != 1 {
		t.Errorf("Trim before the end removed %d messages, want 1", got)
	}
	ctx, cancel := t.ctx()
	defer cancel()
	if n, err := t.engine.Trim(ctx, "missing", end); n != 0 || err != nil && !errors.Is(err, driver.ErrTopicNotFound) {
		t.Errorf("Trim of a topic that does not exist: %d, %v, want 0, and no error or ErrTopicNotFound", n, err)
	}
}

func trimSpares(t *T) {
	t.joinStart(orders, billing, long)
	t.joinStart(orders, "audit", long)
	ids := t.appendN(orders, 10)
	trim := func(what string, removed int64, first int) {
		t.Helper()
		if got := t.trim(orders, end); got != removed {
			t.Errorf("%s: Trim removed %d messages, want %d", what, got, removed)
		}
		t.wantBodies(what, t.readAll(orders, start), numbers(first, 10)...)
	}
	trim("two subscriptions have yet to be delivered everything", 0, 0)
	t.take(orders, billing, "c", 10)
	t.settle(orders, billing, "c", driver.Acknowledge, ids...)
	trim("one subscription is done, the other has not begun", 0, 0)
	t.take(orders, "audit", "c", 6)
	trim("the other holds six", 0, 0)
	t.settle(orders, "audit", "c", driver.Acknowledge, slices.Concat(ids[0:2], ids[3:6])...)
	trim("the other holds the third only", 2, 2)
	t.settle(orders, "audit", "c", driver.DeadLetter, ids[2])
	trim("the other has yet to be delivered four", 4, 6)
	t.wantBodies("the other", t.take(orders, "audit", "c", 4), numbers(6, 10)...)
	t.settle(orders, "audit", "c", driver.Acknowledge, ids[6:]...)
	trim("both are done", 4, 10)
}

func trimRetries(t *T) {
	t.joinStart(orders, billing, long)
	id := t.appendMessages(orders, driver.Message{Key: "k", Headers: map[string]string{"h": "v"}, Body: []byte("a")}, driver.Message{Body: []byte("b")})
	t.take(orders, billing, "c", 2)
	t.settle(orders, billing, "c", driver.Acknowledge, id[1])
	t.trySettle(orders, billing, "c", driver.Settlement{ID: id[0], Do: driver.Retry, After: short})
	t.trim(orders, end)
	m := t.take(orders, billing, "c", 1)[0]
	if m.ID != id[0] || m.Attempt != 2 {
		t.Errorf("message %s with attempt %d, want %s with 2", m.ID, m.Attempt, id[0])
	}
	t.wantContent("the retried message", m, driver.Message{Key: "k", Headers: map[string]string{"h": "v"}, Body: []byte("a")})
}

func trimMalformed(t *T) {
	t.append(orders, "a", "b")
	for _, id := range []string{"x", "nonsense id", "1-2-3", "ü"} {
		ctx, cancel := t.ctx()
		n, err := t.engine.Trim(ctx, orders, at(id))
		cancel()
		if n != 0 || !errors.Is(err, driver.ErrPosition) {
			t.Errorf("Trim before the id %q: %d, %v, want 0 and ErrPosition", id, n, err)
		}
	}
	t.wantBodies("after that", t.readAll(orders, start), "a", "b")
}

// do makes a call that must not fail.
func (t *T) do(what string, call func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := t.ctx()
	defer cancel()
	t.must(call(ctx), "%s", what)
}

func (t *T) deleteTopic(topic string) {
	t.Helper()
	t.do("DeleteTopic "+topic, func(ctx context.Context) error { return t.engine.DeleteTopic(ctx, topic) })
}

func (t *T) deleteSubscription(topic, subscription string) {
	t.Helper()
	t.do("DeleteSubscription "+subscription, func(ctx context.Context) error {
		return t.engine.DeleteSubscription(ctx, topic, subscription)
	})
}

func deleteTopic(t *T) {
	t.joinStart(orders, billing, long)
	ids := t.append(orders, "a", "b", "c")
	t.append("orders2", "other")
	t.take(orders, billing, "c", 2)
	t.settle(orders, billing, "c", driver.DeadLetter, ids[0])
	t.deleteTopic(orders)

	ctx, cancel := t.ctx()
	defer cancel()
	if err := t.engine.DeleteTopic(ctx, orders); !errors.Is(err, driver.ErrTopicNotFound) {
		t.Errorf("DeleteTopic again: %v, want ErrTopicNotFound", err)
	}
	if _, err := t.engine.Topic(ctx, orders); !errors.Is(err, driver.ErrTopicNotFound) {
		t.Errorf("Topic: %v, want ErrTopicNotFound", err)
	}
	if _, err := t.engine.Fetch(ctx, orders, billing, driver.FetchRequest{Consumer: "c", Max: 1}); !errors.Is(err, driver.ErrSubscriptionNotFound) {
		t.Errorf("Fetch by a running consumer: %v, want ErrSubscriptionNotFound", err)
	}
	if got := t.readAll(orders, start); len(got) != 0 {
		t.Errorf("%d messages can still be read", len(got))
	}
	if list, err := t.engine.Topics(ctx); err != nil || len(list) != 1 || list[0].Name != "orders2" {
		t.Errorf("Topics: %+v, %v, want the other topic only", list, err)
	}
	t.wantBodies("the other topic", t.readAll("orders2", start), "other")
}

func deleteSubscription(t *T) {
	t.joinStart(orders, billing, long)
	t.joinStart(orders, "billing2", long)
	ids := t.append(orders, "a", "b", "c")
	t.take(orders, billing, "c", 2)
	t.take(orders, "billing2", "c", 2)
	t.deleteSubscription(orders, billing)

	ctx, cancel := t.ctx()
	defer cancel()
	for _, topic := range []string{orders, "missing"} {
		err := t.engine.DeleteSubscription(ctx, topic, billing)
		if !errors.Is(err, driver.ErrSubscriptionNotFound) && (topic == orders || !errors.Is(err, driver.ErrTopicNotFound)) {
			t.Errorf("DeleteSubscription of a missing one of %s: %v, want ErrSubscriptionNotFound", topic, err)
		}
	}
	if _, err := t.engine.Fetch(ctx, orders, billing, driver.FetchRequest{Consumer: "c", Max: 1}); !errors.Is(err, driver.ErrSubscriptionNotFound) {
		t.Errorf("Fetch by a running consumer: %v, want ErrSubscriptionNotFound", err)
	}
	if info := t.topic(orders); len(info.Subscriptions) != 1 || info.Subscriptions[0].Pending != 2 {
		t.Errorf("subscriptions %+v, want the other one, with 2 pending", info.Subscriptions)
	}
	t.settle(orders, "billing2", "c", driver.Acknowledge, ids[:2]...)
	t.wantBodies("the topic", t.readAll(orders, start), "a", "b", "c")
}

func recreateTopic(t *T) {
	t.joinStart(orders, billing, long)
	old := t.append(orders, "old a", "old b", "old c")
	t.take(orders, billing, "c", 2)
	t.deleteTopic(orders)

	ids := t.append(orders, "new a", "new b")
	if ids[0] <= old[2] {
		t.Errorf("the first id of the new topic, %s, does not sort behind the last one of the old topic, %s", ids[0], old[2])
	}
	t.wantBodies("the new topic", t.readAll(orders, start), "new a", "new b")
	for _, id := range old {
		page := t.read(orders, at(id), 10)
		t.wantBodies("from the old id "+id, page.Messages, "new a", "new b")
	}
	info := t.topic(orders)
	if len(info.Subscriptions) != 0 || info.Length != 2 || info.FirstID != ids[0] {
		t.Errorf("the new topic is %+v, want two messages and no subscription", info)
	}
	if t.join(orders, billing, driver.JoinConfig{Lease: long}) {
		t.Errorf("Join of the new topic says that the subscription existed")
	}
	t.wantBodies("a subscription of the new topic", t.take(orders, billing, "c", 2), "new a", "new b")
	t.none(orders, billing, "c")
}

func recreateSubscription(t *T) {
	t.joinStart(orders, billing, long)
	ids := t.append(orders, "a", "b", "c", "d")
	t.take(orders, billing, "old", 4)
	t.settle(orders, billing, "old", driver.DeadLetter, ids[0])
	t.settle(orders, billing, "old", driver.Retry, ids[1])
	t.trySettle(orders, billing, "old", driver.Settlement{ID: ids[2], Do: driver.Retry, After: time.Hour})
	t.deleteSubscription(orders, billing)

	if t.join(orders, billing, driver.JoinConfig{}) {
		t.Errorf("Join after the subscription was deleted says that it existed")
	}
	s := t.subscription(orders, billing)
	if s.Pending != 0 || s.Waiting != 0 || s.Dead != 0 || s.LastDelivered != "" || len(s.Consumers) != 0 || s.Lease != driver.DefaultLease {
		t.Errorf("the new subscription is %+v, want it without anything of the old one", s)
	}
	if notHeld := t.trySettle(orders, billing, "old", each(driver.Acknowledge, ids[3])...); len(notHeld) != 1 {
		t.Errorf("an acknowledgement for the old subscription is accepted by the new one")
	}
	got := t.take(orders, billing, "new", 4)
	t.wantIDs("the new subscription", got, ids...)
	for _, m := range got {
		if m.Attempt != 1 {
			t.Errorf("message %s has attempt %d in the new subscription, want 1", m.ID, m.Attempt)
		}
	}
	t.none(orders, billing, "new")
}

func foreignRemoval(t *T) {
	t.joinStart(orders, billing, short)
	ids := t.append(orders, "held and removed", "held", "removed before delivery", "kept")
	t.abandon(orders, billing, "crashed", 2)
	t.join(orders, billing, driver.JoinConfig{Lease: long})
	t.h.Remove(t.TB, t.engine, orders, ids[0], ids[2])
	var got []string
	t.eventually("the messages that are still there are delivered", func() bool {
		f := t.fetch(orders, billing, driver.FetchRequest{Consumer: "c", Max: 10})
		for _, m := range f.Messages {
			got = append(got, string(m.Body))
		}
		return slices.Contains(got, "held") && slices.Contains(got, "kept")
	})
	if len(got) != 2 {
		t.Errorf("delivered: %q, want the two that are still there, once", got)
	}
	t.eventually("the message removed while it was held is counted as lost", func() bool {
		t.fetch(orders, billing, driver.FetchRequest{Consumer: "c", Max: 10})
		return t.subscription(orders, billing).Lost == 1
	})
	if s := t.subscription(orders, billing); s.Pending != 2 {
		t.Errorf("%d are pending, want the two that were delivered", s.Pending)
	}
	page := t.read(orders, at(ids[0]), 10)
	t.wantBodies("read from the id of the removed message", page.Messages, "held", "kept")
}
