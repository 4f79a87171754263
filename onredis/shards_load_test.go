package onredis

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
)

// moverEnv tells a process that a test has started what to move, and where to end.
const moverEnv = "BECK_TEST_MOVER"

// TestMoverProcess is not a test: it is the process of a mover that is killed.
func TestMoverProcess(t *testing.T) {
	text := os.Getenv(moverEnv)
	if text == "" {
		t.Skip("it is for TestReshardUnderLoad")
	}
	args := strings.Split(text, " ") // prefix, from, to, step
	s := &several{}
	r := s.newMover(keys{prefix: args[0]}, strings.Split(args[1], ","), strings.Split(args[2], ","))
	count := 0
	r.step = func(step, _ string) {
		if step != args[3] {
			return
		}
		if count++; count == 2 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	}
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// killMover runs a mover that is killed at a step.
func killMover(t *testing.T, names keys, from, to []string, step string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMoverProcess$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s %s", moverEnv, names.prefix, named(from), named(to), step))
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the mover was not killed when a topic was %s: %v\n%s", step, err, out)
	}
}

// load publishes to topics, and consumes and follows them, and keeps what it saw.
type load struct {
	publishing, consuming *beck.Bus
	topics                []string

	mu        sync.Mutex
	published map[string][]string       // topic → bodies, in the order of their ids for each publisher
	handled   map[string]map[string]int // topic → body → how often
	followed  map[string][]string       // topic → ids
	retried   map[string]bool
	problems  []string
	stall     time.Duration
}

func (l *load) problem(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.problems) < 20 {
		l.problems = append(l.problems, fmt.Sprintf(format, args...))
	}
}

func (l *load) publish(ctx context.Context, publisher int) {
	for n := 0; ctx.Err() == nil; n++ {
		topic := l.topics[n%len(l.topics)]
		if n%50 == 49 {
			topic = fmt.Sprintf("new-%d-%d", publisher, n) // made meanwhile
		}
		var list []beck.Message
		for i := range 1 + n%3 {
			list = append(list, beck.Message{Body: fmt.Appendf(nil, "%d-%d-%d", publisher, n, i)})
		}
		if n%5 == 0 {
			list[0].Delay = 300 * time.Millisecond
		}
		began := time.Now()
		ids, err := l.publishing.Publish(context.WithoutCancel(ctx), topic, list...)
		if err != nil || len(ids) != len(list) {
			l.problem("publishing to %s: %d of %d, %v", topic, len(ids), len(list), err)
			continue
		}
		l.mu.Lock()
		l.stall = max(l.stall, time.Since(began))
		for _, m := range list {
			l.published[topic] = append(l.published[topic], string(m.Body))
		}
		l.mu.Unlock()
		time.Sleep(3 * time.Millisecond)
	}
}

func (l *load) handle(topic string) beck.Handler {
	return func(_ context.Context, m *beck.Message) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		body := string(m.Body)
		if once := topic + " " + body; strings.HasSuffix(body, "7-0") && !l.retried[once] {
			l.retried[once] = true
			return beck.RetryAfter(50 * time.Millisecond)
		}
		l.handled[topic][body]++
		return nil
	}
}

func (l *load) follow(ctx context.Context, topic string) {
	for m, err := range l.consuming.Follow(ctx, topic, beck.FromStart) {
		if err != nil {
			if ctx.Err() == nil {
				l.problem("following %s: %v", topic, err)
			}
			continue
		}
		l.mu.Lock()
		l.followed[topic] = append(l.followed[topic], m.ID)
		l.mu.Unlock()
	}
}

// TestReshardUnderLoad moves topics from two instances to three while programs publish,
// consume and follow. The mover is killed at each of its steps, and run again. Then
// topics are moved back to two.
func TestReshardUnderLoad(t *testing.T) {
	t.Parallel()
	s := startSeveral(t, 3)
	names := keys{prefix: "beck:"}
	l := &load{
		published: map[string][]string{}, handled: map[string]map[string]int{}, followed: map[string][]string{}, retried: map[string]bool{},
	}
	var engines []*shards
	for _, bus := range []**beck.Bus{&l.publishing, &l.consuming} {
		e := s.open(t, names, s.hosts[:2]...)
		engines = append(engines, e)
		var err error
		if *bus, err = beck.New(e, nil); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	publishing, stopPublishing := context.WithCancel(ctx)
	var publishers, readers sync.WaitGroup
	defer func() {
		stop()
		publishers.Wait()
		readers.Wait()
		closing, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := errors.Join(l.publishing.Close(closing), l.consuming.Close(closing)); err != nil {
			t.Error(err)
		}
	}()
	// As many go as stay, and enough for each mover to be killed.
	left := map[bool]int{true: 16, false: 16}
	for i := 0; len(l.topics) < 32; i++ {
		topic := fmt.Sprintf("topic-%d", i)
		if goes := placeOf(s.hosts, topic) == s.hosts[2]; left[goes] > 0 {
			left[goes]--
			l.topics = append(l.topics, topic)
		}
	}
	for i, topic := range l.topics {
		l.handled[topic] = map[string]int{}
		if _, err := engines[0].Join(ctx, topic, "billing", driver.JoinConfig{Lease: 20 * time.Second}); err != nil {
			t.Fatal(err)
		}
		readers.Go(func() {
			if err := l.consuming.Subscribe(ctx, topic, "billing", l.handle(topic), nil); err != nil && ctx.Err() == nil {
				l.problem("subscribing to %s: %v", topic, err)
			}
		})
		if i%4 == 0 {
			readers.Go(func() { l.follow(ctx, topic) })
		}
	}
	for i := range 3 {
		publishers.Go(func() { l.publish(publishing, i) })
	}

	began := time.Now()
	for _, step := range []string{stepFenced, stepCopied, stepDecided, stepArrived, stepCleaned} {
		killMover(t, names, s.hosts[:2], s.hosts, step)
	}
	told := s.reshard(t, names, s.hosts[:2], s.hosts)
	t.Logf("2 to 3: %v with all kills, the last run moved %d topics, %d bytes; longest call %v", time.Since(began), told.Moved, told.Bytes, l.longest())
	s.checkPlaces(t, names, s.hosts)
	began = time.Now()
	told = s.reshard(t, names, s.hosts, s.hosts[:2])
	t.Logf("3 to 2: %v, moved %d topics, %d bytes; longest call %v", time.Since(began), told.Moved, told.Bytes, l.longest())
	s.checkPlaces(t, names, s.hosts[:2])

	stopPublishing()
	publishers.Wait()
	l.check(t, engines[1])
	for _, e := range engines {
		if set := e.set.Load(); set.Generation != 5 || !slices.Equal(set.Instances, sorted(s.hosts[:2])) {
			t.Errorf("an engine goes by %s", set.text())
		}
	}
}

func (l *load) longest() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	longest := l.stall
	l.stall = 0
	return longest
}

// check waits until all is delivered, and compares.
func (l *load) check(t *testing.T, e *shards) {
	t.Helper()
	ctx := t.Context()
	total := 0
	for topic, bodies := range l.published {
		total += len(bodies)
		var stored []string
		var ids []string
		within(t, time.Minute, "all delayed messages of "+topic, func() bool {
			stored, ids = nil, nil
			for from := (driver.Position{}); ; {
				page, err := e.Read(ctx, topic, from, 1000)
				if err != nil {
					t.Fatal(err)
				}
				list := page.Messages
				if from.Kind == driver.AtID && len(list) > 0 {
					list = list[1:]
				}
				for _, m := range list {
					stored, ids = append(stored, string(m.Body)), append(ids, m.ID)
				}
				if len(list) == 0 {
					break
				}
				from = driver.Position{Kind: driver.AtID, ID: list[len(list)-1].ID}
			}
			if len(stored) < len(bodies) && strings.HasPrefix(topic, "new-") {
				_, stop := e.Watch(topic) // nobody else has its delayed ones moved
				time.Sleep(50 * time.Millisecond)
				stop()
			}
			return len(stored) >= len(bodies)
		})
		a, b := slices.Sorted(slices.Values(stored)), slices.Sorted(slices.Values(bodies))
		if !slices.Equal(a, b) {
			t.Errorf("%s has %d messages, and %d were published", topic, len(a), len(b))
		}
		l.mu.Lock()
		_, read := l.followed[topic]
		l.mu.Unlock()
		if read {
			within(t, time.Minute, "the follower of "+topic, func() bool {
				l.mu.Lock()
				defer l.mu.Unlock()
				return len(l.followed[topic]) >= len(ids)
			})
			l.mu.Lock()
			if !slices.Equal(l.followed[topic], ids) {
				t.Errorf("the follower of %s saw %d messages, not the %d that there are in their order", topic, len(l.followed[topic]), len(ids))
			}
			l.mu.Unlock()
		}
		if handled := l.handled[topic]; handled != nil {
			within(t, time.Minute, "all messages of "+topic+" are handled", func() bool {
				l.mu.Lock()
				defer l.mu.Unlock()
				return len(handled) >= len(bodies)
			})
			twice := 0
			l.mu.Lock()
			for _, n := range handled {
				twice += n - 1
			}
			l.mu.Unlock()
			if twice > 0 {
				t.Errorf("%d messages of %s were handled twice", twice, topic)
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.problems {
		t.Error(p)
	}
	t.Logf("%d messages in %d topics", total, len(l.published))
}
