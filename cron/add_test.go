package cron

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/drivertest/model"
)

// A program that adds its schedules whenever it starts must not lose what was
// missed while it was away.
func TestAddedAgainMissesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := model.New(time.Now)
		bus := open(t, engine)
		begin := start()
		s := beck.Schedule{
			Name: "s", Topic: "minutes", Spec: "* * * * *", Missed: All,
			Message: beck.Message{Headers: map[string]string{"Kind": "x"}},
		}
		add(t, bus, s)
		time.Sleep(10*time.Minute + time.Second)
		add(t, bus, s)
		// Other messages in other places, at the same times.
		s.Message.Key = "k"
		add(t, bus, s)
		stop := runs(t, engine, 1)
		time.Sleep(5 * time.Second)
		stop[0]()
		expect(t, bus, "minutes", begin.Add(time.Minute), begin.Add(10*time.Minute), time.Minute)

		// A tick that is due at the moment is neither lost nor published twice.
		time.Sleep(time.Until(begin.Add(11 * time.Minute)))
		add(t, bus, s)
		stop = runs(t, engine, 1)
		time.Sleep(100 * time.Millisecond)
		add(t, bus, s)
		time.Sleep(5 * time.Second)
		stop[0]()
		expect(t, bus, "minutes", begin.Add(time.Minute), begin.Add(11*time.Minute), time.Minute)
	})
}

func TestAddedAgainDoesNotPutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := model.New(time.Now)
		bus := open(t, engine)
		begin := start()
		for range 10 {
			add(t, bus, beck.Schedule{Name: "s", Topic: "every", Spec: "@every 30s"})
			stop := runs(t, engine, 1)
			time.Sleep(20 * time.Second)
			stop[0]()
		}
		expect(t, bus, "every", begin.Add(30*time.Second), begin.Add(180*time.Second), 30*time.Second)
	})
}

func TestAddReplaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := open(t, model.New(time.Now))
		list := func() beck.Schedule {
			list, err := bus.Schedules(t.Context())
			if err != nil || len(list) != 1 {
				t.Fatalf("%d schedules: %v", len(list), err)
			}
			return *list[0]
		}
		s := beck.Schedule{Name: "s", Topic: "t", Spec: "@daily", Message: beck.Message{Headers: map[string]string{"Kind": "x"}}}
		add(t, bus, s)
		last := list()
		for _, c := range []struct {
			what          string
			change        func()
			put, goesFrom bool // it is put anew; its Last is
		}{
			{"nothing", func() {}, false, false},
			{"the default's name", func() { s.Missed = Once }, false, false},
			{"a header's case", func() { s.Message.Headers = map[string]string{"kind": "x"} }, false, false},
			{"a header", func() { s.Message.Headers = map[string]string{"kind": "y"} }, true, false},
			{"the key", func() { s.Message.Key = "k" }, true, false},
			{"the topic", func() { s.Topic = "u" }, true, false},
			{"the policy", func() { s.Missed = All }, true, false},
			{"the zone", func() { s.Zone = "Europe/Berlin" }, true, true},
			{"the spec", func() { s.Spec = "@hourly" }, true, true},
			{"the last tick", func() { s.Last = time.Now().Add(-time.Hour) }, true, true},
			{"no last tick", func() { s.Last = time.Time{} }, false, false},
		} {
			time.Sleep(time.Minute)
			c.change()
			add(t, bus, s)
			now := list()
			if put := now.Version != last.Version; put != c.put {
				t.Errorf("%s is changed, and it is put: %v", c.what, put)
			}
			if moved := !now.Last.Equal(last.Last); moved != c.goesFrom {
				t.Errorf("%s is changed, and Last goes from %v to %v", c.what, last.Last, now.Last)
			}
			last = now
		}
	})
}
