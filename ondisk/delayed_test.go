package ondisk

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/beckmq/beck/internal/driver"
)

func delayed(body string, delay time.Duration) driver.Message {
	return driver.Message{Body: []byte(body), Delay: delay}
}

// moveAll has all enter that is due and finds room.
func moveAll(t *testing.T, e *engine, topic string) {
	t.Helper()
	for due := e.find(topic).nextDue.Load(); due != 0 && due <= e.now().UnixMilli(); due = e.find(topic).nextDue.Load() {
		if err := e.move(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
	}
}

// Delayed messages enter by themselves, in time and never early, though nobody
// reads, watches or fetches.
func TestDelayedEnterByThemselves(t *testing.T) {
	e := open(t, "db", inMemory())
	const count = 50
	published := map[string]time.Time{}
	var messages []driver.Message
	for i := range count {
		messages = append(messages, delayed(fmt.Sprint(i), time.Duration(20+(i*37)%300)*time.Millisecond))
	}
	start := time.Now()
	for i, id := range publish(t, e, "a", messages...) {
		published[id] = start.Add(messages[i].Delay)
	}
	// A topic with later ones must not hold up others.
	publish(t, e, "b", delayed("b", 200*time.Millisecond), delayed("far", time.Hour))
	deadline := time.Now().Add(20 * time.Second)
	for len(readAll(t, e, "a")) < count || len(readAll(t, e, "b")) < 1 {
		if time.Now().After(deadline) {
			t.Fatalf("%d messages have come", len(readAll(t, e, "a")))
		}
		time.Sleep(5 * time.Millisecond)
	}
	all := readAll(t, e, "a")
	for _, m := range all {
		due, ok := published[m.Headers[delayedHeader]]
		if early := due.Sub(m.Time); !ok || early > 0 {
			t.Errorf("%s: %v, %v early", m.ID, m.Headers, early)
		}
		delete(published, m.Headers[delayedHeader])
	}
	if info := topicInfo(t, e, "b"); info.Delayed != 1 || info.Length != 1 || len(published) > 0 {
		t.Errorf("%+v", info)
	}
	audit(t, e)
}

// What is due while the directory is closed enters when it is opened, in order.
func TestDelayedOverRestart(t *testing.T) {
	clock := newMovingClock()
	set := settings{fs: vfs.NewMem(), reserve: 1, now: clock.now}
	e := mustOpen(t, "db", set)
	ids := publish(t, e, "a", delayed("3", 3*time.Minute), delayed("1", time.Minute), driver.Message{Body: []byte("0")}, delayed("2", 2*time.Minute))
	if !slices.IsSorted([]string{ids[1], ids[3], ids[0]}) {
		t.Errorf("ids %v", ids)
	}
	shut(t, e)
	clock.forward(2 * time.Minute)
	e = mustOpen(t, "db", set)
	defer func() { shut(t, e) }()
	join(t, e, "a", "s", driver.JoinConfig{})
	f := fetch(t, e, "a", "s", "c", 10)
	if got := text(f.Messages); got != "0/1 1/1 2/1 " || f.Next != 30*time.Second {
		t.Errorf("fetched %q, next after %v", got, f.Next)
	}
	// Nothing of it comes twice.
	shut(t, e)
	e = mustOpen(t, "db", set)
	if info := topicInfo(t, e, "a"); info.Length != 3 || info.Delayed != 1 {
		t.Errorf("%+v", info)
	}
	clock.forward(time.Minute)
	f = fetch(t, e, "a", "s", "d", 10)
	if got := text(f.Messages); got != "0/2 1/2 2/2 3/1 " {
		t.Errorf("fetched %q", got)
	}
	audit(t, e)
}

// Whoever fetches gets what is due, though the disk is still busy with moving it.
func TestDelayedWhileMoving(t *testing.T) {
	clock := newMovingClock()
	release := make(chan struct{})
	slow := &faults{fails: onLog(func(op errorfs.Op) bool {
		if op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo {
			<-release
		}
		return false
	})}
	e := open(t, "db", settings{fs: errorfs.Wrap(vfs.NewMem(), slow), reserve: 1, now: clock.now})
	join(t, e, "a", "s", driver.JoinConfig{})
	publish(t, e, "a", delayed("0", time.Minute), delayed("1", time.Hour))
	clock.forward(time.Minute)
	slow.armed.Store(true)
	before := e.applied.Load()
	moved := make(chan error, 1)
	go func() { moved <- e.move(t.Context(), "a") }()
	for deadline := time.Now().Add(20 * time.Second); e.applied.Load() == before && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	time.AfterFunc(50*time.Millisecond, func() { close(release) })
	if got := text(fetch(t, e, "a", "s", "c", 10).Messages); got != "0/1 " {
		t.Errorf("fetched %q", got)
	}
	if err := <-moved; err != nil {
		t.Error(err)
	}
}

// A full topic takes what is delayed as soon as it has room, and blocks nothing.
func TestDelayedInFullTopic(t *testing.T) {
	clock := newMovingClock()
	e := open(t, "db", settings{fs: vfs.NewMem(), reserve: 1, now: clock.now})
	if err := e.Configure(t.Context(), "q", driver.TopicConfig{MaxMessages: 2}); err != nil {
		t.Fatal(err)
	}
	makeQueue(t, e, "q")
	publish(t, e, "q", bodies(0, 2)...)
	publish(t, e, "q", delayed("2", time.Second), delayed("3", time.Second), delayed("4", time.Second))
	clock.forward(time.Minute)
	f := fetch(t, e, "q", workers, "c", 10)
	if got := text(f.Messages); got != "0/1 1/1 " || f.Next <= 0 || f.Next > moveAgain {
		t.Errorf("fetched %q, next after %v", got, f.Next)
	}
	settle(t, e, "q", workers, "c", each(driver.Acknowledge, f.Messages[0].ID)...)
	clock.forward(moveAgain)
	if got := text(fetch(t, e, "q", workers, "c", 10).Messages); got != "2/1 " {
		t.Errorf("fetched %q", got)
	}
	if info := topicInfo(t, e, "q"); info.Delayed != 2 || info.Length != 2 {
		t.Errorf("%+v", info)
	}
	audit(t, e)
}

// While a topic stays full, looking for room in it costs no more with many
// messages that wait for it.
func TestDelayedManyInFullTopic(t *testing.T) {
	clock := newMovingClock()
	e := open(t, "db", settings{fs: vfs.NewMem(), reserve: 1, now: clock.now})
	if err := e.Configure(t.Context(), "q", driver.TopicConfig{MaxMessages: 1}); err != nil {
		t.Fatal(err)
	}
	makeQueue(t, e, "q")
	ids := publish(t, e, "q", bodies(0, 1)...)
	var list []driver.Message
	for i := range 2000 {
		list = append(list, delayed(fmt.Sprint(i), time.Second))
	}
	publish(t, e, "q", list...)
	clock.forward(time.Second)
	allocations := testing.AllocsPerRun(20, func() {
		if err := e.move(t.Context(), "q"); err != nil {
			t.Error(err)
		}
	})
	if allocations > 500 {
		t.Errorf("%v allocations", allocations)
	}
	fetch(t, e, "q", workers, "c", 1)
	settle(t, e, "q", workers, "c", each(driver.Acknowledge, ids...)...)
	if err := e.Configure(t.Context(), "q", driver.TopicConfig{}); err != nil {
		t.Fatal(err)
	}
	clock.forward(moveAgain)
	moveAll(t, e, "q")
	if info := topicInfo(t, e, "q"); info.Delayed != 0 || info.Length != 2000 {
		t.Errorf("%+v", info)
	}
	audit(t, e)
}

func TestCancel(t *testing.T) {
	e := open(t, "db", inMemory())
	ids := publish(t, e, "a", delayed("0", time.Hour), delayed("1", 2*time.Hour), delayed("2", 3*time.Hour))
	stored := publish(t, e, "a", bodies(3, 1)...)
	cancel := func(want []string, ids ...string) {
		t.Helper()
		missing, err := e.Cancel(t.Context(), "a", ids)
		if err != nil || !slices.Equal(missing, want) {
			t.Errorf("cancelling %v: missing %v, %v", ids, missing, err)
		}
		audit(t, e)
	}
	cancel([]string{stored[0], "nonsense", "d1-1"}, ids[0], stored[0], "nonsense", "d1-1")
	cancel([]string{ids[0]}, ids[0])
	cancel(nil, ids[2])
	p, err := e.Peek(t.Context(), "a", "", driver.PeekRequest{State: driver.Delayed, After: ids[0], Max: 10})
	if err != nil || len(p.Entries) != 1 || p.Entries[0].Message.ID != ids[1] || string(p.Entries[0].Message.Body) != "1" {
		t.Errorf("%+v, %v", p, err)
	}
	cancel(nil, ids[1])
}

// A million delayed messages cost neither memory nor time of those who read.
func TestManyDelayed(t *testing.T) {
	if testing.Short() {
		t.Skip("it publishes 300,000 messages")
	}
	const count, batch = 300_000, 10_000
	dir := t.TempDir()
	e := mustOpen(t, dir, settings{})
	messages := make([]driver.Message, batch)
	memory := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before, start := memory(), time.Now()
	for i := range count / batch {
		for j := range messages {
			messages[j] = delayed("a body of a usual size for a test", time.Hour+time.Duration(i*batch+j)*time.Millisecond)
		}
		publish(t, e, "a", messages...)
	}
	published := time.Since(start)
	shut(t, e)
	start = time.Now()
	e = open(t, dir, settings{})
	opened := time.Since(start)
	join(t, e, "a", "s", driver.JoinConfig{})
	start = time.Now()
	for range 1000 {
		fetch(t, e, "a", "s", "c", 10)
	}
	fetched := time.Since(start) / 1000
	grown := memory() - before
	t.Logf("published in %v, opened in %v, a fetch takes %v, memory grew by %d KiB", published, opened, fetched, grown>>10)
	if info := topicInfo(t, e, "a"); info.Delayed != count || grown > 8<<20 || opened > 5*time.Second {
		t.Errorf("%+v, memory grew by %d KiB, opened in %v", info, grown>>10, opened)
	}
}
