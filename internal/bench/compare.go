package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beckmq/beck"
)

const (
	// spreadTopics are so many that each of a few servers has about as many.
	spreadTopics = 48
	// spreadPublishers publish batches to them.
	spreadPublishers = 12
)

// Deployment is one of several that are measured side by side.
type Deployment struct {
	Name string `json:"name"`
	// Beside is the place of the deployment that this one is compared with; its
	// own if it is compared with none.
	Beside int `json:"beside"`
	// Buses are what topics are spread over, one after the other: one bus, or one
	// for each of several servers of their own.
	Buses []*beck.Bus `json:"-"`
	// CPU is the processor time that this program and the servers have used so far.
	// If it is nil, or always 0, what a message costs is not shown.
	CPU func() time.Duration `json:"-"`
}

// Line is one line of a comparison: rates are messages a second, delays and processor
// time are microseconds. The values are those of the deployments, medians of the rounds;
// the ratios are to the deployment that each is compared with, the median of those
// of the rounds.
type Line struct {
	Name   string    `json:"name"`
	What   string    `json:"what"`
	Unit   string    `json:"unit"`
	Values []float64 `json:"values"`
	Ratios []float64 `json:"ratios"`
}

// Comparison is what was measured side by side.
type Comparison struct {
	Deployments []Deployment `json:"deployments"`
	Size        int          `json:"size"`
	Lines       []Line       `json:"lines"`
}

// Comparisons are the names that Options.Only may have for Compare.
func Comparisons() []string { return []string{"publish", "single", "subscribe", "delay"} }

// Compare puts the same load on each of some deployments, in turn, several times.
func Compare(ctx context.Context, deployments []Deployment, o Options) (*Comparison, error) {
	c := &comparing{deployments: deployments, Options: o, prefix: "bench-" + rand.Text()[:8]}
	r := &run{Options: o}
	r.fill()
	c.Options = r.Options
	c.body = []byte(strings.Repeat("beck is a small stream. ", c.Size/24+1)[:c.Size])
	result := &Comparison{Deployments: deployments, Size: c.Size}
	const cost = "   processor time for a message"
	for _, w := range []struct {
		name, what, unit, cost string
		do                     func(context.Context, Deployment) (value, cost float64, err error)
	}{
		{"publish", fmt.Sprintf("publish, %d publishers, batches of %d", spreadPublishers, batchSize), "msg/s", cost,
			func(ctx context.Context, d Deployment) (float64, float64, error) {
				return c.publish(ctx, d, spreadPublishers, batchSize)
			}},
		{"single", fmt.Sprintf("publish, %d publishers, one by one", singlePublisher), "msg/s", cost,
			func(ctx context.Context, d Deployment) (float64, float64, error) {
				return c.publish(ctx, d, singlePublisher, 1)
			}},
		{"subscribe", "subscribe and acknowledge", "msg/s", cost, c.subscribe},
		{"delay", fmt.Sprintf("delay to follow at %d/s, p50", c.Rate), "µs", "", c.delay},
	} {
		if len(c.Only) > 0 && !slices.Contains(c.Only, w.name) {
			continue
		}
		lines := []Line{{Name: w.name, What: w.what, Unit: w.unit}}
		if w.cost != "" && c.used(deployments[0]) > 0 {
			lines = append(lines, Line{Name: w.name + "-cpu", What: w.cost, Unit: "µs"})
		}
		if err := c.inTurn(ctx, lines, w.do); err != nil {
			return result, err
		}
		result.Lines = append(result.Lines, lines...)
	}
	return result, nil
}

type comparing struct {
	deployments []Deployment
	Options
	body   []byte
	prefix string
}

// inTurn measures each deployment once a round. The order turns with the rounds:
// whoever comes first finds another machine than the last.
func (c *comparing) inTurn(ctx context.Context, lines []Line, measure func(context.Context, Deployment) (value, cost float64, err error)) error {
	n := len(c.deployments)
	all := make([][2]float64, 0, n*c.Rounds)
	for round := range c.Rounds {
		this := make([][2]float64, n)
		for k := range n {
			i := (k + round) % n
			d := c.deployments[i]
			c.Progress(fmt.Sprintf("%s, round %d of %d: %s", lines[0].What, round+1, c.Rounds, d.Name))
			value, cost, err := measure(ctx, d)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", d.Name, lines[0].Name, err)
			}
			this[i] = [2]float64{value, cost}
		}
		all = append(all, this...)
	}
	for l := range lines {
		for i, d := range c.deployments {
			var values, ratios []float64
			for round := range c.Rounds {
				value, base := all[round*n+i][l], all[round*n+d.Beside][l]
				values = append(values, value)
				if base > 0 {
					ratios = append(ratios, value/base)
				}
			}
			lines[l].Values = append(lines[l].Values, median(values))
			lines[l].Ratios = append(lines[l].Ratios, median(ratios))
		}
	}
	return nil
}

// used is the processor time used so far, 0 if that is not known.
func (c *comparing) used(d Deployment) time.Duration {
	if d.CPU == nil {
		return 0
	}
	return d.CPU()
}

// microsEach is the microseconds a message took, of some processor time.
func microsEach(used time.Duration, n int) float64 {
	return float64(used.Nanoseconds()) / 1000 / float64(max(1, n))
}

// topic is one of many, and the bus that has it.
func (c *comparing) topic(d Deployment, i int) (*beck.Bus, string) {
	return d.Buses[i%len(d.Buses)], fmt.Sprintf("%s-%d", c.prefix, i)
}

// remove deletes all topics, so that every measurement begins with empty servers.
func (c *comparing) remove(ctx context.Context, d Deployment) error {
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	var all error
	for i := range spreadTopics {
		bus, topic := c.topic(d, i)
		if err := bus.DeleteTopic(ending, topic); err != nil && !errors.Is(err, beck.ErrTopicNotFound) {
			all = errors.Join(all, err)
		}
	}
	return all
}

func (c *comparing) messages(batch int) []beck.Message {
	list := make([]beck.Message, batch)
	for i := range list {
		list[i].Body = c.body
	}
	return list
}

// publish has publishers send batches, each to one topic after the other.
func (c *comparing) publish(ctx context.Context, d Deployment, publishers, batch int) (rate, cost float64, err error) {
	defer func() { err = errors.Join(err, c.remove(ctx, d)) }()
	messages := c.messages(batch)
	// First all topics are made, and all connections.
	for i := range spreadTopics {
		bus, topic := c.topic(d, i)
		if _, err := bus.Publish(ctx, topic, messages[0]); err != nil {
			return 0, 0, err
		}
	}
	stop, cancel := context.WithTimeout(ctx, c.Time)
	defer cancel()
	var next atomic.Int64
	start, used := time.Now(), c.used(d)
	n, err := each(stop, publishers, func() (int, error) {
		bus, topic := c.topic(d, int(next.Add(1)%spreadTopics))
		ids, err := bus.Publish(ctx, topic, messages...)
		return len(ids), err
	})
	took := time.Since(start)
	return float64(n) / took.Seconds(), microsEach(c.used(d)-used, n), errors.Join(err, ctx.Err())
}

// subscribe stores messages in many topics, and then works them off through a
// subscription to each.
func (c *comparing) subscribe(ctx context.Context, d Deployment) (rate, cost float64, err error) {
	defer func() { err = errors.Join(err, c.remove(ctx, d)) }()
	each, total := max(1, c.Messages/spreadTopics), 0
	for i := range spreadTopics {
		bus, topic := c.topic(d, i)
		for left := each; left > 0; left -= 1000 {
			ids, err := bus.Publish(ctx, topic, c.messages(min(left, 1000))...)
			if err != nil {
				return 0, 0, err
			}
			total += len(ids)
		}
	}
	working, stop := context.WithCancel(ctx)
	defer stop()
	var handled atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	start, used := time.Now(), c.used(d)
	for i := range spreadTopics {
		bus, topic := c.topic(d, i)
		all.Go(func() {
			err := bus.Subscribe(working, topic, "bench", func(context.Context, *beck.Message) error {
				if handled.Add(1) == int64(total) {
					stop()
				}
				return nil
			}, nil)
			if err != nil {
				failed.Store(&err)
				stop()
			}
		})
	}
	<-working.Done()
	took, cost := time.Since(start), microsEach(c.used(d)-used, total)
	all.Wait()
	if err := failed.Load(); err != nil {
		return 0, 0, *err
	}
	return float64(total) / took.Seconds(), cost, ctx.Err()
}

// delay is the median time from before a publish to a follower.
func (c *comparing) delay(ctx context.Context, d Deployment) (micros, none float64, err error) {
	r := &run{bus: d.Buses[0], Options: c.Options, body: c.body, topic: c.prefix + rand.Text()[:8]}
	delays, err := r.delays(ctx, time.Second/time.Duration(c.Rate), false)
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	for _, topic := range r.created {
		err = errors.Join(err, d.Buses[0].DeleteTopic(ending, topic))
	}
	return percentile(delays, 0.5), 0, err
}
