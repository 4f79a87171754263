package ondisk

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beckmq/beck/internal/driver"
)

// Each tick is published once, by whom ever, and over restarts.
func TestTicks(t *testing.T) {
	set := settings{fs: vfs.NewMem(), reserve: 1}
	e := mustOpen(t, "db", set)
	defer func() { shut(t, e) }()
	start := time.UnixMilli(1_800_000_000_000).UTC()
	s := driver.Schedule{Name: "nightly", Topic: "a", Version: "v1", Config: []byte("config"), Last: start}
	if err := e.PutSchedule(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	var done atomic.Int64
	for minute := range 10 {
		if minute == 5 {
			shut(t, e)
			e = mustOpen(t, "db", set)
		}
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				id, ok, err := e.Tick(t.Context(), s, start.Add(time.Duration(minute)*time.Minute), bodies(minute, 1)[0])
				if err != nil || ok != (id != "") {
					t.Errorf("tick: %q %v %v", id, ok, err)
				}
				if ok {
					done.Add(1)
				}
			})
		}
		all.Wait()
	}
	if got := text(readAll(t, e, "a")); got != "1 2 3 4 5 6 7 8 9 " || done.Load() != 9 {
		t.Errorf("published %q, %d times done", got, done.Load())
	}
	list, err := e.Schedules(t.Context())
	if err != nil || len(list) != 1 || !list[0].Last.Equal(start.Add(9*time.Minute)) || string(list[0].Config) != "config" {
		t.Errorf("%+v, %v", list, err)
	}
	s.Version = "v2"
	if _, ok, err := e.Tick(t.Context(), s, start.Add(time.Hour), bodies(0, 1)[0]); ok || err != nil {
		t.Errorf("a schedule that was replaced: %v %v", ok, err)
	}
	if err := errors.Join(e.PutSchedule(t.Context(), s), e.PutSchedule(t.Context(), driver.Schedule{Name: "b", Topic: "a", Last: start})); err != nil {
		t.Fatal(err)
	}
	list, err = e.Schedules(t.Context())
	if names := []string{list[0].Name, list[1].Name}; err != nil || !slices.Equal(names, []string{"b", "nightly"}) || list[1].Version != "v2" {
		t.Errorf("%+v, %v", list, err)
	}
	if err := e.DeleteSchedule(t.Context(), "nightly"); err != nil {
		t.Fatal(err)
	}
	if err := e.DeleteSchedule(t.Context(), "nightly"); !errors.Is(err, driver.ErrScheduleNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	if _, ok, err := e.Tick(t.Context(), s, start.Add(2*time.Hour), bodies(0, 1)[0]); ok || err != nil {
		t.Errorf("a schedule that was deleted: %v %v", ok, err)
	}
	audit(t, e)
}

// A tick that finds its topic full is not done, and can be tried again.
func TestTickInFullTopic(t *testing.T) {
	e := open(t, "db", inMemory())
	if err := e.Configure(t.Context(), "q", driver.TopicConfig{MaxMessages: 1}); err != nil {
		t.Fatal(err)
	}
	makeQueue(t, e, "q")
	ids := publish(t, e, "q", bodies(0, 1)...)
	start := time.UnixMilli(1_800_000_000_000)
	s := driver.Schedule{Name: "n", Topic: "q", Last: start}
	if err := e.PutSchedule(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	tick := start.Add(time.Minute)
	if _, done, err := e.Tick(t.Context(), s, tick, bodies(1, 1)[0]); done || !errors.Is(err, driver.ErrTopicFull) {
		t.Errorf("done %v, %v", done, err)
	}
	fetch(t, e, "q", workers, "c", 1)
	settle(t, e, "q", workers, "c", each(driver.Acknowledge, ids...)...)
	if _, done, err := e.Tick(t.Context(), s, tick, bodies(1, 1)[0]); !done || err != nil {
		t.Errorf("done %v, %v", done, err)
	}
	audit(t, e)
}
