package acceptance

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/beckmq/beck"
)

// A handler that fails every third message, with five attempts: attempts, times of
// backoff and dead letters come out exactly. Requeued after the handler was
// mended, all are handled. Another subscription sees each message once.
func TestRetriesAndDeadLetters(t *testing.T) {
	onEach(t, func(t *testing.T, d deployment) {
		bus := open(t, d)
		n := sized(60, 3000)
		const attempts, unit = 5, 40 * time.Millisecond
		for _, name := range []string{"fails", "other"} {
			if _, err := bus.Join(t.Context(), "topic", name, nil); err != nil {
				t.Fatal(err)
			}
		}
		var ids []string
		for i := range n {
			got, err := bus.Publish(t.Context(), "topic", beck.Message{Body: strconv.AppendInt(nil, int64(i), 10)})
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, got...)
		}

		var mu sync.Mutex
		tried := map[string][]int{}
		last := map[string]time.Time{}
		var early, late []time.Duration
		mended := false
		handled := func() (count int) {
			mu.Lock()
			defer mu.Unlock()
			return len(tried)
		}
		ctx, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			err := bus.Subscribe(ctx, "topic", "fails", func(_ context.Context, m *beck.Message) error {
				mu.Lock()
				defer mu.Unlock()
				id, now := string(m.Body), time.Now()
				if m.Attempt > 1 && !mended {
					late = append(late, now.Sub(last[id])-time.Duration(m.Attempt-1)*unit)
					if late[len(late)-1] < -2*time.Millisecond { // the engine's clock ticks in milliseconds
						early = append(early, late[len(late)-1])
					}
				}
				tried[id] = append(tried[id], m.Attempt)
				last[id] = time.Now()
				if number, _ := strconv.Atoi(id); number%3 == 2 && !mended {
					return errors.New("every third fails")
				}
				return nil
			}, &beck.SubscribeOptions{Concurrency: 8, MaxAttempts: attempts, Backoff: func(attempt int) time.Duration {
				return time.Duration(attempt) * unit
			}})
			if err != nil {
				t.Error(err)
			}
		})
		seen := map[string]int{}
		all.Go(func() {
			err := bus.Subscribe(ctx, "topic", "other", func(_ context.Context, m *beck.Message) error {
				mu.Lock()
				defer mu.Unlock()
				seen[string(m.Body)]++
				return nil
			}, nil)
			if err != nil {
				t.Error(err)
			}
		})
		dead := func() int64 {
			info, err := bus.Topic(t.Context(), "topic")
			if err != nil {
				t.Fatal(err)
			}
			return info.Subscriptions[0].Dead
		}
		await(t, "every third is dead", time.Minute, func() bool { return dead() == int64(n/3) && handled() == n })
		mu.Lock()
		for i := range n {
			want := []int{1}
			if i%3 == 2 {
				want = []int{1, 2, 3, 4, 5}
			}
			if got := tried[strconv.Itoa(i)]; !slices.Equal(got, want) {
				t.Errorf("message %d had the attempts %v, not %v", i, got, want)
			}
		}
		slices.Sort(late)
		if len(early) > 0 {
			t.Errorf("%d retries came early, the first by %v", len(early), -early[0])
		}
		p99 := late[len(late)*99/100]
		mended = true
		clear(tried)
		mu.Unlock()

		letters := deadLetters(t, bus)
		if len(letters) != n/3 {
			t.Errorf("%d dead letters, not %d", len(letters), n/3)
		}
		for _, l := range letters {
			if l.Message.Attempt != attempts || l.Reason != "every third fails" || l.Consumer == "" || l.Since.IsZero() {
				t.Fatalf("a dead letter: %+v", l)
			}
			if _, err := bus.Requeue(t.Context(), "topic", "fails", l.Message.ID); err != nil {
				t.Fatal(err)
			}
		}
		await(t, "all that were requeued are handled", time.Minute, func() bool { return handled() == n/3 })
		confirming, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		for portion := range slices.Chunk(ids, beck.MaxFetch) {
			if err := bus.Confirm(confirming, "topic", portion, "fails", "other"); err != nil {
				t.Error(err)
			}
		}
		stop()
		all.Wait()
		for id, list := range tried {
			if number, _ := strconv.Atoi(id); number%3 != 2 || !slices.Equal(list, []int{1}) {
				t.Errorf("after requeueing, message %s had the attempts %v", id, list)
			}
		}
		for i := range n {
			if seen[strconv.Itoa(i)] != 1 {
				t.Errorf("the other subscription saw message %d %d times", i, seen[strconv.Itoa(i)])
			}
		}
		if left := dead(); left != 0 {
			t.Errorf("%d dead letters are left", left)
		}
		t.Logf("%d messages, every third failed %d times and died; no retry early, p99 of lateness %v; all %d requeued and handled; the other subscription saw each once",
			n, attempts, p99.Round(time.Microsecond), len(letters))
	})
}

func deadLetters(t *testing.T, bus *beck.Bus) (all []*beck.Entry) {
	t.Helper()
	o := &beck.PeekOptions{Max: beck.MaxFetch}
	for more := true; more; {
		var page []*beck.Entry
		var err error
		if page, more, err = bus.Peek(t.Context(), "topic", "fails", beck.StateDead, o); err != nil {
			t.Fatal(err)
		}
		if len(page) > 0 {
			o.After = page[len(page)-1].Message.ID
		}
		all = append(all, page...)
	}
	return all
}
