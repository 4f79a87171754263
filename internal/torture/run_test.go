package torture

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beckmq/beck"
)

// lease is that of all subscriptions.
const lease = 2 * time.Second

// deployment is what a run is on.
type deployment struct {
	name string
	// at are the addresses for the processes, which take them in turn, and direct is
	// the test's own.
	at     []string
	direct string
	faults []fault
	// heal waits until all servers work.
	heal func()
}

// plan is what a run is to do.
type plan struct {
	seed   uint64
	length time.Duration
	level  string
	// calm is the time between two faults.
	calm time.Duration
	// every is the time between two publishes of each publisher.
	every time.Duration
	// only are the kinds of faults that are injected, by parts of their names; empty
	// for all.
	only []string
	// keeps says that no fault is injected that destroys messages.
	keeps bool
	// first are the faults that come before others, by their names.
	first []string
}

// run is one under way.
type run struct {
	plan
	deployment
	t       *testing.T
	dir     string
	history *History
	log     io.Writer
	bus     *beck.Bus
	chance  *rand.Rand
	workers []*runner
	target  string // of the fault that is being injected
	begun   time.Time
}

// runner is a process, with what it is to do.
type runner struct {
	Role
	name    string
	life    int
	process *process
}

var (
	topics = []string{"log0", "log1", "log2"}
	queues = []string{"tasks0", "tasks1"}
)

const queueSubscription = "workers"

// do carries out a plan on a deployment and has the checker decide.
func (p plan) do(t *testing.T, d deployment) *Report {
	t.Helper()
	r := &run{plan: p, deployment: d, t: t, dir: historyDir(t), chance: rand.New(rand.NewPCG(p.seed, 1)), begun: time.Now()}
	t.Logf("%s: seed %d, %v, level %s", d.name, p.seed, p.length, p.level)
	var err error
	if r.history, err = NewHistory(r.dir, "main.0", "main"); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(r.dir, "main.log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	r.log = log
	r.bus = openBus(t, d.direct, log)
	r.join()
	stop := r.probe()
	defer stop()
	r.employ()
	r.torment()
	r.heal()
	for _, w := range r.workers {
		w.process.proceed()
		if !w.process.running() {
			r.restart(w)
		}
	}
	r.finish()
	stop()
	if err := r.history.Close(); err != nil {
		t.Error(err)
	}
	report, err := Check(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func (r *run) write(e Event) {
	if err := r.history.Write(e); err != nil {
		r.t.Fatal(err)
	}
}

// probe writes down when the engine does not answer, or this process, through which
// all connections go, does not run: a machine that has too much to do is a fault, too.
func (r *run) probe() (stop func()) {
	const slow = lease / 6
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			begin := time.Now()
			sleep(ctx, slow/6)
			limited, cancel := context.WithTimeout(ctx, 5*time.Second)
			_ = r.bus.Ping(limited)
			cancel()
			if took := time.Since(begin); took > slow && ctx.Err() == nil {
				_ = r.history.Write(Event{Kind: Stalled, Target: "engine", Took: took.Microseconds()})
			}
		}
	})
	return func() {
		cancel()
		done.Wait()
	}
}

// join makes the subscriptions, so that everything is due to them.
func (r *run) join() {
	for _, topic := range topics {
		for _, name := range []string{"billing", "audit-log"} {
			givenBack := ""
			if name == "audit-log" {
				givenBack = "always"
			}
			if _, err := r.bus.Join(r.t.Context(), topic, name, &beck.JoinOptions{Lease: lease}); err != nil {
				r.t.Fatal(err)
			}
			r.write(Event{Kind: Due, Topic: topic, Sub: name, Role: "subscription", Took: lease.Microseconds(), GivenBack: givenBack})
		}
		for _, name := range []string{"f0", "f1"} {
			r.write(Event{Kind: Due, Topic: topic, Sub: name, Role: "follower"})
		}
	}
	for _, queue := range queues {
		if _, err := r.bus.Join(r.t.Context(), queue, queueSubscription, &beck.JoinOptions{Queue: true, Lease: lease}); err != nil {
			r.t.Fatal(err)
		}
		r.write(Event{Kind: Due, Topic: queue, Sub: queueSubscription, Role: "queue", Took: lease.Microseconds(), GivenBack: "always"})
	}
}

// employ starts the processes: two that publish, two that follow, three that
// consume.
func (r *run) employ() {
	for i := range 2 {
		var list []Publishing
		for j, topic := range topics {
			p := Publishing{Topic: topic, Level: r.level, Every: r.every}
			kinds := []func(Publishing) Publishing{
				func(p Publishing) Publishing { p.Stream = "plain"; return p },
				func(p Publishing) Publishing { p.Stream, p.Keys = "keyed", 5; return p },
				func(p Publishing) Publishing {
					p.Stream, p.Keys, p.Batch, p.Every = "batch", 7, 8, 4*p.Every
					return p
				},
				func(p Publishing) Publishing { p.Stream, p.Delay = "delayed", 2*time.Second; return p },
				func(p Publishing) Publishing { p.Stream, p.Once, p.Keys = "once", true, 3; return p },
				func(p Publishing) Publishing {
					p.Stream, p.Once, p.Batch, p.Every = "once-batch", true, 5, 4*p.Every
					return p
				},
			}
			// Half of the kinds for each topic by one process, half by the other.
			for k, kind := range kinds {
				if (k+j)%2 == i {
					list = append(list, kind(p))
				}
			}
		}
		queue := Publishing{Topic: queues[i], Queue: true, Level: r.level, Every: r.every}
		delayed, once := queue, queue
		queue.Stream, queue.Keys = "push", 4
		delayed.Stream, delayed.Delay = "push-delayed", time.Second
		once.Stream, once.Once = "push-once", true
		r.begin(fmt.Sprint("publisher", i), Role{Publish: append(list, queue, delayed, once)})
	}
	for i := range 2 {
		var list []Following
		for _, topic := range topics {
			list = append(list, Following{Topic: topic, Name: fmt.Sprint("f", i)})
		}
		r.begin(fmt.Sprint("follower", i), Role{Follow: list})
	}
	for i := range 3 {
		var list []Consuming
		for _, topic := range topics {
			list = append(list,
				Consuming{Topic: topic, Name: "billing", Concurrency: 4, Prefetch: 40, Lease: lease, Failing: 30},
				Consuming{Topic: topic, Name: "audit-log", Concurrency: 1, Lease: lease, Failing: 10, Batch: i == 0})
		}
		for _, queue := range queues {
			list = append(list, Consuming{Topic: queue, Name: queueSubscription, Queue: true, Concurrency: 3, Lease: lease, Failing: 30})
		}
		r.begin(fmt.Sprint("consumer", i), Role{Consume: list, Slowness: 4})
	}
}

func (r *run) begin(name string, role Role) {
	role.Dir, role.Seed, role.At = r.dir, r.seed, r.at[len(r.workers)%len(r.at)]
	w := &runner{Role: role, name: name}
	r.workers = append(r.workers, w)
	r.launch(w)
}

func (r *run) launch(w *runner) {
	w.Process = fmt.Sprint(w.name, ".", w.life)
	role := w.Role
	for i, p := range role.Publish {
		if i == 0 {
			role.Publish = slices.Clone(role.Publish)
		}
		// Each life numbers its messages anew, and no other has its name.
		role.Publish[i].Stream = fmt.Sprint(w.Process, "/", p.Topic, "/", p.Stream)
	}
	w.process = begin(r.t, r.dir, w.Process, roleVariable+"="+role.Text())
	w.life++
}

// restart starts a process anew after it was killed. Followers go on where they
// were.
func (r *run) restart(w *runner) {
	if len(w.Follow) > 0 {
		var files []string
		for life := range w.life {
			files = append(files, filepath.Join(r.dir, fmt.Sprint(w.name, ".", life, suffix)))
		}
		for i, f := range w.Follow {
			from, err := Resume(files, f.Topic, f.Name)
			if err != nil {
				r.t.Fatal(err)
			}
			w.Follow[i].From = from
		}
	}
	r.launch(w)
}

func (r *run) worker(process string) *runner {
	i := slices.IndexFunc(r.workers, func(w *runner) bool { return w.Process == process })
	if i < 0 {
		r.t.Fatalf("there is no process %q", process)
	}
	return r.workers[i]
}

// torment injects faults for the length of the run.
func (r *run) torment() {
	n := &nemesis{run: r, chance: rand.New(rand.NewPCG(r.seed, 2))}
	for _, f := range append(processFaults(), r.faults...) {
		if r.keeps && f.harm == Destroys {
			continue
		}
		if len(r.only) == 0 || slices.ContainsFunc(r.only, func(part string) bool { return strings.Contains(f.name, part) }) {
			n.faults = append(n.faults, f)
		}
	}
	n.refill()
	slices.SortStableFunc(n.queue, func(a, b fault) int {
		rank := func(f fault) int { return (slices.Index(r.first, f.name) + len(r.first) + 1) % (len(r.first) + 1) }
		return rank(a) - rank(b)
	})
	begin := time.Now()
	for time.Since(begin) < r.length {
		time.Sleep(r.calm/2 + time.Duration(n.chance.Int64N(int64(r.calm))))
		n.torment()
	}
}

// Bounds of the time at the end, which depends on how fast the machine is.
const (
	endTime   = 60 * time.Second
	drainTime = 60 * time.Second
)

// finish ends the publishers, publishes the last messages, and waits until all is
// delivered.
func (r *run) finish() {
	r.each("publisher", (*process).end)
	r.each("publisher", func(p *process) { p.ended(endTime) })
	ctx, cancel := context.WithTimeout(r.t.Context(), endTime)
	defer cancel()
	audit := Role{Process: "audit.0", Dir: r.dir}
	r.awaitDelayed(ctx)
	for _, topic := range topics {
		w := &worker{bus: r.bus, history: r.history, rest: ctx}
		end := Publishing{Stream: End + "." + topic, Topic: topic, Level: r.level, Once: true}
		for w.attempt(end, 1, end.messages(1, 1, r.chance)) != nil && sleep(ctx, retryPause) {
		}
		audit.Follow = append(audit.Follow, Following{Topic: topic, Name: Audit})
	}
	if err := audit.Run(ctx, opener(r.direct, r.log)); err != nil || ctx.Err() != nil {
		r.t.Errorf("reading everything at the end: %v, %v", err, ctx.Err())
	}
	r.each("follower", func(p *process) { p.ended(endTime) })
	left := r.drain()
	for _, text := range left {
		r.write(Event{Kind: Left, Text: text})
	}
	r.each("consumer", (*process).end)
	r.each("consumer", func(p *process) { p.ended(endTime) })
}

func (r *run) each(kind string, do func(*process)) {
	for _, w := range r.workers {
		if strings.HasPrefix(w.name, kind) {
			do(w.process)
		}
	}
}

// awaitDelayed waits until all delayed messages have entered their topics, so that
// the last message of a topic comes last.
func (r *run) awaitDelayed(ctx context.Context) {
	for {
		waiting := int64(0)
		for _, topic := range topics {
			info, err := r.bus.Topic(ctx, topic)
			if err != nil && ctx.Err() == nil {
				waiting++
			} else if err == nil {
				waiting += info.Delayed
			}
		}
		if waiting == 0 || !sleep(ctx, 50*time.Millisecond) {
			return
		}
	}
}

// drain waits until nobody has anything to deliver, and says what is left if that
// does not come.
func (r *run) drain() (left []string) {
	for begin := time.Now(); time.Since(begin) < drainTime; time.Sleep(100 * time.Millisecond) {
		left = nil
		for _, topic := range slices.Concat(topics, queues) {
			info, err := r.bus.Topic(r.t.Context(), topic)
			if err != nil {
				left = append(left, err.Error())
				continue
			}
			if info.Delayed > 0 {
				left = append(left, fmt.Sprintf("%s: %d delayed messages", topic, info.Delayed))
			}
			for _, s := range info.Subscriptions {
				if s.Lag > 0 || s.Pending > 0 || s.Waiting > 0 || s.Dead > 0 {
					left = append(left, fmt.Sprintf("%s: %s has %d to be delivered, %d pending, %d waiting, %d dead",
						topic, s.Name, s.Lag, s.Pending, s.Waiting, s.Dead))
				}
			}
			if info.Queue && info.Length > 0 {
				left = append(left, fmt.Sprintf("%s: %d tasks", topic, info.Length))
			}
		}
		if len(left) == 0 {
			return nil
		}
	}
	return left
}

// historyDir is where the histories go: to a directory that stays if the environment
// names one.
func historyDir(t *testing.T) string {
	parent := os.Getenv(dirVariable)
	if parent == "" {
		return t.TempDir()
	}
	dir := historyPath(t, parent)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func historyPath(t *testing.T, parent string) string {
	return filepath.Join(parent, filepath.Base(t.Name())+".history")
}
