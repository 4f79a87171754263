package onredis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/redistest"
)

// TestSlotsMoveUnderLoad moves the slots of topics from node to node of a cluster,
// again and again, while they are published to, followed and consumed at a steady
// rate. Nothing is lost, in no order but that of the topic, and nobody sees an error.
func TestSlotsMoveUnderLoad(t *testing.T) {
	t.Parallel()
	c := redistest.Cluster(t, 3, 0)
	bus, err := Open(t.Context(), c.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close(context.Background())
	const (
		topics = 6
		length = 4 * time.Second
		pause  = 10 * time.Millisecond
	)
	ctx, cancel := context.WithCancel(t.Context())
	var readers, publishers sync.WaitGroup
	watches := make([]*watch, topics)
	for i := range watches {
		w := &watch{t: t, topic: fmt.Sprintf("topic%d", i), handled: map[string]int{}}
		watches[i] = w
		if _, err := bus.Join(ctx, w.topic, "s", nil); err != nil {
			t.Fatal(err)
		}
		readers.Go(func() { w.follow(ctx, bus) })
		readers.Go(func() { w.consume(ctx, bus) })
		publishers.Go(func() { w.publish(ctx, bus, length, pause) })
	}
	moves := moveAbout(t, c, watches, &publishers)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if !slices.ContainsFunc(watches, func(w *watch) bool { return !w.done() }) {
			break
		}
		if time.Now().After(deadline) {
			for _, w := range watches {
				t.Errorf("%s: %d published, %d followed, %d handled", w.topic, w.published.Load(), w.followed.Load(), w.count())
			}
			break
		}
	}
	cancel()
	readers.Wait()
	longest, sum := time.Duration(0), int64(0)
	for _, w := range watches {
		longest, sum = max(longest, w.stall), sum+w.published.Load()
	}
	t.Logf("%d messages, %d slots moved; the longest time to publish one was %v", sum, moves, longest)
}

// moveAbout moves the slots of the topics until the publishers have ended.
func moveAbout(t *testing.T, c *redistest.ClusterGroup, watches []*watch, publishers *sync.WaitGroup) (moves int) {
	ended := make(chan struct{})
	go func() { publishers.Wait(); close(ended) }()
	nodes := c.Primaries()
	for i := 0; ; i++ {
		for n, w := range watches {
			select {
			case <-ended:
				return moves
			default:
			}
			c.Settle() // all agree who has which slot
			key := "beck:" + w.topic
			from, to := c.Owner(key), nodes[(i+n)%len(nodes)]
			if from == to {
				continue
			}
			if i%2 == 0 { // a while between the two, with some of the keys at each
				c.BeginMove(from, to, c.Slot(key), 1)
				time.Sleep(30 * time.Millisecond)
			}
			c.MoveSlots(from, to, c.Slot(key))
			moves++
		}
	}
}

// watch is a topic and what has become of it.
type watch struct {
	t                   *testing.T
	topic               string
	published, followed atomic.Int64
	stall               time.Duration // the longest that publishing took

	mu      sync.Mutex
	handled map[string]int
}

func (w *watch) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.handled)
}

func (w *watch) done() bool {
	n := w.published.Load()
	return w.followed.Load() == n && int64(w.count()) == n
}

func (w *watch) publish(ctx context.Context, bus *beck.Bus, length, pause time.Duration) {
	for end := time.Now().Add(length); time.Now().Before(end); time.Sleep(pause) {
		n := w.published.Load()
		m := beck.Message{Body: []byte(strconv.FormatInt(n, 10))}
		if n%5 == 0 {
			m.DedupeID = "n" + strconv.FormatInt(n, 10) // by a script
		}
		began := time.Now()
		if _, err := bus.Publish(ctx, w.topic, m); err != nil {
			w.t.Errorf("%s: Publish: %v", w.topic, err)
			return
		}
		w.stall = max(w.stall, time.Since(began))
		w.published.Add(1)
	}
}

func (w *watch) follow(ctx context.Context, bus *beck.Bus) {
	for m, err := range bus.Follow(ctx, w.topic, beck.FromStart) {
		if err != nil {
			if ctx.Err() == nil {
				w.t.Errorf("%s: Follow: %v", w.topic, err)
			}
			return
		}
		if want := strconv.FormatInt(w.followed.Load(), 10); string(m.Body) != want {
			w.t.Errorf("%s: followed %s, want %s", w.topic, m.Body, want)
		}
		w.followed.Add(1)
	}
}

func (w *watch) consume(ctx context.Context, bus *beck.Bus) {
	err := bus.Subscribe(ctx, w.topic, "s", func(_ context.Context, m *beck.Message) error {
		body := string(m.Body)
		if m.Attempt == 1 && strings.HasSuffix(body, "7") {
			return beck.RetryAfter(20 * time.Millisecond)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.handled[body]++
		return nil
	}, nil)
	if err != nil && !errors.Is(err, context.Canceled) {
		w.t.Errorf("%s: Subscribe: %v", w.topic, err)
	}
}
