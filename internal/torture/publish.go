package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/beckmq/beck"
)

// publishTime bounds one publish. It is longer than the engines' own bounds.
const publishTime = 20 * time.Second

// retryPause is how long a publisher waits after an error.
const retryPause = 100 * time.Millisecond

// publish publishes until ctx ends. What it has begun by then it ends.
func (w *worker) publish(ctx context.Context, p Publishing, chance *rand.Rand) {
	count := int64(max(1, p.Batch))
	for n := int64(1); ctx.Err() == nil; n += count {
		begin := time.Now()
		messages := p.messages(n, count, chance)
		for w.attempt(p, n, messages) != nil && w.rest.Err() == nil {
			sleep(w.rest, retryPause)
			if !p.Once {
				break
			}
		}
		pace := time.Duration(float64(p.Every) * (0.5 + chance.Float64()))
		sleep(ctx, pace-time.Since(begin))
	}
}

// messages are those with the numbers from n on. They are delayed alike.
func (p *Publishing) messages(n, count int64, chance *rand.Rand) []beck.Message {
	var delay time.Duration
	if p.Delay > 0 {
		delay = time.Duration(1 + chance.Int64N(int64(p.Delay)))
	}
	messages := make([]beck.Message, count)
	for i := range messages {
		number := n + int64(i)
		m := beck.Message{Delay: delay, Durability: durability(p.Level)}
		if p.Keys > 0 {
			m.Key = fmt.Sprint("k", number%int64(p.Keys))
		}
		if p.Once {
			m.DedupeID = fmt.Sprint(p.Stream, ".", number)
		}
		m.Body = Body(p.Stream, number, m.Key)
		messages[i] = m
	}
	return messages
}

func durability(level string) *beck.Durability {
	switch level {
	case Replicated:
		return &beck.Durability{Replicas: 1}
	case Synced:
		return &beck.Durability{Synced: true}
	}
	return nil
}

// attempt publishes once and writes down what became of it. It returns an error
// unless the messages are stored.
func (w *worker) attempt(p Publishing, n int64, messages []beck.Message) error {
	e := Event{
		Kind: Begun, Topic: p.Topic, Stream: p.Stream, N: n, Count: int64(len(messages)),
		Delay: messages[0].Delay.Microseconds(), Once: p.Once, Level: p.Level,
	}
	w.write(e)
	ctx, cancel := context.WithTimeout(context.Background(), publishTime)
	defer cancel()
	var err error
	if p.Queue {
		e.IDs, err = w.bus.Push(ctx, p.Topic, messages...)
	} else {
		e.IDs, err = w.bus.Publish(ctx, p.Topic, messages...)
	}
	e.Delay, e.Once, e.Level, e.Topic = 0, false, "", ""
	if err != nil {
		e.Text = err.Error()
	}
	switch {
	case err == nil:
		e.Kind = Acked
	case errors.Is(err, beck.ErrDurability):
		e.Kind, err = Weak, nil
	case errors.Is(err, beck.ErrUncertain), ctx.Err() != nil:
		e.Kind = Unsure
	default:
		e.Kind = Denied
	}
	w.write(e)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s %d: %v\n", p.Stream, n, err)
	}
	return err
}
