package drivertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
)

// Durabilities are levels of durability, as an engine under test has them.
type Durabilities struct {
	// Gives are those that the engine gives at once.
	Gives []driver.Durability
	// Misses is one that it takes, but does not reach within its time, which should be
	// short: its messages are stored all the same. Nil if there is none.
	Misses *driver.Durability
	// Never is one that it can't give at all. Nil if there is none.
	Never *driver.Durability
}

func durabilityCases() []Case {
	return []Case{
		{Name: "written", Promise: "a durability that asks for nothing is always given", run: durabilityWritten},
		{Name: "given", needs: needGiven, Promise: "messages whose durability the engine gives get ids; what they asked for is no part of them", run: durabilityGiven},
		{Name: "missed", needs: needMissed, Promise: "messages that are not in time as durable as asked are ErrDurability, with all ids beside it: they are stored, once and in order", run: durabilityMissed},
		{Name: "mixed", needs: needMissed, Promise: "if one message of a batch misses its durability all are stored, and all ids returned", run: durabilityMixed},
		{Name: "delayed", needs: needMissed, Promise: "a delayed message that misses its durability waits for its time under the id that is returned", run: durabilityDelayed},
		{Name: "twin", needs: needMissed, Promise: "a message that missed its durability and is published again with its deduplication id is stored once, under the same id", run: durabilityTwin},
		{Name: "tick", needs: needMissed, Promise: "a tick that misses its durability is ErrDurability, with its id: it is published, and not again", run: durabilityTick},
		{Name: "never", needs: needNever, Promise: "a durability that the engine can't give at all is ErrOption, for batches and ticks; nothing is stored", run: durabilityNever},
	}
}

func durably(d *driver.Durability, bodies ...string) []driver.Message {
	messages := make([]driver.Message, len(bodies))
	for i, b := range bodies {
		messages[i] = driver.Message{Body: []byte(b), Durability: d}
	}
	return messages
}

// appendMissing adds messages of which at least one misses its durability.
func (t *T) appendMissing(topic string, messages ...driver.Message) []string {
	t.Helper()
	ctx, cancel := t.ctx()
	defer cancel()
	ids, err := t.engine.Append(ctx, topic, messages)
	if !errors.Is(err, driver.ErrDurability) {
		t.Fatalf("Append of a durability that can't be reached: %v, want ErrDurability", err)
	}
	for _, other := range []error{driver.ErrUncertain, driver.ErrUnavailable, beck.ErrOption} {
		if errors.Is(err, other) {
			t.Errorf("Append of a durability that can't be reached: %v is %v as well; the messages are stored", err, other)
		}
	}
	if len(ids) != len(messages) || slices.Contains(ids, "") {
		t.Fatalf("ErrDurability beside the ids %q, want one for each of %d messages", ids, len(messages))
	}
	return ids
}

func durabilityWritten(t *T) {
	ids := t.appendMessages(orders, slices.Concat(durably(nil, "a"), durably(&driver.Durability{}, "b", "c"), durably(&driver.Durability{Within: time.Millisecond}, "d"))...)
	got := t.readAll(orders, start)
	t.wantIDs("read", got, ids...)
	t.wantBodies("read", got, "a", "b", "c", "d")
}

func durabilityGiven(t *T) {
	for i, d := range t.h.Durability.Gives {
		topic := fmt.Sprintf("%s-%d", orders, i)
		ids := t.appendMessages(topic, slices.Concat(durably(&d, "a", "b"), durably(nil, "c"))...)
		got := t.readAll(topic, start)
		t.wantIDs("read", got, ids...)
		t.wantBodies("read", got, "a", "b", "c")
		for _, m := range got {
			if m.Durability != nil {
				t.Errorf("%+v: the message read has the durability %+v, want none", d, *m.Durability)
			}
		}
		if id := t.appendMessages(topic, driver.Message{Body: []byte("d"), Durability: &d, Delay: time.Hour})[0]; id[0] != 'd' {
			t.Errorf("%+v: a delayed message has the id %s, want one that begins with d", d, id)
		}
	}
}

func durabilityMissed(t *T) {
	d := t.h.Durability.Misses
	first := t.appendMissing(orders, durably(d, "a", "b")...)
	second := t.append(orders, "c")
	third := t.appendMissing(orders, durably(d, "d")...)
	got := t.readAll(orders, start)
	t.wantIDs("read", got, slices.Concat(first, second, third)...)
	t.wantBodies("read", got, "a", "b", "c", "d")
}

func durabilityMixed(t *T) {
	d := t.h.Durability.Misses
	ids := t.appendMissing(orders, slices.Concat(durably(nil, "a"), durably(d, "b"), durably(&driver.Durability{}, "c"))...)
	got := t.readAll(orders, start)
	t.wantIDs("read", got, ids...)
	t.wantBodies("read", got, "a", "b", "c")
}

func durabilityDelayed(t *T) {
	m := durably(t.h.Durability.Misses, "later")[0]
	m.Delay = time.Hour
	ids := t.appendMissing(orders, m)
	var missing []string
	t.do("Cancel", func(ctx context.Context) (err error) {
		missing, err = t.engine.Cancel(ctx, orders, ids)
		return err
	})
	if len(missing) > 0 {
		t.Errorf("Cancel does not find the delayed message %s", ids[0])
	}
}

func durabilityTwin(t *T) {
	m := durably(t.h.Durability.Misses, "once")[0]
	m.DedupeID = "one"
	first := t.appendMissing(orders, m)
	m.Durability = nil
	again := t.appendMessages(orders, m)
	if again[0] != first[0] {
		t.Errorf("published again it has the id %s, want %s", again[0], first[0])
	}
	t.wantIDs("read", t.readAll(orders, start), first...)
}

func durabilityTick(t *T) {
	s := t.scheduled("hourly", orders, "v1")
	tick := beat.Add(time.Minute)
	ctx, cancel := t.ctx()
	defer cancel()
	id, done, err := t.engine.Tick(ctx, s, tick, durably(t.h.Durability.Misses, tickBody)[0])
	if !errors.Is(err, driver.ErrDurability) || !done || id == "" {
		t.Fatalf("Tick: id %q, done %v, %v; want ErrDurability beside an id, and done", id, done, err)
	}
	if _, done := t.tick(s, tick); done {
		t.Error("the tick is published again")
	}
	t.wantIDs("read", t.readAll(orders, start), id)
}

func durabilityNever(t *T) {
	d := t.h.Durability.Never
	ctx, cancel := t.ctx()
	defer cancel()
	ids, err := t.engine.Append(ctx, orders, slices.Concat(durably(nil, "a"), durably(d, "b")))
	if !errors.Is(err, beck.ErrOption) || len(ids) > 0 {
		t.Errorf("Append: ids %q, %v; want ErrOption and no ids", ids, err)
	}
	s := t.scheduled("hourly", orders, "v1")
	id, done, err := t.engine.Tick(ctx, s, beat.Add(time.Minute), durably(d, tickBody)[0])
	if !errors.Is(err, beck.ErrOption) || done || id != "" {
		t.Errorf("Tick: id %q, done %v, %v; want ErrOption, and nothing done", id, done, err)
	}
	t.wantIDs("read", t.readAll(orders, start))
}
