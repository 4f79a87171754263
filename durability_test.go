package beck_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/drivertest/model"
)

// What the engine sees of each way to publish: the message's own durability, or that
// of the bus.
func TestDurabilityThatTheEngineSees(t *testing.T) {
	var seen []driver.Durability
	engine := model.New(time.Now)
	engine.Durable = func(d driver.Durability) error {
		seen = append(seen, d)
		return nil
	}
	standard := beck.Durability{Replicas: 2, Within: time.Second}
	bus, err := beck.New(engine, &beck.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Durability: standard})
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close(context.WithoutCancel(t.Context()))
	ctx := within(t)
	want := func(what string, err error, want ...driver.Durability) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(seen, want) {
			t.Errorf("%s: the engine saw %+v, %v; want %+v", what, seen, err, want)
		}
		seen = nil
	}
	body := []byte("a")
	own := beck.Durability{Synced: true}
	mine := []beck.Message{{Body: body}, {Body: body, Durability: &own}, {Body: body, Durability: &beck.Durability{}}, {Body: body, Delay: time.Hour}}
	_, err = bus.Publish(ctx, "t", mine...)
	want("Publish", err, standard, own, driver.Durability{}, standard)
	if mine[0].Durability != nil || mine[1].Durability != &own {
		t.Error("the caller's messages were changed")
	}
	_, err = bus.Push(ctx, "q", mine[:2]...)
	want("Push", err, standard, own)

	s := beck.Schedule{Name: "s", Topic: "t", Spec: "@hourly", Version: "v", Last: time.Now().Add(-time.Hour), Message: beck.Message{Body: body}}
	if err := bus.PutSchedule(ctx, s); err != nil {
		t.Fatal(err)
	}
	_, _, err = bus.Tick(ctx, &s, time.Now())
	want("Tick", err, standard)

	// Nothing is stored of a request, and nothing asked.
	_, err = bus.Request(ctx, "service", beck.Message{Body: body})
	if !errors.Is(err, beck.ErrNoReplier) || len(seen) > 0 {
		t.Errorf("Request: the engine saw %+v, %v", seen, err)
	}
	if _, err = bus.Request(ctx, "service", mine[1]); !errors.Is(err, beck.ErrMessage) {
		t.Errorf("Request with a durability: %v, want ErrMessage", err)
	}
	s.Message.Durability = &own
	if err := bus.PutSchedule(ctx, s); !errors.Is(err, beck.ErrMessage) {
		t.Errorf("PutSchedule with a durability: %v, want ErrMessage", err)
	}

	// A bus without one leaves it to the engine.
	plain, err := beck.New(engine, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = plain.Publish(ctx, "t", mine[0])
	if err != nil || len(seen) > 0 {
		t.Errorf("a bus without a durability: the engine saw %+v, %v", seen, err)
	}
}

func TestErrDurabilityTellsTheIDs(t *testing.T) {
	bus, engine := open(t)
	engine.Durable = func(d driver.Durability) error {
		return fmt.Errorf("%w: %d of %d replicas", driver.ErrDurability, 0, d.Replicas)
	}
	m := beck.Message{Body: []byte("a"), Durability: &beck.Durability{Replicas: 1}}
	ids, err := bus.Publish(within(t), "t", m, m)
	if len(ids) != 2 || !errors.Is(err, beck.ErrDurability) {
		t.Fatalf("%q, %v", ids, err)
	}
	want := "beck: publish t: stored as " + ids[0] + ", " + ids[1] + ", but not as durably as asked: model: 0 of 1 replicas"
	if err.Error() != want {
		t.Errorf("the error is\n%v, want\n%s", err, want)
	}
}
