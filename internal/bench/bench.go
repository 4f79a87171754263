package bench

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/beckmq/beck"
)

// Options say what is measured. The zero value works.
type Options struct {
	// Size is the number of bytes in a body. Defaults to 100.
	Size int
	// Time is about how long each of the measurements of publishing takes, and
	// the one of the delay. Defaults to 2 seconds.
	Time time.Duration
	// Messages is how many are stored to be followed and subscribed to.
	// Defaults to 200,000.
	Messages int
	// Rounds is how often each measurement is taken, in turn with the bare one.
	// Defaults to 3.
	Rounds int
	// Rate is how many messages a second are published when the delay is
	// measured. Defaults to 1,000.
	Rate int
	// Only names the workloads to run. Defaults to all.
	Only []string
	// Progress is told what is being measured. Defaults to nobody.
	Progress func(what string)
}

// Bare is the bare minimum for an engine.
type Bare interface {
	// Publish stores batches of a size from several publishers at a time until
	// stop ends, and returns how many messages were stored.
	Publish(stop context.Context, publishers, batch int, body []byte) (int, error)
	// Prepare sees that there are messages to be read, n of them.
	Prepare(ctx context.Context, topic string, n int, body []byte) error
	// Follow reads all that was prepared, and returns how many there were.
	Follow(ctx context.Context, topic string) (int, error)
	// Subscribe leases and acknowledges all that was prepared.
	Subscribe(ctx context.Context, topic string) (int, error)
	// Delays publishes one message each tick, and returns the time from before
	// the publish to the delivery, for each.
	Delays(stop context.Context, tick time.Duration, body []byte) ([]time.Duration, error)
	// Queue stores tasks, and leases, acknowledges and removes them.
	Queue(ctx context.Context, n int, body []byte) (int, error)
	// Commands returns how many commands the engine has served so far, 0 if it
	// doesn't know commands.
	Commands(ctx context.Context) int64
	// Close removes what the measurements left.
	Close() error
}

// BareLive is the bare minimum for what is not stored. An engine that has none
// for it is measured alone.
type BareLive interface {
	// Requests asks and answers, from several askers at a time, until stop ends,
	// and returns how long each took.
	Requests(stop context.Context, askers int, body []byte) ([]time.Duration, error)
	// Broadcasts publishes to one listener until stop ends, no more than ahead
	// messages ahead of it, and returns how many it got.
	Broadcasts(stop context.Context, ahead int, body []byte) (int, error)
}

// Row is one line of the result. Rates are messages a second; delays are
// microseconds.
type Row struct {
	Name     string  `json:"name"`
	What     string  `json:"what"`
	Unit     string  `json:"unit"` // "msg/s", or "µs" for delays
	Beck     float64 `json:"beck"`
	Bare     float64 `json:"bare,omitempty"`
	Ratio    float64 `json:"ratio,omitempty"`    // of beck to bare
	Commands float64 `json:"commands,omitempty"` // that the engine served for each message
}

// Report is all that was measured.
type Report struct {
	Engine string `json:"engine"`
	Size   int    `json:"size"`
	Rows   []Row  `json:"rows"`
}

// Workloads are the names that Options.Only may have.
func Workloads() []string {
	return []string{"publish", "single", "follow", "subscribe", "queue", "delay", "delayed", "request", "broadcast"}
}

type run struct {
	bus  *beck.Bus
	bare Bare // nil if there is none
	Options
	body    []byte
	topic   string
	created []string
}

// Run measures a bus beside its bare minimum, which may be nil.
func Run(ctx context.Context, bus *beck.Bus, bare Bare, o Options) (report *Report, err error) {
	r := &run{bus: bus, bare: bare, Options: o}
	r.fill()
	for _, name := range r.Only {
		if !slices.Contains(Workloads(), name) {
			return nil, fmt.Errorf("%w: there is no workload %q; choose from %s", beck.ErrOption, name, strings.Join(Workloads(), ", "))
		}
	}
	r.body = []byte(strings.Repeat("beck is a small stream. ", r.Size/24+1)[:r.Size])
	r.topic = "bench-" + rand.Text()[:8]
	defer func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		for _, topic := range r.created {
			if e := bus.DeleteTopic(ending, topic); e != nil && err == nil {
				err = e
			}
		}
	}()
	report = &Report{Engine: bus.String(), Size: r.Size}
	for _, w := range []struct {
		name string
		do   func(context.Context) ([]Row, error)
	}{
		{"publish", r.publish},
		{"single", r.single},
		{"follow", r.follow},
		{"subscribe", r.subscribe},
		{"queue", r.queue},
		{"delay", r.delay},
		{"delayed", r.delayed},
		{"request", r.request},
		{"broadcast", r.broadcast},
	} {
		if len(r.Only) > 0 && !slices.Contains(r.Only, w.name) {
			continue
		}
		rows, err := w.do(ctx)
		if err != nil {
			return report, err
		}
		report.Rows = append(report.Rows, rows...)
	}
	return report, nil
}

func (r *run) fill() {
	r.Size = orElse(r.Size, 100)
	r.Time = orElse(r.Time, 2*time.Second)
	r.Messages = orElse(r.Messages, 200_000)
	r.Rounds = orElse(r.Rounds, 3)
	r.Rate = orElse(r.Rate, 1000)
	if r.Progress == nil {
		r.Progress = func(string) {}
	}
}

func orElse[T int | time.Duration](value, otherwise T) T {
	if value <= 0 {
		return otherwise
	}
	return value
}

// newTopic names a topic that is deleted at the end.
func (r *run) newTopic(what string) string {
	topic := r.topic + "-" + what
	if !slices.Contains(r.created, topic) {
		r.created = append(r.created, topic)
	}
	return topic
}

// inTurn takes the bare and the beck measurement in turn, several times, and
// returns the medians, and that of the ratios.
func (r *run) inTurn(ctx context.Context, row Row, beckRate, bareRate func() (float64, error)) (Row, error) {
	var ours, bares, ratios, commands []float64
	for round := range r.Rounds {
		r.Progress(fmt.Sprintf("%s, round %d of %d", row.What, round+1, r.Rounds))
		var bare float64
		var err error
		if r.bare != nil {
			if bare, err = bareRate(); err != nil {
				return row, fmt.Errorf("bare %s: %w", row.Name, err)
			}
			bares = append(bares, bare)
		}
		served, counted := r.commands(ctx), r.counted(row.Name)
		rate, err := beckRate()
		if err != nil {
			return row, err
		}
		ours = append(ours, rate)
		if bare > 0 {
			ratios = append(ratios, rate/bare)
		}
		if n := r.counted(row.Name) - counted; served > 0 && n > 0 {
			commands = append(commands, float64(r.commands(ctx)-served)/float64(n))
		}
	}
	row.Unit = "msg/s"
	row.Beck, row.Bare, row.Ratio, row.Commands = median(ours), median(bares), median(ratios), median(commands)
	return row, nil
}

func (r *run) commands(ctx context.Context) int64 {
	if r.bare == nil {
		return 0
	}
	return r.bare.Commands(ctx)
}

// counted is how many messages the bus says that it has handled, in the sense of
// a workload.
func (r *run) counted(name string) int64 {
	s := r.bus.Stats()
	switch name {
	case "follow":
		return int64(s.Followed)
	case "subscribe", "queue":
		return int64(s.Acknowledged)
	case "request":
		return int64(s.Requests)
	case "broadcast":
		return int64(s.Heard)
	}
	return int64(s.Published)
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[len(values)/2]
}
