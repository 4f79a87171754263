package beck_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/beckmq/beck"
)

// batches runs a batch handler on a topic until it returns done.
func batches(t *testing.T, bus *beck.Bus, topic string, o *beck.BatchOptions, handle func(messages []*beck.Message) (done bool, err error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := bus.SubscribeBatch(ctx, topic, "s", func(_ context.Context, messages []*beck.Message) error {
		done, err := handle(messages)
		if done {
			cancel()
		}
		return err
	}, o)
	if err != nil {
		t.Fatal(err)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Fatal("not done in time")
	}
}

func TestBatchesAreFullAndInOrder(t *testing.T) {
	bus, _ := open(t)
	publish(t, bus, "topic", 0, 1000)
	next := 0
	batches(t, bus, "topic", &beck.BatchOptions{Max: 100, Wait: 5 * time.Second}, func(messages []*beck.Message) (bool, error) {
		if len(messages) != 100 {
			t.Errorf("a batch has %d messages, not 100", len(messages))
		}
		for _, m := range messages {
			if string(m.Body) != strconv.Itoa(next) {
				t.Errorf("message %d is %s", next, m.Body)
			}
			next++
		}
		return next >= 1000, nil
	})
}

func TestBatchDoesNotWaitForEver(t *testing.T) {
	bus, _ := open(t)
	publish(t, bus, "topic", 0, 3)
	batches(t, bus, "topic", &beck.BatchOptions{Max: 100, Wait: 20 * time.Millisecond}, func(messages []*beck.Message) (bool, error) {
		if len(messages) != 3 {
			t.Errorf("the batch has %d messages, not the 3 there are", len(messages))
		}
		return true, nil
	})
}

func TestBatchTakesInWhatComesWhileItWaits(t *testing.T) {
	bus, _ := open(t)
	publish(t, bus, "topic", 0, 1)
	go func() {
		for i := 1; i < 5; i++ {
			time.Sleep(5 * time.Millisecond)
			_, _ = bus.Publish(context.Background(), "topic", beck.Message{Body: fmt.Append(nil, i)})
		}
	}()
	batches(t, bus, "topic", &beck.BatchOptions{Max: 5, Wait: 10 * time.Second}, func(messages []*beck.Message) (bool, error) {
		if len(messages) != 5 {
			t.Errorf("the batch has %d messages, not 5", len(messages))
		}
		return true, nil
	})
}

func TestBatchErrorDecidesForEach(t *testing.T) {
	bus, _ := open(t)
	publish(t, bus, "topic", 0, 4)
	attempts := map[string][]int{}
	o := &beck.BatchOptions{Max: 4, Wait: 10 * time.Millisecond, SubscribeOptions: beck.SubscribeOptions{
		MaxAttempts: 3, Backoff: func(int) time.Duration { return 0 },
	}}
	batches(t, bus, "topic", o, func(messages []*beck.Message) (bool, error) {
		errs := make(beck.BatchError, len(messages))
		for i, m := range messages {
			body := string(m.Body)
			attempts[body] = append(attempts[body], m.Attempt)
			switch {
			case body == "1":
				errs[i] = errors.New("fails always")
			case body == "2":
				errs[i] = beck.Dead(errors.New("hopeless"))
			case body == "3" && m.Attempt == 1:
				errs[i] = beck.RetryAfter(time.Millisecond)
			}
		}
		return len(attempts["1"]) == 3 && len(attempts["3"]) == 2, errs
	})
	want := map[string][]int{"0": {1}, "1": {1, 2, 3}, "2": {1}, "3": {1, 2}}
	for body, list := range want {
		if !slices.Equal(attempts[body], list) {
			t.Errorf("message %s had the attempts %v, not %v", body, attempts[body], list)
		}
	}
	if s := bus.Stats(); s.DeadLettered != 2 || s.Acknowledged != 2 {
		t.Errorf("%d acknowledged, %d dead; want 2 and 2", s.Acknowledged, s.DeadLettered)
	}
}

func TestBatchThatFailsAsAWholeIsRetried(t *testing.T) {
	for name, fail := range map[string]func() error{
		"error":       func() error { return errors.New("all bad") },
		"panic":       func() error { panic("all bad") },
		"goexit":      func() error { runtime.Goexit(); return nil },
		"wrong count": func() error { return beck.BatchError{nil} },
	} {
		t.Run(name, func(t *testing.T) {
			bus, _ := open(t)
			publish(t, bus, "topic", 0, 3)
			o := &beck.BatchOptions{Max: 3, Wait: 10 * time.Millisecond, SubscribeOptions: beck.SubscribeOptions{
				Backoff: func(int) time.Duration { return 0 },
			}}
			second := 0
			batches(t, bus, "topic", o, func(messages []*beck.Message) (bool, error) {
				if messages[0].Attempt == 1 {
					return false, fail()
				}
				for _, m := range messages {
					if m.Attempt != 2 {
						t.Errorf("attempt %d of %s", m.Attempt, m.Body)
					}
				}
				second += len(messages)
				return second == 3, nil
			})
		})
	}
}

// What a handler says of one message must not become of another.
func TestBatchErrorIsOfWhomItNames(t *testing.T) {
	hopeless := beck.Dead(errors.New("hopeless"))
	for name, c := range map[string]struct {
		err                 error
		dead, retried, done uint64
	}{
		"as it is":       {beck.BatchError{hopeless, nil, errors.New("later")}, 1, 1, 1},
		"wrapped":        {fmt.Errorf("storing: %w", beck.BatchError{hopeless, nil, nil}), 1, 0, 2},
		"too short":      {beck.BatchError{hopeless}, 0, 3, 0},
		"too long":       {beck.BatchError{nil, nil, nil, hopeless}, 0, 3, 0},
		"wrapped, short": {fmt.Errorf("storing: %w", beck.BatchError{hopeless}), 0, 3, 0},
		"joined":         {errors.Join(beck.BatchError{hopeless, nil, nil}, errors.New("not stored")), 0, 3, 0},
		"all are dead":   {beck.Dead(beck.BatchError{errors.New("one"), nil, nil}), 3, 0, 0},
		"dead, wrapped":  {fmt.Errorf("storing: %w", hopeless), 3, 0, 0},
		"none":           {beck.BatchError(nil), 0, 3, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bus, _ := open(t)
			publish(t, bus, "topic", 0, 3)
			o := &beck.BatchOptions{Max: 3, Wait: 5 * time.Second, SubscribeOptions: beck.SubscribeOptions{
				Backoff: func(int) time.Duration { return time.Hour },
			}}
			batches(t, bus, "topic", o, func([]*beck.Message) (bool, error) { return true, c.err })
			if s := bus.Stats(); s.DeadLettered != c.dead || s.Retried != c.retried || s.Acknowledged != c.done {
				t.Errorf("%d dead, %d retried, %d acknowledged; want %d, %d, %d",
					s.DeadLettered, s.Retried, s.Acknowledged, c.dead, c.retried, c.done)
			}
		})
	}
}

// Batches are handled side by side, but never two with the same key.
func TestBatchesKeepTheOrderOfKeys(t *testing.T) {
	bus, _ := open(t)
	const keys, each = 7, 60
	for i := range each {
		for k := range keys {
			_, err := bus.Publish(t.Context(), "topic", beck.Message{Key: strconv.Itoa(k), Body: fmt.Append(nil, i)})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	var mu sync.Mutex
	next, busy, done, most, running := map[string]int{}, map[string]bool{}, 0, 0, 0
	o := &beck.BatchOptions{Max: 10, Wait: 5 * time.Millisecond, SubscribeOptions: beck.SubscribeOptions{Concurrency: 3}}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := bus.SubscribeBatch(ctx, "topic", "s", func(_ context.Context, messages []*beck.Message) error {
		mu.Lock()
		running++
		most = max(most, running)
		mine := map[string]bool{}
		for _, m := range messages {
			if busy[m.Key] && !mine[m.Key] {
				t.Errorf("key %s is in two batches at a time", m.Key)
			}
			busy[m.Key], mine[m.Key] = true, true
			if string(m.Body) != strconv.Itoa(next[m.Key]) {
				t.Errorf("key %s: message %s comes where %d should", m.Key, m.Body, next[m.Key])
			}
			next[m.Key]++
		}
		mu.Unlock()
		time.Sleep(2 * time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		running--
		for key := range mine {
			busy[key] = false
		}
		if done += len(messages); done == keys*each {
			cancel()
		}
		return nil
	}, o)
	if err != nil || done != keys*each {
		t.Fatalf("%d of %d handled: %v", done, keys*each, err)
	}
	if most < 2 {
		t.Error("no two batches were handled side by side")
	}
}

func TestBatchOptionsThatMakeNoSense(t *testing.T) {
	bus, _ := open(t)
	handle := func(context.Context, []*beck.Message) error { return nil }
	for _, o := range []*beck.BatchOptions{
		{Max: -1}, {Max: beck.MaxFetch + 1}, {Wait: -1}, {Wait: time.Hour},
		{Max: 10, SubscribeOptions: beck.SubscribeOptions{Prefetch: 9}},
	} {
		if err := bus.SubscribeBatch(t.Context(), "topic", "s", handle, o); !errors.Is(err, beck.ErrOption) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if err := bus.SubscribeBatch(t.Context(), "topic", "s", nil, nil); !errors.Is(err, beck.ErrOption) {
		t.Errorf("no handler: %v", err)
	}
}
