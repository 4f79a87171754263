package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beckmq/beck"
)

const (
	batchSize       = 100
	batchPublishers = 4
	singlePublisher = 512
)

func (r *run) publish(ctx context.Context) ([]Row, error) {
	return r.publishing(ctx, batchPublishers, batchSize, Row{Name: "publish",
		What: fmt.Sprintf("publish, %d publishers, batches of %d", batchPublishers, batchSize)})
}

func (r *run) single(ctx context.Context) ([]Row, error) {
	return r.publishing(ctx, singlePublisher, 1, Row{Name: "single",
		What: fmt.Sprintf("publish, %d publishers, one by one", singlePublisher)})
}

func (r *run) publishing(ctx context.Context, publishers, batch int, row Row) ([]Row, error) {
	timed := func(publish func(stop context.Context) (int, error)) func() (float64, error) {
		return func() (float64, error) {
			stop, cancel := context.WithTimeout(ctx, r.Time)
			defer cancel()
			start := time.Now()
			n, err := publish(stop)
			return float64(n) / time.Since(start).Seconds(), errors.Join(err, ctx.Err())
		}
	}
	row, err := r.inTurn(ctx, row,
		timed(func(stop context.Context) (int, error) {
			topic := r.newTopic(row.Name)
			messages := make([]beck.Message, batch)
			for i := range messages {
				messages[i].Body = r.body
			}
			return each(stop, publishers, func() (int, error) {
				ids, err := r.bus.Publish(ctx, topic, messages...)
				return len(ids), err
			})
		}),
		timed(func(stop context.Context) (int, error) {
			return r.bare.Publish(stop, publishers, batch, r.body)
		}))
	return []Row{row}, err
}

// each calls do from n goroutines until stop ends, and adds up what it returns.
func each(stop context.Context, n int, do func() (int, error)) (int, error) {
	var total atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			for stop.Err() == nil && failed.Load() == nil {
				done, err := do()
				total.Add(int64(done))
				if err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return int(total.Load()), *err
	}
	return int(total.Load()), nil
}

// inBatches has some goroutines publish n messages, each a batch at a time.
func inBatches(ctx context.Context, n int, publish func(size int) error) error {
	var left atomic.Int64
	left.Store(int64(n))
	going, stop := context.WithCancel(ctx)
	defer stop()
	_, err := each(going, batchPublishers, func() (int, error) {
		over := left.Add(-batchSize)
		if over <= 0 {
			stop()
		}
		if over <= -batchSize {
			return 0, nil
		}
		size := int(min(batchSize, over+batchSize))
		return size, publish(size)
	})
	return err
}

// stored sees that there is a topic with messages to be read.
func (r *run) stored(ctx context.Context) (topic string, err error) {
	topic = r.topic + "-stored"
	if slices.Contains(r.created, topic) {
		return topic, nil
	}
	r.Progress(fmt.Sprintf("storing %d messages to be read", r.Messages))
	r.newTopic("stored")
	messages := make([]beck.Message, 1000)
	for i := range messages {
		messages[i].Body = r.body
	}
	for n := 0; n < r.Messages && err == nil; n += len(messages) {
		_, err = r.bus.Publish(ctx, topic, messages[:min(len(messages), r.Messages-n)]...)
	}
	if err == nil && r.bare != nil {
		err = r.bare.Prepare(ctx, topic, r.Messages, r.body)
	}
	return topic, err
}

func (r *run) follow(ctx context.Context) ([]Row, error) {
	topic, err := r.stored(ctx)
	if err != nil {
		return nil, err
	}
	row, err := r.inTurn(ctx, Row{Name: "follow", What: "follow from the start"},
		rated(func() (n int, err error) {
			for m, err := range r.bus.Follow(ctx, topic, beck.FromStart) {
				if err != nil {
					return n, err
				}
				if len(m.Body) != r.Size {
					return n, fmt.Errorf("message %s has %d bytes, not %d", m.ID, len(m.Body), r.Size)
				}
				if n++; n == r.Messages {
					break
				}
			}
			return n, nil
		}),
		rated(func() (int, error) { return r.bare.Follow(ctx, topic) }))
	return []Row{row}, err
}

func (r *run) subscribe(ctx context.Context) ([]Row, error) {
	topic, err := r.stored(ctx)
	if err != nil {
		return nil, err
	}
	round := 0
	row, err := r.inTurn(ctx, Row{Name: "subscribe", What: "subscribe and acknowledge"},
		rated(func() (int, error) {
			round++
			return r.consume(ctx, topic, fmt.Sprint("bench", round))
		}),
		rated(func() (int, error) { return r.bare.Subscribe(ctx, topic) }))
	return []Row{row}, err
}

// consume handles and acknowledges all messages of a topic through a new
// subscription.
func (r *run) consume(ctx context.Context, topic, subscription string) (int, error) {
	consuming, stop := context.WithCancel(ctx)
	defer stop()
	var handled atomic.Int64
	err := r.bus.Subscribe(consuming, topic, subscription, func(context.Context, *beck.Message) error {
		if handled.Add(1) == int64(r.Messages) {
			stop()
		}
		return nil
	}, nil)
	if err == nil {
		err = ctx.Err()
	}
	return int(handled.Load()), errors.Join(err, r.bus.DeleteSubscription(ctx, topic, subscription))
}

func rated(do func() (int, error)) func() (float64, error) {
	return func() (float64, error) {
		start := time.Now()
		n, err := do()
		return float64(n) / time.Since(start).Seconds(), err
	}
}

// delay measures from before a publish to the handler of a follower, and to that
// of a subscription.
func (r *run) delay(ctx context.Context) ([]Row, error) {
	tick := time.Second / time.Duration(r.Rate)
	var rows []Row
	var bare []time.Duration
	if r.bare != nil {
		r.Progress("delay of the bare engine")
		stop, cancel := context.WithTimeout(ctx, r.Time)
		defer cancel()
		var err error
		if bare, err = r.bare.Delays(stop, tick, r.body); err != nil {
			return nil, fmt.Errorf("bare delay: %w", err)
		}
	}
	for _, how := range []string{"follow", "subscribe"} {
		what := fmt.Sprintf("delay to %s at %d/s", how, r.Rate)
		r.Progress(what)
		delays, err := r.delays(ctx, tick, how == "subscribe")
		if err != nil {
			return rows, err
		}
		rows = append(rows, percentiles("delay", what, delays, bare)...)
	}
	return rows, nil
}

// percentiles makes two rows of what was measured beside the bare one.
func percentiles(name, what string, ours, bare []time.Duration) []Row {
	var rows []Row
	for _, p := range []struct {
		name string
		of   float64
	}{{"p50", 0.5}, {"p99", 0.99}} {
		row := Row{Name: name, What: what + ", " + p.name, Unit: "µs", Beck: percentile(ours, p.of), Bare: percentile(bare, p.of)}
		if row.Bare > 0 {
			row.Ratio = row.Beck / row.Bare
		}
		rows = append(rows, row)
	}
	return rows
}

func (r *run) delays(ctx context.Context, tick time.Duration, subscribe bool) ([]time.Duration, error) {
	topic := r.newTopic(fmt.Sprint("delay", subscribe))
	receiving, stopReceiving := context.WithCancel(ctx)
	defer stopReceiving()
	var mu sync.Mutex
	var delays []time.Duration
	handle := func(_ context.Context, m *beck.Message) error {
		d := sinceStamp(m.Body)
		mu.Lock()
		defer mu.Unlock()
		delays = append(delays, d)
		return nil
	}
	if subscribe {
		if _, err := r.bus.Join(ctx, topic, "bench", nil); err != nil {
			return nil, err
		}
	}
	ready := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		if subscribe {
			close(ready)
			ended <- r.bus.Subscribe(receiving, topic, "bench", handle, nil)
			return
		}
		begun := false
		for page, err := range r.bus.FollowPages(receiving, topic, beck.FromNew) {
			if !begun {
				begun = true
				close(ready)
			}
			if err != nil {
				ended <- err
				return
			}
			for _, m := range page.Messages {
				handle(receiving, m)
			}
		}
	}()
	<-ready
	stop, cancel := context.WithTimeout(ctx, r.Time)
	defer cancel()
	sent, err := ticking(stop, tick, func() error {
		_, err := r.bus.Publish(ctx, topic, beck.Message{Body: stamped(r.body)})
		return err
	})
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		mu.Lock()
		got := len(delays)
		mu.Unlock()
		if got == sent {
			break
		}
	}
	stopReceiving()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		return nil, err
	}
	mu.Lock()
	defer mu.Unlock()
	if len(delays) != sent {
		return delays, fmt.Errorf("%d messages were published and %d delivered", sent, len(delays))
	}
	return delays, nil
}

// ticking calls do at a fixed rate until stop ends, each call in a goroutine of
// its own, so that a slow one doesn't hide what those after it would have met.
func ticking(stop context.Context, tick time.Duration, do func() error) (int, error) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var all sync.WaitGroup
	var failed atomic.Pointer[error]
	n := 0
	for stop.Err() == nil && failed.Load() == nil {
		select {
		case <-ticker.C:
			n++
			all.Go(func() {
				if err := do(); err != nil {
					failed.Store(&err)
				}
			})
		case <-stop.Done():
		}
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return n, *err
	}
	return n, nil
}

// stamped returns a copy of body that begins with the time.
func stamped(body []byte) []byte { return stampedAt(body, time.Now()) }

func stampedAt(body []byte, at time.Time) []byte {
	b := make([]byte, max(len(body), 8))
	copy(b, body)
	binary.BigEndian.PutUint64(b, uint64(at.UnixNano()))
	return b
}

func sinceStamp(body []byte) time.Duration {
	return time.Since(time.Unix(0, int64(binary.BigEndian.Uint64(body))))
}

// percentile returns microseconds.
func percentile(delays []time.Duration, of float64) float64 {
	if len(delays) == 0 {
		return 0
	}
	slices.Sort(delays)
	i := min(int(float64(len(delays))*of), len(delays)-1)
	return float64(delays[i].Nanoseconds()) / 1000
}
