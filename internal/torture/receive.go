package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/beckmq/beck"
)

// follow follows a topic until ctx ends, or the message comes that is the last. It
// goes on by the id of the last message it saw.
func (w *worker) follow(ctx context.Context, f Following) {
	from := f.From
	if from == "" {
		from = beck.FromStart
	}
	for ctx.Err() == nil {
		for m, err := range w.bus.Follow(ctx, f.Topic, from) {
			if gap := (*beck.Gap)(nil); errors.As(err, &gap) {
				w.write(Event{Kind: Gap, Topic: f.Topic, Sub: f.Name, ID: string(gap.After)})
				continue
			}
			if err != nil {
				if ctx.Err() == nil {
					fmt.Fprintf(os.Stderr, "following %s as %s: %v\n", f.Topic, f.Name, err)
				}
				break
			}
			e := event(Seen, f.Topic, f.Name, m)
			w.write(e)
			from = beck.FromID(m.ID)
			if strings.HasPrefix(e.Stream, End+".") {
				return
			}
		}
		sleep(ctx, retryPause)
	}
}

func event(kind Kind, topic, sub string, m *beck.Message) Event {
	e := Event{Kind: kind, Topic: topic, Sub: sub, ID: m.ID, Key: m.Key, Attempt: m.Attempt}
	e.Stream, e.N, e.Bad = parseBody(m.Body, m.Key)
	return e
}

// Resume is where a follower goes on, from the histories of its former lives.
func Resume(files []string, topic, name string) (from beck.Position, err error) {
	for _, file := range files {
		err := Read(file, func(e Event) error {
			if e.Kind == Seen && e.Topic == topic && e.Sub == name {
				from = beck.FromID(e.ID)
			}
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	return from, nil
}

// consume handles messages until ctx ends. Some deliveries fail, and some take
// longer than a lease.
func (w *worker) consume(ctx context.Context, c Consuming, name string) {
	o := beck.SubscribeOptions{
		Concurrency: c.Concurrency, Prefetch: c.Prefetch, Lease: c.Lease, Grace: lastWords / 2,
		Backoff: func(attempt int) time.Duration { return min(time.Duration(attempt)*100*time.Millisecond, time.Second) },
	}
	for ctx.Err() == nil {
		var err error
		handle := func(ctx context.Context, m *beck.Message) error { return w.handle(ctx, c, name, m) }
		switch {
		case c.Queue:
			err = w.bus.Work(ctx, c.Topic, handle, &o)
		case c.Batch:
			err = w.bus.SubscribeBatch(ctx, c.Topic, c.Name, func(ctx context.Context, messages []*beck.Message) error {
				results := make(beck.BatchError, len(messages))
				for i, m := range messages {
					results[i] = w.handle(ctx, c, name, m)
				}
				return results
			}, &beck.BatchOptions{SubscribeOptions: o, Max: 20})
		default:
			err = w.bus.Subscribe(ctx, c.Topic, c.Name, handle, &o)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s of %s: %v\n", c.Name, c.Topic, err)
		}
		sleep(ctx, retryPause)
	}
}

var errFails = errors.New("this delivery fails")

func (w *worker) handle(ctx context.Context, c Consuming, name string, m *beck.Message) error {
	e := event(Got, c.Topic, c.Name, m)
	e.Consumer = name
	w.write(e)
	var err error
	dice := int(hash(fmt.Sprint(m.ID, m.Attempt, w.Seed)) % 1000)
	switch {
	case dice < w.Slowness && !c.Batch:
		// The lease has to be renewed meanwhile.
		if !sleep(ctx, c.Lease*3/2) {
			err = context.Cause(ctx)
		} else if c.SlowFails {
			err = errFails
		}
	case dice < w.Slowness+c.Failing:
		err = errFails
	}
	e.Kind, e.Attempt, e.Result = Done, 0, "ack"
	if err != nil {
		e.Result = "retry"
	}
	w.write(e)
	return err
}
