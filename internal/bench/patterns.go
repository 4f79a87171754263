package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beckmq/beck"
)

const (
	queueWorkers = 64
	askers       = 64
	manyHear     = 100
	// hearAhead is how far broadcasts run ahead of the slowest listener: those
	// that a listener is too slow for are lost.
	hearAhead = 512
	// delayedFor is up to how long the delayed messages wait.
	delayedFor = time.Second
)

// queue measures pushing tasks and then working them off, as one.
func (r *run) queue(ctx context.Context) ([]Row, error) {
	row, err := r.inTurn(ctx, Row{Name: "queue", What: fmt.Sprintf("push and work off, %d workers", queueWorkers)},
		rated(func() (int, error) { return r.pushAndWork(ctx) }),
		rated(func() (int, error) { return r.bare.Queue(ctx, r.Messages, r.body) }))
	return []Row{row}, err
}

func (r *run) pushAndWork(ctx context.Context) (int, error) {
	queue := r.newTopic("queue")
	err := inBatches(ctx, r.Messages, func(size int) error {
		tasks := make([]beck.Message, size)
		for i := range tasks {
			tasks[i].Body = r.body
		}
		_, err := r.bus.Push(ctx, queue, tasks...)
		return err
	})
	if err != nil {
		return 0, err
	}
	working, stop := context.WithCancel(ctx)
	defer stop()
	var handled atomic.Int64
	err = r.bus.Work(working, queue, func(context.Context, *beck.Message) error {
		if handled.Add(1) == int64(r.Messages) {
			stop()
		}
		return nil
	}, &beck.SubscribeOptions{Concurrency: queueWorkers})
	return int(handled.Load()), errors.Join(err, ctx.Err())
}

// delayed measures publishing messages with delays and following them, and then
// how late they come.
func (r *run) delayed(ctx context.Context) ([]Row, error) {
	n := max(1, r.Messages/10)
	served := r.commands(ctx)
	what := fmt.Sprintf("%d delayed by up to %v", n, delayedFor)
	r.Progress(what)
	topic := r.newTopic("delayed")
	following, stop := context.WithCancel(ctx)
	defer stop()
	got := make(chan []time.Duration, 1)
	go func() {
		var late []time.Duration
		for m, err := range r.bus.Follow(following, topic, beck.FromStart) {
			if err != nil {
				break
			}
			if late = append(late, sinceStamp(m.Body)); len(late) == n {
				break
			}
		}
		got <- late
	}()
	var published time.Duration
	for sent := 0; sent < n; {
		batch := make([]beck.Message, min(batchSize, n-sent))
		now := time.Now()
		for i := range batch {
			due := now.Add(delayedFor/2 + rand.N(delayedFor/2))
			batch[i] = beck.Message{Body: stampedAt(r.body, due), At: due}
		}
		ids, err := r.bus.Publish(ctx, topic, batch...)
		if err != nil {
			return nil, err
		}
		published += time.Since(now)
		sent += len(ids)
	}
	var late []time.Duration
	select {
	case late = <-got:
	case <-time.After(delayedFor + 30*time.Second):
		stop()
		late = <-got
	}
	if len(late) != n {
		return nil, fmt.Errorf("%d delayed messages were published, and %d came", n, len(late))
	}
	row := Row{Name: "delayed", What: fmt.Sprintf("publish delayed, batches of %d", batchSize), Unit: "msg/s",
		Beck: float64(n) / published.Seconds()}
	if served > 0 {
		row.Commands = float64(r.commands(ctx)-served) / float64(n)
	}
	return append([]Row{row}, percentiles("delayed", what+", late by", late, nil)...), nil
}

// request measures round trips to a service that answers what it was asked.
func (r *run) request(ctx context.Context) ([]Row, error) {
	service := r.topic + "-echo"
	replying, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- r.bus.Reply(replying, service, func(_ context.Context, m *beck.Message) ([]byte, error) { return m.Body, nil })
	}()
	defer func() { stop(); <-ended }()
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		_, err := r.bus.Request(ctx, service, beck.Message{Body: r.body})
		if err == nil {
			break
		}
		if !errors.Is(err, beck.ErrNoReplier) || time.Since(begin) > 5*time.Second {
			return nil, err
		}
	}
	ask := func(stop context.Context, askers int) ([]time.Duration, error) {
		return timedEach(stop, askers, func() error {
			_, err := r.bus.Request(ctx, service, beck.Message{Body: r.body})
			return err
		})
	}
	live, _ := r.bare.(BareLive)
	row := Row{Name: "request", What: fmt.Sprintf("request and reply, %d askers", askers)}
	row, err := r.live(ctx, row, live != nil,
		func(stop context.Context) (int, error) { d, err := ask(stop, askers); return len(d), err },
		func(stop context.Context) (int, error) {
			d, err := live.Requests(stop, askers, r.body)
			return len(d), err
		})
	if err != nil {
		return nil, err
	}
	rows := []Row{row}
	r.Progress("request and reply, one by one")
	var bare []time.Duration
	if live != nil {
		stop, cancel := context.WithTimeout(ctx, r.Time)
		bare, err = live.Requests(stop, 1, r.body)
		cancel()
	}
	if err != nil {
		return rows, err
	}
	one, cancel := context.WithTimeout(ctx, r.Time)
	defer cancel()
	took, err := ask(one, 1)
	return append(rows, percentiles("request", "request and reply, one by one", took, bare)...), err
}

// broadcast measures messages to one listener, and deliveries to many.
func (r *run) broadcast(ctx context.Context) ([]Row, error) {
	live, _ := r.bare.(BareLive)
	one, err := r.live(ctx, Row{Name: "broadcast", What: "broadcast to 1 listener"}, live != nil,
		func(stop context.Context) (int, error) { return r.hear(stop, 1) },
		func(stop context.Context) (int, error) { return live.Broadcasts(stop, hearAhead, r.body) })
	if err != nil {
		return nil, err
	}
	many, err := r.live(ctx, Row{Name: "broadcast", What: fmt.Sprintf("broadcast to %d listeners, deliveries", manyHear)}, false,
		func(stop context.Context) (int, error) { return r.hear(stop, manyHear) }, nil)
	return []Row{one, many}, err
}

// live is inTurn for what goes on until a time is over.
func (r *run) live(ctx context.Context, row Row, bare bool, ours, theirs func(stop context.Context) (int, error)) (Row, error) {
	timed := func(do func(context.Context) (int, error)) func() (float64, error) {
		return rated(func() (int, error) {
			stop, cancel := context.WithTimeout(ctx, r.Time)
			defer cancel()
			return do(stop)
		})
	}
	if bare {
		return r.inTurn(ctx, row, timed(ours), timed(theirs))
	}
	alone := *r
	alone.bare = nil
	return alone.inTurn(ctx, row, timed(ours), nil)
}

// hear broadcasts to listeners until stop ends, and returns how many messages
// they got, all together.
func (r *run) hear(stop context.Context, listeners int) (int, error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(stop))
	defer cancel()
	subject := r.topic + "-live"
	heard := make([]atomic.Int64, listeners)
	var all sync.WaitGroup
	var missed atomic.Bool
	for i := range heard {
		messages := r.bus.Listen(ctx, subject)
		all.Go(func() {
			for _, err := range messages {
				if err != nil {
					missed.Store(ctx.Err() == nil || missed.Load())
					continue
				}
				heard[i].Add(1)
			}
		})
	}
	slowest := func() int64 {
		least := heard[0].Load()
		for i := range heard {
			least = min(least, heard[i].Load())
		}
		return least
	}
	sent := int64(0)
	for stop.Err() == nil && !missed.Load() {
		if sent-slowest() >= hearAhead {
			time.Sleep(20 * time.Microsecond)
			continue
		}
		if _, err := r.bus.Broadcast(ctx, subject, r.body); err != nil {
			return 0, err
		}
		sent++
	}
	for end := time.Now().Add(5 * time.Second); slowest() < sent && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	cancel()
	all.Wait()
	total := 0
	for i := range heard {
		total += int(heard[i].Load())
	}
	if missed.Load() || total != int(sent)*listeners {
		return total, fmt.Errorf("%d messages were broadcast to %d listeners, and %d came", sent, listeners, total)
	}
	return total, nil
}

// timedEach is each, and returns how long each call took.
func timedEach(stop context.Context, n int, do func() error) ([]time.Duration, error) {
	var mu sync.Mutex
	var all []time.Duration
	_, err := each(stop, n, func() (int, error) {
		start := time.Now()
		if err := do(); err != nil {
			return 0, err
		}
		took := time.Since(start)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, took)
		return 1, nil
	})
	return all, err
}
