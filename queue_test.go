package beck_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beckmq/beck"
)

func push(t *testing.T, bus *beck.Bus, queue string, n int) []string {
	t.Helper()
	tasks := make([]beck.Message, n)
	for i := range tasks {
		tasks[i].Body = fmt.Append(nil, i)
	}
	ids, err := bus.Push(t.Context(), queue, tasks...)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func length(t *testing.T, bus *beck.Bus, topic string) int64 {
	t.Helper()
	info, err := bus.Topic(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	return info.Length
}

func TestEachTaskIsDoneOnceAndGone(t *testing.T) {
	bus, _ := open(t)
	const n = 500
	push(t, bus, "queue", n)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var done sync.Map
	var count atomic.Int64
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			err := bus.Work(ctx, "queue", func(_ context.Context, m *beck.Message) error {
				if _, twice := done.LoadOrStore(string(m.Body), true); twice {
					t.Errorf("task %s came twice", m.Body)
				}
				if count.Add(1) == n {
					cancel()
				}
				return nil
			}, &beck.SubscribeOptions{Concurrency: 4})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := count.Load(); got != n || length(t, bus, "queue") != 0 {
		t.Errorf("%d of %d tasks done, %d left", got, n, length(t, bus, "queue"))
	}
}

func TestQueuesAndTopicsAreNotMixed(t *testing.T) {
	bus, _ := open(t)
	push(t, bus, "queue", 1)
	nothing := func(context.Context, *beck.Message) error { return nil }
	if err := bus.Subscribe(t.Context(), "queue", "other", nothing, nil); !errors.Is(err, beck.ErrWrongType) {
		t.Errorf("subscribing to a queue: %v", err)
	}
	if _, err := bus.Join(t.Context(), "topic", "s", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := bus.Push(t.Context(), "topic", beck.Message{Body: []byte("task")}); !errors.Is(err, beck.ErrWrongType) {
		t.Errorf("pushing to a topic with subscriptions: %v", err)
	}
	if err := bus.Work(t.Context(), "topic", nothing, nil); !errors.Is(err, beck.ErrWrongType) {
		t.Errorf("working on a topic with subscriptions: %v", err)
	}
	if n := length(t, bus, "topic"); n != 0 {
		t.Errorf("%d tasks are in the topic", n)
	}
}

func TestWeightsThatMakeNoSense(t *testing.T) {
	bus, _ := open(t)
	nothing := func(context.Context, *beck.Message) error { return nil }
	for _, weights := range []map[string]int{nil, {"q": 0}, {"q": 1, "p": -1}, {"q": 1001}} {
		if err := bus.WorkAll(t.Context(), weights, nothing, nil); !errors.Is(err, beck.ErrOption) {
			t.Errorf("%v: %v", weights, err)
		}
	}
	if err := bus.WorkAll(t.Context(), map[string]int{"bad name": 1}, nothing, nil); !errors.Is(err, beck.ErrName) {
		t.Errorf("a bad name: %v", err)
	}
	if err := bus.Work(t.Context(), "q", nothing, &beck.SubscribeOptions{From: beck.FromNew}); !errors.Is(err, beck.ErrOption) {
		t.Errorf("From of a queue: %v", err)
	}
}

// With weights of 3 and 1, three of four tasks are of the urgent queue while both
// have any, and the others are done all the same.
func TestSeveralQueuesByWeight(t *testing.T) {
	bus, _ := open(t)
	push(t, bus, "urgent", 300)
	push(t, bus, "usual", 300)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var mu sync.Mutex
	var order []string
	running, most := 0, 0
	err := bus.WorkAll(ctx, map[string]int{"urgent": 3, "usual": 1}, func(_ context.Context, m *beck.Message) error {
		mu.Lock()
		running++
		most = max(most, running)
		order = append(order, m.Topic)
		if len(order) == 600 {
			cancel()
		}
		mu.Unlock()
		time.Sleep(2 * time.Millisecond) // more than it takes to fetch the next ones
		mu.Lock()
		running--
		mu.Unlock()
		return nil
	}, &beck.SubscribeOptions{Concurrency: 4})
	if err != nil || len(order) != 600 {
		t.Fatalf("%d of 600 done: %v", len(order), err)
	}
	if most > 4 {
		t.Errorf("%d handlers ran at a time, not 4", most)
	}
	usual := 0
	for _, name := range order[20:320] { // both have tasks all that time
		if name == "usual" {
			usual++
		}
	}
	if usual < 50 || usual > 100 {
		t.Errorf("of 300 tasks, %d were of the queue with weight 1 of 4", usual)
	}
}

// A worker that is stopped while others have their turn gives back what it holds.
func TestWorkAllStops(t *testing.T) {
	bus, _ := open(t)
	push(t, bus, "a", 50)
	push(t, bus, "b", 50)
	ctx, cancel := context.WithCancel(t.Context())
	err := bus.WorkAll(ctx, map[string]int{"a": 1, "b": 1}, func(context.Context, *beck.Message) error {
		cancel()
		return nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, queue := range []string{"a", "b"} {
		info, err := bus.Topic(t.Context(), queue)
		if err != nil {
			t.Fatal(err)
		}
		if s := info.Subscriptions[0]; s.Pending != 0 {
			t.Errorf("%d tasks of %s are still held", s.Pending, queue)
		}
	}
	if left := length(t, bus, "a") + length(t, bus, "b"); left < 98 || left > 99 {
		t.Errorf("%d tasks are left of 100", left)
	}
}

func TestWorkEndsWhenItsQueueIsDeleted(t *testing.T) {
	bus, _ := open(t)
	push(t, bus, "a", 1)
	push(t, bus, "b", 1)
	ended := make(chan error, 1)
	began := make(chan struct{}, 2)
	go func() {
		ended <- bus.WorkAll(t.Context(), map[string]int{"a": 1, "b": 1}, func(context.Context, *beck.Message) error {
			began <- struct{}{}
			return nil
		}, &beck.SubscribeOptions{Concurrency: 2})
	}()
	<-began
	<-began
	if err := bus.DeleteTopic(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, beck.ErrSubscriptionNotFound) {
			t.Errorf("working ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("working goes on on a queue that was deleted")
	}
}
