package torture

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/beckmq/beck"
)

// Role is what a process does until it is ended. Any of the lists may be empty.
type Role struct {
	Process  string // its name and incarnation, "consumer0.2"
	Dir      string // where its history goes
	At       string // the address of the bus
	Seed     uint64
	Publish  []Publishing
	Follow   []Following
	Consume  []Consuming
	Slowness int // per mille of the handlers that take longer than a lease
}

// Publishing is one publisher: it waits for each publish before the next.
type Publishing struct {
	Stream string
	Topic  string
	Queue  bool          // push, rather than publish
	Batch  int           // messages at a time
	Keys   int           // how many keys there are; 0 for none
	Delay  time.Duration // the longest delay, 0 for none
	Once   bool          // with deduplication ids, and tried again until it is known to be stored
	Level  string
	Every  time.Duration // the time from one publish to the next
}

// Following is one follower.
type Following struct {
	Topic, Name string
	From        beck.Position
}

// Consuming is one consumer.
type Consuming struct {
	Topic, Name string
	Queue       bool
	Concurrency int
	Batch       bool
	Prefetch    int // 0 to have it find out, and give back what it can't handle soon
	Lease       time.Duration
	Failing     int  // per mille of the deliveries that fail
	SlowFails   bool // those that take long fail as well
}

// End begins the names of the streams whose messages are the last of their topics: a
// follower ends with them.
const End = "end"

// worker is a running Role.
type worker struct {
	Role
	bus     *beck.Bus
	history *History
	rest    context.Context // ends some time after the process was told to end
}

// Run does what a role says until ctx ends, or until its followers have seen the
// last message. It tries to open the bus until that works.
func (r Role) Run(ctx context.Context, open func(context.Context) (*beck.Bus, error)) error {
	h, err := NewHistory(r.Dir, r.Process, r.kind())
	if err != nil {
		return err
	}
	defer h.Close()
	bus, err := open(ctx)
	for err != nil {
		fmt.Fprintln(os.Stderr, "opening:", err)
		if !sleep(ctx, 200*time.Millisecond) {
			return h.Write(Event{Kind: Ended})
		}
		bus, err = open(ctx)
	}
	rest, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(lastWords, cancel) })
	defer stop()
	w := &worker{Role: r, bus: bus, history: h, rest: rest}
	watching, stopWatching := context.WithCancel(context.Background())
	var watch, all sync.WaitGroup
	watch.Go(func() { w.watch(watching) })
	for i, p := range r.Publish {
		all.Go(func() { w.publish(ctx, p, rand.New(rand.NewPCG(r.Seed, uint64(i)+hash(r.Process)))) })
	}
	for _, f := range r.Follow {
		all.Go(func() { w.follow(ctx, f) })
	}
	for i, c := range r.Consume {
		all.Go(func() { w.consume(ctx, c, fmt.Sprint(r.Process, "-", i)) })
	}
	all.Wait()
	stopWatching()
	watch.Wait()
	closing, cancelClosing := context.WithTimeout(context.Background(), lastWords)
	defer cancelClosing()
	if err := bus.Close(closing); err != nil {
		fmt.Fprintln(os.Stderr, "closing:", err)
	}
	return h.Write(Event{Kind: Ended})
}

// lastWords is how long a process may take to end: a publisher has to learn what
// became of its last message.
const lastWords = 20 * time.Second

func (r Role) kind() string {
	switch {
	case len(r.Publish) > 0:
		return "publisher"
	case len(r.Follow) > 0:
		return "follower"
	}
	return "consumer"
}

// Text is the role in the form that ParseRole reads.
func (r Role) Text() string {
	text, _ := json.Marshal(r) // it holds nothing that JSON doesn't
	return string(text)
}

// ParseRole reads what Text returned.
func ParseRole(text string) (r Role, err error) {
	return r, json.Unmarshal([]byte(text), &r)
}

// stall is what a process calls a stall: what may cost it a lease, or else what is
// worth knowing.
func (r Role) stall() time.Duration {
	d := 400 * time.Millisecond
	for _, c := range r.Consume {
		d = min(d, c.Lease/6)
	}
	return d
}

// watch writes down when this process did not run, and the gaps that its bus counts.
func (w *worker) watch(ctx context.Context) {
	var told uint64
	stall := w.stall()
	for ctx.Err() == nil {
		begin := time.Now()
		sleep(ctx, stall/3)
		if took := time.Since(begin); took > stall {
			w.write(Event{Kind: Stalled, Took: took.Microseconds()})
		}
		if gaps := w.bus.Stats().Gaps; gaps > told && len(w.Consume) > 0 {
			w.write(Event{Kind: Gaps, Count: int64(gaps - told)})
			told = gaps
		}
	}
}

// write ends the process if its history can't be written: nothing may happen that
// it does not tell.
func (w *worker) write(e Event) {
	if err := w.history.Write(e); err != nil {
		fmt.Fprintln(os.Stderr, "the history:", err)
		os.Exit(3)
	}
}

// sleep reports whether the context lives on.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func hash(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64()
}
