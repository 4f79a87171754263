package drivertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beckmq/beck"
)

func busQueueCases() []Case {
	return []Case{
		{Name: "each task once", Promise: "each task that is pushed is done by one worker when nothing fails, and then the queue is empty", run: busQueueOnce},
		{Name: "retry and dead", Promise: "a task whose handler fails comes again until its attempts are used up; as a dead letter it can be requeued, and is gone when it is done", run: busQueueRetry},
		{Name: "delayed", Promise: "a task that is pushed with a delay is not done before its time", run: busQueueDelayed},
		{Name: "weights", Promise: "one set of handlers works on several queues in proportion to their weights, and none starves", run: busQueueWeights},
		{Name: "no mixing", Promise: "pushing into, or working on, a topic that has subscriptions, and subscribing to a queue, is ErrWrongType", run: busQueueMixing},
		{Name: "bad input", Promise: "weights below one, no queue at all, or a place to begin are ErrOption", run: busQueueBad},
	}
}

// push pushes one task for each body.
func (t *T) push(bus *beck.Bus, queue string, bodies ...string) []string {
	t.Helper()
	tasks := make([]beck.Message, len(bodies))
	for i, b := range bodies {
		tasks[i].Body = []byte(b)
	}
	ids, err := bus.Push(withTime(t), queue, tasks...)
	t.must(err, "Push of %d tasks", len(tasks))
	return ids
}

// running runs what lasts until its context ends, and then must return nil.
func (t *T) running(what string, run func(ctx context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("%s, whose context ended: %v, want nil", what, err)
			}
		case <-time.After(t.patience):
			t.Errorf("%s has not returned within %v after its context ended", what, t.patience)
		}
	})
	t.Cleanup(stop)
	return stop
}

// empty waits until a queue has nothing left.
func (t *T) empty(bus *beck.Bus, queue string) {
	t.Helper()
	t.eventually(queue+" is empty", func() bool {
		info, err := bus.Topic(withTime(t), queue)
		t.must(err, "Topic")
		return info.Length == 0
	})
}

func busQueueOnce(t *T) {
	const tasks = 200
	bus := t.bus()
	t.push(bus, emails, numbers(0, tasks/2)...)
	var done [tasks]atomic.Int64
	var count atomic.Int64
	for range 2 {
		t.running("Work", func(ctx context.Context) error {
			return bus.Work(ctx, emails, func(_ context.Context, m *beck.Message) error {
				var i int
				if _, err := fmt.Sscan(string(m.Body), &i); err != nil || i >= tasks || m.Topic != emails || m.Attempt != 1 {
					t.Errorf("task %q of %s with attempt %d", m.Body, m.Topic, m.Attempt)
					return nil
				}
				done[i].Add(1)
				count.Add(1)
				return nil
			}, &beck.SubscribeOptions{Concurrency: 4})
		})
	}
	t.push(bus, emails, numbers(tasks/2, tasks)...)
	t.eventually("all tasks are done", func() bool { return count.Load() >= tasks })
	t.empty(bus, emails)
	for i := range done {
		if n := done[i].Load(); n != 1 {
			t.Errorf("task %d was done %d times", i, n)
		}
	}
}

func busQueueRetry(t *T) {
	bus := t.bus()
	ids := t.push(bus, emails, "a")
	var fixed atomic.Bool
	var h handled
	t.running("Work", func(ctx context.Context) error {
		return bus.Work(ctx, emails, func(_ context.Context, m *beck.Message) error {
			h.add(m)
			if fixed.Load() {
				return nil
			}
			return errors.New("no luck")
		}, &beck.SubscribeOptions{MaxAttempts: 2, Backoff: fast})
	})
	var entries []*beck.Entry
	t.eventually("the task is a dead letter", func() (dead bool) {
		var err error
		entries, _, err = bus.Peek(withTime(t), emails, beck.QueueSubscription, beck.StateDead, nil)
		if err != nil && !errors.Is(err, beck.ErrSubscriptionNotFound) {
			t.must(err, "Peek")
		}
		return len(entries) == 1
	})
	if e := entries[0]; e.Message.ID != ids[0] || e.Message.Attempt != 2 || e.Reason != "no luck" {
		t.Errorf("the dead letter is %s with attempt %d because of %q, want %s, 2, no luck", e.Message.ID, e.Message.Attempt, e.Reason, ids[0])
	}
	fixed.Store(true)
	n, err := bus.Requeue(withTime(t), emails, beck.QueueSubscription, ids...)
	t.must(err, "Requeue")
	if n != 1 {
		t.Errorf("%d were requeued, want 1", n)
	}
	t.eventually("the task is done", func() bool { return len(h.all()) == 3 })
	for i, m := range h.all() {
		if want := []int{1, 2, 1}[i]; m.Attempt != want {
			t.Errorf("it came for time %d with attempt %d, want %d", i+1, m.Attempt, want)
		}
	}
	t.empty(bus, emails)
}

func busQueueDelayed(t *T) {
	bus := t.bus()
	done := make(chan time.Time, 1)
	t.running("Work", func(ctx context.Context) error {
		return bus.Work(ctx, emails, func(context.Context, *beck.Message) error { done <- time.Now(); return nil }, nil)
	})
	began := time.Now()
	_, err := bus.Push(withTime(t), emails, beck.Message{Body: []byte("a"), Delay: soon})
	t.must(err, "Push")
	select {
	case <-done:
		t.notBefore("a delayed task was done", began, soon)
	case <-time.After(t.patience):
		t.Fatalf("a delayed task was not done")
	}
	t.empty(bus, emails)
}

func busQueueWeights(t *T) {
	const tasks = 60 // which one fetch brings, on every engine
	bus := t.bus()
	t.push(bus, "urgent", numbers(0, tasks)...)
	t.push(bus, "other", numbers(0, tasks)...)
	var h handled
	fetched := make(chan struct{})
	t.running("WorkAll", func(ctx context.Context) error {
		return bus.WorkAll(ctx, map[string]int{"urgent": 5, "other": 1}, func(ctx context.Context, m *beck.Message) error {
			select {
			case <-fetched:
			case <-ctx.Done():
			}
			time.Sleep(time.Millisecond)
			h.add(m)
			return nil
		}, &beck.SubscribeOptions{Concurrency: 2, Prefetch: tasks})
	})
	// A queue whose tasks are still on their way leaves its turn to the other.
	t.eventually("all tasks are fetched", func() bool { return bus.Stats().Delivered >= 2*tasks })
	close(fetched)
	t.eventually("all tasks are done", func() bool { return len(h.all()) >= 2*tasks })
	got := h.all()
	urgent := 0
	for _, m := range got[:tasks] {
		if m.Topic == "urgent" {
			urgent++
		}
	}
	// In proportion they are 50 of the first 60.
	if urgent < 42 || urgent > 57 {
		t.Errorf("of the first %d tasks %d are of the urgent queue, which has 5 times the weight, want about %d", tasks, urgent, tasks*5/6)
	}
	t.empty(bus, "urgent")
	t.empty(bus, "other")
}

func busQueueMixing(t *T) {
	bus := t.bus()
	ctx := withTime(t)
	t.mustJoin(bus, billing, nil)
	t.push(bus, emails, "a")
	nothing := func(context.Context, *beck.Message) error { return nil }
	_, push := bus.Push(ctx, orders, beck.Message{Body: []byte("x")})
	for what, err := range map[string]error{
		"Push to a topic with a subscription": push,
		"Work on a topic with a subscription": bus.Work(ctx, orders, nothing, nil),
		"Subscribe to a queue":                bus.Subscribe(ctx, emails, billing, nothing, nil),
	} {
		if !errors.Is(err, beck.ErrWrongType) {
			t.Errorf("%s: %v, want ErrWrongType", what, err)
		}
	}
	page, err := bus.Read(ctx, orders, beck.FromStart, 10)
	if err != nil || len(page.Messages) != 0 {
		t.Errorf("the topic: %+v, %v, want no message", page, err)
	}
}

func busQueueBad(t *T) {
	bus := t.bus()
	ctx := withTime(t)
	nothing := func(context.Context, *beck.Message) error { return nil }
	for what, weights := range map[string]map[string]int{"a weight of 0": {emails: 1, "other": 0}, "a negative weight": {emails: -1}, "no queue": {}} {
		if err := bus.WorkAll(ctx, weights, nothing, nil); !errors.Is(err, beck.ErrOption) {
			t.Errorf("WorkAll with %s: %v, want ErrOption", what, err)
		}
	}
	if err := bus.Work(ctx, emails, nothing, &beck.SubscribeOptions{From: beck.FromNew}); !errors.Is(err, beck.ErrOption) {
		t.Errorf("Work from a position: %v, want ErrOption", err)
	}
	if _, err := bus.Join(ctx, emails, billing, &beck.JoinOptions{Queue: true}); !errors.Is(err, beck.ErrOption) {
		t.Errorf("Join of a queue under another name: %v, want ErrOption", err)
	}
	if list, err := bus.Topics(ctx); err != nil || len(list) != 0 {
		t.Errorf("after that there are topics: %v, %v, want none", list, err)
	}
}
