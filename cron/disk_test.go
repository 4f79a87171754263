package cron

import (
	"context"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/ondisk"
)

// TestOnDisk has an engine that is real, and is closed and opened between.
func TestOnDisk(t *testing.T) {
	dir := t.TempDir()
	reopen := func() *beck.Bus {
		bus, err := ondisk.Open(dir, &ondisk.Options{Options: beck.Options{Logger: quiet}})
		if err != nil {
			t.Fatal(err)
		}
		return bus
	}
	bus := reopen()
	add(t, bus, beck.Schedule{Name: "each", Topic: "seconds", Spec: "* * * * * *"})
	list, err := bus.Schedules(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	first := Next(list[0], list[0].Last)
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 2200*time.Millisecond)
		ended := make(chan error)
		const processes = 3
		for range processes {
			go func() { ended <- Run(ctx, bus, &Options{Logger: quiet}) }()
		}
		for range processes {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		cancel()
		if err := bus.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		bus = reopen()
	}
	defer bus.Close(context.WithoutCancel(t.Context()))
	if list, err = bus.Schedules(t.Context()); err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	if list[0].Last.Before(first.Add(2 * time.Second)) {
		t.Errorf("the last tick is %v, the first %v", list[0].Last, first)
	}
	expect(t, bus, "seconds", first, list[0].Last, time.Second)
	early(t, bus, "seconds", 0)
}
