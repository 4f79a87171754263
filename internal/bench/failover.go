package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/beckmq/beck"
)

const (
	// failoverPatience is how long a replica may take to become the primary, and a
	// message then to be delivered.
	failoverPatience = 30 * time.Second
	// failoverPublishers try to publish all the time, each for publishPatience at a
	// time.
	failoverPublishers = 4
	publishPatience    = 500 * time.Millisecond
	publishPause       = time.Millisecond
)

// Failover is what followers notice when a primary is killed. All values are
// milliseconds.
type Failover struct {
	// Delays are from the moment that the new primary could be written to, to the
	// delivery of a message published after the crash.
	Delays []float64 `json:"delays"`
	// Outages are from the crash to that delivery.
	Outages []float64 `json:"outages"`
}

// P50 and Max are of Delays.
func (f *Failover) P50() float64 { return median(slices.Clone(f.Delays)) }

// Max is the longest of Delays.
func (f *Failover) Max() float64 { return slices.Max(f.Delays) }

// failover kills the primary of a group several times while messages go through it.
func failover(ctx context.Context, o Options, times int) (*Failover, error) {
	o.Progress("starting sentinels")
	s, err := newServers()
	if err != nil {
		return nil, err
	}
	defer s.close()
	g, err := s.group(ctx)
	if err != nil {
		return nil, err
	}
	var buses opened
	defer buses.close(ctx)
	bus, err := buses.open(ctx, g.url())
	if err != nil {
		return nil, err
	}
	going, stop := context.WithCancel(ctx)
	delivered := &deliveries{}
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	const topic = "bench-failover"
	for range failoverPublishers {
		all.Go(func() { publishOn(going, bus, topic) })
	}
	var following error
	all.Go(func() {
		for m, err := range bus.Follow(going, topic, beck.FromNew) {
			if gap := (*beck.Gap)(nil); errors.As(err, &gap) {
				continue // what was lost is not what this is about
			}
			if err != nil {
				following = err
				delivered.end()
				return
			}
			delivered.add(m.Body)
		}
	})
	result := &Failover{}
	for n := range times {
		o.Progress(fmt.Sprintf("failover %d of %d", n+1, times))
		delivered.expect(time.Now())
		if _, err := delivered.wait(ctx); err != nil {
			return result, errors.Join(err, following)
		}
		s.kill(g.primary)
		crash := time.Now() // what is published from now on can only be on the other
		delivered.expect(crash)
		writable, err := becomesWritable(ctx, g.replica)
		if err != nil {
			return result, err
		}
		came, err := delivered.wait(ctx)
		if err != nil {
			return result, errors.Join(err, following)
		}
		result.Delays = append(result.Delays, millis(max(0, came.Sub(writable))))
		result.Outages = append(result.Outages, millis(came.Sub(crash)))
		g.primary, g.replica = g.replica, g.primary
		if err := s.startAt(ctx, g.replica, replicaOf(g.primary)...); err != nil {
			return result, err
		}
		if err := s.settled(ctx, g); err != nil {
			return result, err
		}
	}
	return result, nil
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// publishOn publishes until ctx ends, whatever becomes of it.
func publishOn(ctx context.Context, bus *beck.Bus, topic string) {
	for ctx.Err() == nil {
		limited, cancel := context.WithTimeout(ctx, publishPatience)
		_, _ = bus.Publish(limited, topic, beck.Message{Body: stamped(nil)})
		cancel()
		time.Sleep(publishPause)
	}
}

// becomesWritable returns when a replica has become a primary.
func becomesWritable(ctx context.Context, addr string) (time.Time, error) {
	for deadline := time.Now().Add(failoverPatience); ; time.Sleep(time.Millisecond) {
		if _, err := ask(addr, "SET beck-bench-probe 1"); err == nil {
			return time.Now(), nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return time.Time{}, errors.Join(ctx.Err(), fmt.Errorf("the replica has not become the primary within %v", failoverPatience))
		}
	}
}

// deliveries are when messages came that were published after some moment.
type deliveries struct {
	mu    sync.Mutex
	since time.Time
	came  time.Time // the first published after since
	ended bool
}

func (d *deliveries) add(body []byte) {
	now := time.Now()
	published := now.Add(-sinceStamp(body))
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.came.IsZero() && published.After(d.since) {
		d.came = now
	}
}

func (d *deliveries) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
}

// expect begins to look out for a message published after a moment.
func (d *deliveries) expect(since time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.since, d.came = since, time.Time{}
}

// wait returns when it came.
func (d *deliveries) wait(ctx context.Context) (time.Time, error) {
	for deadline := time.Now().Add(failoverPatience); ; time.Sleep(time.Millisecond) {
		d.mu.Lock()
		came, ended := d.came, d.ended
		d.mu.Unlock()
		switch {
		case !came.IsZero():
			return came, nil
		case ended:
			return came, errors.New("the follower has ended")
		case ctx.Err() != nil || time.Now().After(deadline):
			return came, errors.Join(ctx.Err(), fmt.Errorf("no message was delivered for %v", failoverPatience))
		}
	}
}
