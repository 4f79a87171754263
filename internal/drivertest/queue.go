package drivertest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/beckmq/beck/internal/driver"
)

func queueCases() []Case {
	return []Case{
		{Name: "each task once", Promise: "the tasks of a queue are shared by its workers, each given to one of them", run: queueOnce},
		{Name: "gone when acknowledged", Promise: "an acknowledged task is removed from the queue, wherever it stands, and its length tells what is left", run: queueGone},
		{Name: "told", Promise: "a queue is told from a topic, also before its first task; without its subscription it is a topic again", run: queueTold},
		{Name: "one subscription", Promise: "to join a queue under another name, or to make a queue of a topic with other subscriptions, is ErrWrongType and changes nothing", run: queueAlone},
		{Name: "late acknowledge", Promise: "a task acknowledged by a worker that has lost it is removed, too", run: queueLate},
		{Name: "retry", Promise: "a task that is retried or released comes again, and is removed once it is acknowledged", run: queueRetry},
		{Name: "dead letters", Promise: "a task that is given up is a dead letter; requeued it is a task again, and dropped it leaves nothing behind", run: queueDead},
		{Name: "restart", needs: needReopen, Promise: "tasks survive a restart, those done do not come back, and the queue stays one", run: queueRestart},
	}
}

// emails is a queue, and workers its subscription.
const (
	emails  = "emails"
	workers = driver.QueueSubscription
)

// left checks how many messages a topic has.
func (t *T) left(topic string, want int64) {
	t.Helper()
	if n := t.topic(topic).Length; n != want {
		t.Errorf("%s has %d messages, want %d", topic, n, want)
	}
	if got := t.readAll(topic, start); int64(len(got)) != want {
		t.Errorf("%d messages of %s can be read, want %d", len(got), topic, want)
	}
}

func queueOnce(t *T) {
	const tasks, crew = 300, 5
	t.joinQueue(emails, long)
	t.append(emails, numbers(0, tasks)...)
	var mu sync.Mutex
	done := map[string]int{}
	var wg sync.WaitGroup
	for w := range crew {
		wg.Go(func() {
			consumer := fmt.Sprint("w", w)
			for {
				ctx, cancel := t.ctx()
				f, err := t.engine.Fetch(ctx, emails, workers, driver.FetchRequest{Consumer: consumer, Max: 7})
				if err == nil && len(f.Messages) > 0 {
					_, err = t.engine.Settle(ctx, emails, workers, consumer, each(driver.Acknowledge, idsOf(f.Messages)...))
				}
				cancel()
				if err != nil {
					t.Errorf("%s: %v", consumer, err)
					return
				}
				mu.Lock()
				for _, m := range f.Messages {
					done[string(m.Body)]++
				}
				mu.Unlock()
				if len(f.Messages) == 0 && !f.More {
					return
				}
			}
		})
	}
	wg.Wait()
	for _, body := range numbers(0, tasks) {
		if done[body] != 1 {
			t.Fatalf("task %s was done %d times, want once", body, done[body])
		}
	}
	t.left(emails, 0)
}

func queueGone(t *T) {
	t.joinQueue(emails, long)
	ids := t.append(emails, "a", "b", "c", "d")
	t.take(emails, workers, "w", 3)
	t.settle(emails, workers, "w", driver.Acknowledge, ids[1])
	t.wantBodies("after the second was done", t.readAll(emails, start), "a", "c", "d")
	t.settle(emails, workers, "w", driver.Acknowledge, ids[0], ids[2])
	t.left(emails, 1)
	t.take(emails, workers, "w", 1)
	t.settle(emails, workers, "w", driver.Acknowledge, ids[3])
	t.left(emails, 0)
	if info := t.topic(emails); info.LastID != ids[3] {
		t.Errorf("the newest id of the empty queue is %q, want %s", info.LastID, ids[3])
	}
	if id := t.append(emails, "e")[0]; id <= ids[3] {
		t.Errorf("the emptied queue gave the id %s, which does not sort behind %s", id, ids[3])
	}
}

func queueTold(t *T) {
	t.joinQueue(emails, long)
	t.joinStart(orders, billing, long)
	queues := func() (names []string) {
		ctx, cancel := t.ctx()
		defer cancel()
		list, err := t.engine.Topics(ctx)
		t.must(err, "Topics")
		for _, s := range list {
			if s.Queue != t.topic(s.Name).Queue {
				t.Errorf("Topics and Topic differ about whether %s is a queue", s.Name)
			}
			if s.Queue {
				names = append(names, s.Name)
			}
		}
		return names
	}
	if got := queues(); !slices.Equal(got, []string{emails}) {
		t.Fatalf("queues are %v, want %s alone", got, emails)
	}
	t.append(emails, "a")
	if existed := t.join(emails, workers, driver.JoinConfig{}); !existed || !t.topic(emails).Queue {
		t.Errorf("joined once more, the queue is none any more")
	}
	t.deleteSubscription(emails, workers)
	if got := queues(); len(got) != 0 {
		t.Errorf("queues are %v after the subscription was deleted, want none", got)
	}
	t.joinStart(emails, billing, long)
	t.wantBodies("the topic that was a queue", t.take(emails, billing, "c", 1), "a")
}

func queueAlone(t *T) {
	t.joinQueue(emails, long)
	t.append(emails, "a")
	t.joinStart(orders, billing, long)
	t.append(orders, "b")
	join := func(topic, s string, queue bool) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := t.engine.Join(ctx, topic, s, driver.JoinConfig{Queue: queue})
			return err
		}
	}
	t.wantErr("Join of a queue under another name", join(emails, billing, false), driver.ErrWrongType)
	t.wantErr("Join of a topic with a subscription as a queue", join(orders, workers, true), driver.ErrWrongType)
	if info := t.topic(orders); info.Queue || len(info.Subscriptions) != 1 {
		t.Errorf("the topic is a queue (%v), or has %d subscriptions, want none and 1", info.Queue, len(info.Subscriptions))
	}
	if info := t.topic(emails); !info.Queue || len(info.Subscriptions) != 1 {
		t.Errorf("the queue is none (%v), or has %d subscriptions, want 1", info.Queue, len(info.Subscriptions))
	}
	t.wantBodies("the queue", t.take(emails, workers, "w", 1), "a")
	ids := idsOf(t.take(orders, billing, "c", 1))
	t.settle(orders, billing, "c", driver.Acknowledge, ids...)
	t.left(orders, 1)
}

func queueLate(t *T) {
	t.joinQueue(emails, short)
	ids := t.append(emails, "a", "b")
	t.abandon(emails, workers, "slow", 2)
	t.join(emails, workers, driver.JoinConfig{Lease: long})
	t.take(emails, workers, "owner", 2)
	t.settle(emails, workers, "slow", driver.Acknowledge, ids[0])
	t.left(emails, 1)
	t.settle(emails, workers, "owner", driver.Acknowledge, ids[1])
	t.left(emails, 0)
}

func queueRetry(t *T) {
	t.joinQueue(emails, long)
	ids := t.append(emails, "a", "b")
	t.take(emails, workers, "w", 2)
	t.settle(emails, workers, "w", driver.Retry, ids[0])
	t.settle(emails, workers, "w", driver.Release, ids[1])
	for _, m := range t.take(emails, workers, "v", 2) {
		if want := map[string]int{ids[0]: 2, ids[1]: 1}[m.ID]; m.Attempt != want {
			t.Errorf("%q came with attempt %d, want %d", m.Body, m.Attempt, want)
		}
	}
	t.settle(emails, workers, "v", driver.Acknowledge, ids...)
	t.none(emails, workers, "v")
	t.left(emails, 0)
}

func queueDead(t *T) {
	t.joinQueue(emails, long)
	t.append(emails, "a", "b")
	ids := t.bury(emails, workers, 2, "no luck")
	t.none(emails, workers, "w")
	t.wantIDs("dead letters", messagesOf(t.peek(emails, workers, driver.Buried)), ids...)
	if missing := t.requeue(emails, workers, ids[0]); len(missing) > 0 {
		t.Fatalf("Requeue: %v are missing", missing)
	}
	again := t.take(emails, workers, "w", 1)[0]
	if again.ID != ids[0] || again.Attempt != 1 || string(again.Body) != "a" {
		t.Errorf("%s (%q) came with attempt %d, want %s (a) with 1", again.ID, again.Body, again.Attempt, ids[0])
	}
	t.settle(emails, workers, "w", driver.Acknowledge, ids[0])
	if missing := t.drop(emails, workers, ids[1]); len(missing) > 0 {
		t.Fatalf("Drop: %v are missing", missing)
	}
	t.none(emails, workers, "w")
	t.left(emails, 0)
}

func queueRestart(t *T) {
	t.joinQueue(emails, short)
	t.append(emails, numbers(0, 6)...)
	held := t.take(emails, workers, "w", 3)
	t.trySettle(emails, workers, "w", each(driver.Acknowledge, held[0].ID)...)
	t.reopen()
	if !t.topic(emails).Queue {
		t.Fatalf("after a restart the queue is a topic")
	}
	t.left(emails, 5)
	got := t.take(emails, workers, "v", 5)
	slices.SortFunc(got, func(a, b driver.Message) int { return slices.Compare(a.Body, b.Body) })
	t.wantBodies("after a restart", got, "1", "2", "3", "4", "5")
	t.settle(emails, workers, "v", driver.Acknowledge, idsOf(got)...)
	t.left(emails, 0)
}
