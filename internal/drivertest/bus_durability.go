package drivertest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/beckmq/beck"
)

func busDurabilityCases() []Case {
	return []Case{
		{Name: "of the bus", needs: needMissed, Promise: "a message without a durability has that of its bus, published or pushed; one with its own has that", run: busDurabilityDefault},
		{Name: "told", needs: needMissed, Promise: "ErrDurability says that the messages are stored, and under which ids; they are delivered", run: busDurabilityTold},
		{Name: "bad input", Promise: "a durability that makes no sense is ErrOption, and nothing is stored", run: busDurabilityBad},
	}
}

func busDurabilityDefault(t *T) {
	bus := t.durableBus(*t.h.Durability.Misses)
	ctx, cancel := t.ctx()
	defer cancel()
	plain := beck.Message{Body: []byte("a")}
	written := beck.Message{Body: []byte("b"), Durability: &beck.Durability{}}
	if ids, err := bus.Publish(ctx, orders, plain); !errors.Is(err, beck.ErrDurability) || len(ids) != 1 {
		t.Errorf("Publish: %q, %v; want an id and ErrDurability", ids, err)
	}
	if ids, err := bus.Push(ctx, billing, plain); !errors.Is(err, beck.ErrDurability) || len(ids) != 1 {
		t.Errorf("Push: %q, %v; want an id and ErrDurability", ids, err)
	}
	if ids, err := bus.Publish(ctx, orders, written); err != nil || len(ids) != 1 {
		t.Errorf("Publish of a message that asks for nothing: %q, %v; want an id", ids, err)
	}
	page, err := bus.Read(ctx, orders, beck.FromStart, 10)
	if err != nil || fmt.Sprint(bodiesOf(page.Messages)) != "[a b]" {
		t.Errorf("Read: %+v, %v; want a and b", page, err)
	}
}

func busDurabilityTold(t *T) {
	bus := t.bus()
	ctx, cancel := t.ctx()
	defer cancel()
	messages := make([]beck.Message, 5)
	for i := range messages {
		messages[i] = beck.Message{Body: fmt.Append(nil, i), Durability: t.h.Durability.Misses}
	}
	ids, err := bus.Publish(ctx, orders, messages...)
	if !errors.Is(err, beck.ErrDurability) || len(ids) != 5 {
		t.Fatalf("Publish: %q, %v; want five ids and ErrDurability", ids, err)
	}
	want := "stored as " + strings.Join(ids[:3], ", ") + " and 2 more, but not as durably as asked"
	if strings.Count(err.Error(), want) != 1 || strings.Count(err.Error(), "as durably as asked") != 1 {
		t.Errorf("the error is %q; want it to say once: %s", err, want)
	}
	if b, ok := errors.AsType[*beck.Error](err); !ok || b.Op != "publish" || b.Topic != orders {
		t.Errorf("the error is %#v, want a *beck.Error of publish %s", err, orders)
	}
	if n := bus.Stats().Published; n != 5 {
		t.Errorf("%d messages are counted as published, want 5: they are stored", n)
	}
	next := 0
	for m, err := range bus.Follow(ctx, orders, beck.FromStart) {
		if err != nil || m.ID != ids[next] {
			t.Fatalf("followed %+v, %v; want %s", m, err, ids[next])
		}
		if next++; next == len(ids) {
			break
		}
	}
}

func busDurabilityBad(t *T) {
	engine := t.engine
	bus := t.bus()
	ctx, cancel := t.ctx()
	defer cancel()
	for _, bad := range []beck.Durability{
		{Replicas: -1}, {Replicas: 1_000_000}, {Synced: true, Within: -time.Second}, {Synced: true, Within: time.Nanosecond}, {Synced: true, Within: time.Hour},
	} {
		if _, err := beck.New(engine, &beck.Options{Durability: bad}); !errors.Is(err, beck.ErrOption) {
			t.Errorf("a bus with the durability %+v: %v, want ErrOption", bad, err)
		}
		ids, err := bus.Publish(ctx, orders, beck.Message{Body: []byte("a")}, beck.Message{Body: []byte("b"), Durability: &bad})
		if !errors.Is(err, beck.ErrOption) || len(ids) > 0 {
			t.Errorf("Publish with the durability %+v: %q, %v, want ErrOption", bad, ids, err)
		}
	}
	page, err := bus.Read(ctx, orders, beck.FromStart, 10)
	if err != nil || len(page.Messages) > 0 {
		t.Errorf("Read: %+v, %v; want nothing", page, err)
	}
}
