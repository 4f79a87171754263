package ondisk

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// A bounded queue that is full most of the time, with an old task held, needs no
// more memory as tasks pass through.
func TestFrontStaysSmall(t *testing.T) {
	for _, drops := range []bool{false, true} {
		e := open(t, "db", inMemory())
		if err := e.Configure(t.Context(), "q", driver.TopicConfig{MaxMessages: 20, DropOldest: drops}); err != nil {
			t.Fatal(err)
		}
		makeQueue(t, e, "q")
		publish(t, e, "q", bodies(0, 1)...)
		fetch(t, e, "q", workers, "slow", 1)
		for i := range 1500 {
			_, err := e.Append(t.Context(), "q", bodies(i*10, 10))
			if err != nil && (drops || !errors.Is(err, driver.ErrTopicFull)) {
				t.Fatal(err)
			}
			f := fetch(t, e, "q", workers, "c", 5)
			settle(t, e, "q", workers, "c", each(driver.Acknowledge, idsOf(f.Messages)...)...)
		}
		audit(t, e)
		if n := len(e.find("q").front); n > frontSize+frontPage {
			t.Errorf("dropping %v: the front has %d places", drops, n)
		}
		if n := topicInfo(t, e, "q").Length; n > 20 {
			t.Errorf("dropping %v: %d messages", drops, n)
		}
		if err := e.DeleteTopic(t.Context(), "q"); err != nil {
			t.Fatal(err)
		}
	}
}

// A bound far below what is stored is reached in steps.
func TestBoundFarBelow(t *testing.T) {
	e := open(t, "db", inMemory())
	for range 3 {
		publish(t, e, "a", bodies(0, 5000)...)
	}
	if err := e.Configure(t.Context(), "a", driver.TopicConfig{MaxMessages: 10}); err != nil {
		t.Fatal(err)
	}
	publish(t, e, "a", bodies(0, 25)...)
	if got := text(readAll(t, e, "a")); got != "15 16 17 18 19 20 21 22 23 24 " {
		t.Errorf("left %q", got)
	}
	audit(t, e)
}

// So it is for a tick of a schedule.
func TestTickFarAboveBound(t *testing.T) {
	e := open(t, "db", inMemory())
	publish(t, e, "a", bodies(0, 10_000)...)
	s := driver.Schedule{Name: "n", Topic: "a", Last: time.UnixMilli(1)}
	if err := errors.Join(e.Configure(t.Context(), "a", driver.TopicConfig{MaxMessages: 2}), e.PutSchedule(t.Context(), s)); err != nil {
		t.Fatal(err)
	}
	if _, done, err := e.Tick(t.Context(), s, time.UnixMilli(2), bodies(7, 1)[0]); !done || err != nil {
		t.Errorf("done %v, %v", done, err)
	}
	if got := text(readAll(t, e, "a")); got != "9999 7 " {
		t.Errorf("left %q", got)
	}
	audit(t, e)
}

// A delayed message that is larger than its topic may ever be would keep all
// behind it from entering.
func TestDelayedTooLarge(t *testing.T) {
	clock := newMovingClock()
	e := open(t, "db", settings{fs: vfs.NewMem(), reserve: 1, now: clock.now})
	if err := e.Configure(t.Context(), "a", driver.TopicConfig{MaxBytes: 200}); err != nil {
		t.Fatal(err)
	}
	sized := func(size int) driver.Message { return driver.Message{Body: make([]byte, size), Delay: time.Second} }
	batch := append(bodies(0, 1), delayed("1", time.Minute), sized(180), delayed("never", 0))
	if ids, err := e.Append(t.Context(), "a", batch); len(ids) != 2 || !errors.Is(err, driver.ErrTopicFull) {
		t.Errorf("%v, %v", ids, err)
	}
	// What is let in fits, with all that is added to it.
	largest := 180
	for _, err := e.Append(t.Context(), "a", []driver.Message{sized(largest)}); err != nil; _, err = e.Append(t.Context(), "a", []driver.Message{sized(largest)}) {
		largest--
	}
	clock.forward(time.Second)
	moveAll(t, e, "a")
	if list := readAll(t, e, "a"); len(list[len(list)-1].Body) != largest {
		t.Errorf("%q", text(list))
	}
	clock.forward(time.Minute)
	moveAll(t, e, "a")
	if list := readAll(t, e, "a"); string(list[len(list)-1].Body) != "1" {
		t.Errorf("%q", text(list))
	}
	audit(t, e)
}

// One that became too large when a bound was set waits, and keeps back no others.
func TestDelayedBecameTooLarge(t *testing.T) {
	clock := newMovingClock()
	set := settings{fs: vfs.NewMem(), reserve: 1, now: clock.now}
	e := mustOpen(t, "db", set)
	defer func() { shut(t, e) }()
	there := func(want string, delayed int64) {
		t.Helper()
		moveAll(t, e, "a")
		if got := text(readAll(t, e, "a")); got != want || topicInfo(t, e, "a").Delayed != delayed {
			t.Errorf("%q, want %q; %+v", got, want, topicInfo(t, e, "a"))
		}
		audit(t, e)
	}
	large := strings.Repeat("x", 500)
	publish(t, e, "a", delayed(large, time.Second), delayed("1", 2*time.Second), delayed("2", time.Minute))
	if err := e.Configure(t.Context(), "a", driver.TopicConfig{MaxBytes: 200}); err != nil {
		t.Fatal(err)
	}
	clock.forward(2 * time.Second)
	there("1 ", 2)
	publish(t, e, "a", delayed("3", time.Second))
	clock.forward(time.Second)
	there("1 3 ", 2)
	shut(t, e)
	e = mustOpen(t, "db", set)
	clock.forward(time.Hour)
	there("1 3 2 ", 1)
	publish(t, e, "a", delayed("4", time.Second))
	clock.forward(time.Second)
	there("1 3 2 4 ", 1)
	if err := e.Configure(t.Context(), "a", driver.TopicConfig{}); err != nil {
		t.Fatal(err)
	}
	there("1 3 2 4 "+large+" ", 0)
}

// What is too old goes also from a topic that others remove messages from all the
// time.
func TestTrimWhileOthersRemove(t *testing.T) {
	e := open(t, "db", inMemory())
	const bound = 20_000
	if err := e.Configure(t.Context(), "a", driver.TopicConfig{MaxMessages: bound}); err != nil {
		t.Fatal(err)
	}
	ids := publish(t, e, "a", bodies(0, bound)...)
	ctx, stop := context.WithCancel(t.Context())
	var publishers sync.WaitGroup
	for range 2 {
		publishers.Go(func() {
			for ctx.Err() == nil {
				publish(t, e, "a", bodies(0, 1)...)
			}
		})
	}
	removed, err := e.Trim(t.Context(), "a", driver.Position{Kind: driver.AtID, ID: ids[bound-1]})
	if info := topicInfo(t, e, "a"); err != nil || info.FirstID < ids[bound-1] {
		t.Errorf("removed %d, %v; it begins with %s", removed, err, info.FirstID)
	}
	stop()
	publishers.Wait()
	audit(t, e)
}

// The committer's own way to do so keeps what is needed.
func TestTrimNow(t *testing.T) {
	e := open(t, "db", inMemory())
	ids := publish(t, e, "a", bodies(0, smallSurvey+100)...)
	join(t, e, "a", "s", driver.JoinConfig{From: driver.Position{Kind: driver.AtID, ID: ids[smallSurvey+49]}})
	for _, want := range []struct {
		count uint64
		more  bool
	}{{smallSurvey, true}, {50, false}, {0, false}} {
		r := &trimming{engine: e, name: "a", limit: streamid.Max}
		if err := r.trimNow(t.Context()); err != nil || r.cut.count != want.count || r.cut.more != want.more {
			t.Errorf("%+v, %v, want %+v", r.cut, err, want)
		}
		audit(t, e)
	}
	if info := topicInfo(t, e, "a"); info.Length != 50 || info.FirstID != ids[smallSurvey+50] {
		t.Errorf("%+v", info)
	}
}
