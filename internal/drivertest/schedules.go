package drivertest

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

func scheduleCases() []Case {
	return []Case{
		{Name: "listed", Promise: "schedules are listed by name, as they were put, with the time of their last tick to the millisecond", run: schedulesListed},
		{Name: "replaced", Promise: "a schedule takes the place of the one with its name, and has another version", run: schedulesReplaced},
		{Name: "deleted", Promise: "a deleted schedule is gone; one that is not there is ErrScheduleNotFound", run: schedulesDeleted},
		{Name: "tick", Promise: "a tick publishes its message and is remembered; the same tick, or an earlier one, does nothing", run: schedulesTick},
		{Name: "once", Promise: "each tick is published once, however many try at a time", run: schedulesOnce},
		{Name: "stale", Promise: "a tick of a schedule that was replaced or deleted meanwhile does nothing", run: schedulesStale},
		{Name: "wakes", Promise: "a tick wakes those who watch its topic, and makes the topic", run: schedulesWake},
		{Name: "full topic", Promise: "a tick into a full topic is refused with ErrTopicFull, and is due still", run: schedulesFull},
		{Name: "restart", needs: needReopen, Promise: "schedules, and what of them was published, survive a restart", run: schedulesRestart},
	}
}

// beat is when the ticks of these cases begin.
var beat = time.Date(2030, 1, 2, 3, 4, 5, 678e6, time.UTC)

// tickBody is the body of the messages of these cases.
const tickBody = "tick"

// schedule is one as beck makes it.
func schedule(name, topic, version string) driver.Schedule {
	config, err := json.Marshal(map[string]any{"spec": "* * * * *", "body": []byte(tickBody)})
	if err != nil {
		panic(err)
	}
	return driver.Schedule{Name: name, Topic: topic, Version: version, Config: config, Last: beat}
}

func (t *T) put(s driver.Schedule) {
	t.Helper()
	t.do("PutSchedule "+s.Name, func(ctx context.Context) error { return t.engine.PutSchedule(ctx, s) })
}

func (t *T) schedules() (list []driver.Schedule) {
	t.Helper()
	t.do("Schedules", func(ctx context.Context) (err error) {
		list, err = t.engine.Schedules(ctx)
		return err
	})
	return list
}

// scheduled puts a schedule, and returns it as it is listed.
func (t *T) scheduled(name, topic, version string) driver.Schedule {
	t.Helper()
	t.put(schedule(name, topic, version))
	for _, s := range t.schedules() {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("the schedule %s is not listed", name)
	return driver.Schedule{}
}

func (t *T) tick(s driver.Schedule, tick time.Time) (id string, done bool) {
	t.Helper()
	t.do("Tick of "+s.Name, func(ctx context.Context) (err error) {
		id, done, err = t.engine.Tick(ctx, s, tick, driver.Message{Body: []byte(tickBody)})
		return err
	})
	if done != (id != "") {
		t.Fatalf("Tick says that it was done: %v, and returns the id %q", done, id)
	}
	return id, done
}

func schedulesListed(t *T) {
	if list := t.schedules(); len(list) != 0 {
		t.Fatalf("there are schedules: %v, want none", list)
	}
	want := []string{"a", "b.1", "c:2"}
	for _, i := range []int{2, 0, 1} {
		t.put(schedule(want[i], orders, "v"))
	}
	list := t.schedules()
	if len(list) != len(want) {
		t.Fatalf("%d schedules are listed, want %d", len(list), len(want))
	}
	for i, s := range list {
		var config struct {
			Spec string `json:"spec"`
			Body []byte `json:"body"`
		}
		if err := json.Unmarshal(s.Config, &config); err != nil {
			t.Fatalf("the configuration came back as %q: %v", s.Config, err)
		}
		if s.Name != want[i] || s.Topic != orders || s.Version == "" || !s.Last.Equal(beat) || config.Spec != "* * * * *" || string(config.Body) != tickBody {
			t.Errorf("schedule %d is %+v with %s, want %s of %s at %v", i, s, s.Config, want[i], orders, beat)
		}
	}
}

func schedulesReplaced(t *T) {
	first := t.scheduled("a", orders, "v1")
	if _, done := t.tick(first, beat.Add(time.Hour)); !done {
		t.Fatalf("Tick is not done")
	}
	second := t.scheduled("a", "other", "v2")
	if second.Version == first.Version || second.Topic != "other" || !second.Last.Equal(beat) {
		t.Errorf("it is %+v, want another version than %s, the topic other, and the time given", second, first.Version)
	}
	if n := len(t.schedules()); n != 1 {
		t.Errorf("there are %d schedules, want 1", n)
	}
	if _, done := t.tick(second, beat.Add(time.Minute)); !done {
		t.Errorf("a tick of the new one is not done, though it is behind its Last")
	}
	t.left("other", 1)
}

func schedulesDeleted(t *T) {
	t.scheduled("a", orders, "v")
	t.scheduled("b", orders, "v")
	remove := func(ctx context.Context) error { return t.engine.DeleteSchedule(ctx, "a") }
	t.do("DeleteSchedule", remove)
	t.wantErr("DeleteSchedule once more", remove, driver.ErrScheduleNotFound)
	if list := t.schedules(); len(list) != 1 || list[0].Name != "b" {
		t.Errorf("schedules are %v, want b alone", list)
	}
}

func schedulesTick(t *T) {
	s := t.scheduled("a", orders, "v")
	var ids []string
	for _, c := range []struct {
		tick time.Time
		done bool
	}{
		{beat.Add(-time.Hour), false}, {beat, false}, {beat.Add(time.Second), true}, {beat.Add(time.Second), false},
		{beat.Add(time.Second / 2), false}, {beat.Add(time.Hour), true}, {beat.Add(time.Minute), false}, {beat.Add(time.Hour + time.Millisecond), true},
	} {
		id, done := t.tick(s, c.tick)
		if done != c.done {
			t.Errorf("the tick of %v is done: %v, want %v", c.tick, done, c.done)
		}
		if done {
			ids = append(ids, id)
		}
	}
	got := t.readAll(orders, start)
	t.wantIDs("the topic", got, ids...)
	t.wantBodies("the topic", got, tickBody, tickBody, tickBody)
	if last := t.schedules()[0].Last; !last.Equal(beat.Add(time.Hour + time.Millisecond)) {
		t.Errorf("the last tick is %v, want that of %v", last, beat.Add(time.Hour+time.Millisecond))
	}
}

func schedulesOnce(t *T) {
	const crew, ticks = 6, 20
	s := t.scheduled("a", orders, "v")
	var done atomic.Int64
	var wg sync.WaitGroup
	for range crew {
		wg.Go(func() {
			for i := range ticks {
				ctx, cancel := t.ctx()
				_, did, err := t.engine.Tick(ctx, s, beat.Add(time.Duration(i+1)*time.Second), driver.Message{Body: []byte(tickBody)})
				cancel()
				if err != nil {
					t.Errorf("Tick: %v", err)
				}
				if did {
					done.Add(1)
				}
			}
		})
	}
	wg.Wait()
	// Nobody tries a tick before the one before it is published, so none is left out.
	if n := done.Load(); n != ticks {
		t.Errorf("%d ticks say that they were done, want %d", n, ticks)
	}
	t.left(orders, ticks)
}

func schedulesStale(t *T) {
	first := t.scheduled("a", orders, "v1")
	t.scheduled("a", orders, "v2")
	if _, done := t.tick(first, beat.Add(time.Second)); done {
		t.Errorf("a tick of a schedule that was replaced is done")
	}
	gone := t.scheduled("b", orders, "v1")
	t.do("DeleteSchedule", func(ctx context.Context) error { return t.engine.DeleteSchedule(ctx, "b") })
	t.wantErr("Tick of a schedule that was deleted", func(ctx context.Context) error {
		_, done, err := t.engine.Tick(ctx, gone, beat.Add(time.Second), driver.Message{Body: []byte(tickBody)})
		if err == nil && !done {
			return driver.ErrScheduleNotFound // either will do
		}
		return err
	}, driver.ErrScheduleNotFound)
	ctx, cancel := t.ctx()
	defer cancel()
	if page, err := t.engine.Read(ctx, orders, start, 10); err != nil || len(page.Messages) > 0 {
		t.Errorf("the topic has %d messages, %v, want none", len(page.Messages), err)
	}
}

func schedulesWake(t *T) {
	s := t.scheduled("a", orders, "v")
	hints := t.watch(orders)
	for i := range 5 {
		drain(hints)
		t.read(orders, start, 10)
		t.tick(s, beat.Add(time.Duration(i+1)*time.Second))
		t.hinted(hints, fmt.Sprintf("tick %d", i+1))
	}
	t.left(orders, 5)
}

func schedulesFull(t *T) {
	s := t.scheduled("a", orders, "v")
	t.joinStart(orders, billing, long)
	t.bounded(orders, 1, false)
	t.append(orders, "a")
	next := beat.Add(time.Second)
	t.wantErr("Tick into a full topic", func(ctx context.Context) error {
		_, _, err := t.engine.Tick(ctx, s, next, driver.Message{Body: []byte(tickBody)})
		return err
	}, driver.ErrTopicFull)
	if last := t.schedules()[0].Last; !last.Equal(beat) {
		t.Errorf("the last tick is %v, want %v: the next was refused", last, beat)
	}
	t.done(orders, billing, 1)
	if _, done := t.tick(s, next); !done {
		t.Errorf("the tick that was refused is not done now that there is room")
	}
	t.wantBodies("what comes", t.take(orders, billing, "c", 1), tickBody)
}

func schedulesRestart(t *T) {
	s := t.scheduled("a", orders, "v")
	t.scheduled("b", orders, "v")
	next := beat.Add(time.Second)
	t.tick(s, next)
	t.reopen()
	list := t.schedules()
	if len(list) != 2 || !list[0].Last.Equal(next) || list[0].Version != s.Version || string(list[0].Config) != string(s.Config) || !list[1].Last.Equal(beat) {
		t.Fatalf("after a restart there are %+v, want a, last at %v, and b, last at %v", list, next, beat)
	}
	if _, done := t.tick(s, next); done {
		t.Errorf("after a restart the tick is done once more")
	}
	if _, done := t.tick(s, next.Add(time.Second)); !done {
		t.Errorf("after a restart the next tick is not done")
	}
	t.left(orders, 2)
}
