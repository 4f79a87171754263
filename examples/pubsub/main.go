// Command pubsub shows the three patterns of messaging in one program: publish and
// subscribe, a queue, and request and reply.
//
// A weather service answers questions. A station asks it, publishes what it is
// told as readings, and waits until both subscriptions have acknowledged them: a
// log that writes each reading down, and an alarm that pushes a task to a queue
// for each one that is too high. Two workers share the tasks.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/examples/internal/place"
)

func main() {
	at := flag.String("at", "disk:pubsub-data", "disk:DIR, redis://HOST:PORT or http://HOST:PORT")
	days := flag.Int("days", 5, "how many readings to take")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	bus, err := place.Open(ctx, *at)
	if err != nil {
		log.Fatal(err)
	}
	err = run(ctx, bus, os.Stdout, *days)
	if err := errors.Join(err, bus.Close(context.WithoutCancel(ctx))); err != nil {
		log.Fatal(err)
	}
}

// The names of everything in this program.
const (
	weather  = "weather"  // a service: the temperature of a day
	readings = "readings" // a topic
	archive  = "archive"  // a subscription of it
	alarms   = "alarms"   // another
	warnings = "warnings" // a queue
)

const tooHot = 30

func run(ctx context.Context, bus *beck.Bus, out io.Writer, days int) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	p := &printer{out: out}

	// Subscriptions exist from when they are joined, so nothing that is published
	// behind this is missed, whenever their consumers start.
	for _, name := range []string{archive, alarms} {
		if _, err := bus.Join(ctx, readings, name, nil); err != nil {
			return err
		}
	}
	var all sync.WaitGroup
	errs := make(chan error, 8)
	start := func(what func() error) {
		all.Go(func() {
			if err := what(); err != nil && ctx.Err() == nil {
				errs <- err
				stop()
			}
		})
	}

	start(func() error { return bus.Reply(ctx, weather, temperature) })
	start(func() error {
		return bus.Subscribe(ctx, readings, archive, func(_ context.Context, m *beck.Message) error {
			p.printf("archive: %s had %s°\n", m.Key, m.Body)
			return nil
		}, nil)
	})
	start(func() error {
		return bus.Subscribe(ctx, readings, alarms, func(ctx context.Context, m *beck.Message) error {
			degrees, err := strconv.Atoi(string(m.Body))
			if err != nil {
				return beck.Dead(err) // trying again can't help
			}
			if degrees < tooHot {
				return nil
			}
			// Should this handler be run twice, the task is stored once.
			_, err = bus.Push(ctx, warnings, beck.Message{Key: m.Key, Body: m.Body, DedupeID: m.ID})
			return err
		}, nil)
	})
	for worker := range 2 {
		start(func() error {
			return bus.Work(ctx, warnings, func(_ context.Context, m *beck.Message) error {
				p.printf("worker %d: warns of %s° on %s\n", worker+1, m.Body, m.Key)
				return nil
			}, nil)
		})
	}

	err := station(ctx, bus, p, days)
	if err == nil {
		err = drained(ctx, bus)
	}
	stop()
	all.Wait()
	select {
	case first := <-errs:
		return first
	default:
		return err
	}
}

// temperature is the service's answer to the number of a day.
func temperature(_ context.Context, m *beck.Message) ([]byte, error) {
	day, err := strconv.Atoi(string(m.Body))
	if err != nil {
		return nil, fmt.Errorf("%q is not the number of a day", m.Body)
	}
	return strconv.AppendInt(nil, int64(20+7*day%17), 10), nil
}

// station takes a reading for each day, and returns once both subscriptions are
// done with all of them.
func station(ctx context.Context, bus *beck.Bus, p *printer, days int) error {
	var ids []string
	for day := range days {
		degrees, err := ask(ctx, bus, day)
		if err != nil {
			return err
		}
		published, err := bus.Publish(ctx, readings, beck.Message{Key: fmt.Sprintf("day %d", day), Body: degrees})
		if err != nil {
			return err
		}
		ids = append(ids, published...)
	}
	confirming, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := bus.Confirm(confirming, readings, ids, archive, alarms); err != nil {
		return err
	}
	p.printf("station: all %d readings are confirmed by %s and %s\n", days, archive, alarms)
	return nil
}

// ask asks the weather service, which may still be starting.
func ask(ctx context.Context, bus *beck.Bus, day int) ([]byte, error) {
	for {
		answer, err := bus.Request(ctx, weather, beck.Message{Body: strconv.AppendInt(nil, int64(day), 10)})
		if !errors.Is(err, beck.ErrNoReplier) {
			return answer, err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// drained waits until the queue is empty.
func drained(ctx context.Context, bus *beck.Bus) error {
	for {
		info, err := bus.Topic(ctx, warnings)
		if errors.Is(err, beck.ErrTopicNotFound) || err == nil && info.Length == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// printer writes whole lines from several goroutines.
type printer struct {
	mu  sync.Mutex
	out io.Writer
}

func (p *printer) printf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, format, args...)
}
