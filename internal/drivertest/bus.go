package drivertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"strings"
	"time"

	"github.com/beckmq/beck"
)

func busPublishCases() []Case {
	return []Case{
		{Name: "and read", Promise: "what was published is read, with its key, headers and body, and its topic", run: busPublishRead},
		{Name: "bad input", Promise: "names outside the grammar, and messages without a body or beyond a limit, are refused by their own errors, and nothing of the call is stored", run: busBadInput},
		{Name: "read gap", Promise: "a page read from an id that was trimmed away has a gap; one from the start, or from the newest id, has none", run: busReadGap},
		{Name: "closed", Promise: "after Close every call returns ErrClosed", run: busClosed},
	}
}

// bus opens a bus on the engine. It closes the engine with it.
func (t *T) bus() *beck.Bus {
	t.Helper()
	return t.durableBus(beck.Durability{})
}

// durableBus is bus, with a durability of its own.
func (t *T) durableBus(d beck.Durability) *beck.Bus {
	t.Helper()
	bus, err := beck.New(t.engine, &beck.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Durability: d})
	if err != nil {
		t.Fatalf("beck.New: %v", err)
	}
	t.engine = nil
	t.Cleanup(func() {
		ctx, cancel := t.ctx()
		defer cancel()
		if err := bus.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return bus
}

// publish publishes one message for each body.
func (t *T) publish(bus *beck.Bus, topic string, bodies ...string) []string {
	t.Helper()
	messages := make([]beck.Message, len(bodies))
	for i, b := range bodies {
		messages[i].Body = []byte(b)
	}
	ctx, cancel := t.ctx()
	defer cancel()
	ids, err := bus.Publish(ctx, topic, messages...)
	if err != nil || len(ids) != len(bodies) {
		t.Errorf("Publish of %d messages: %d ids, %v", len(bodies), len(ids), err)
	}
	return ids
}

func bodiesOf(messages []*beck.Message) []string {
	bodies := make([]string, len(messages))
	for i, m := range messages {
		bodies[i] = string(m.Body)
	}
	return bodies
}

func busPublishRead(t *T) {
	bus := t.bus()
	ctx, cancel := t.ctx()
	defer cancel()
	sent := []beck.Message{
		{Key: "42", Headers: map[string]string{"Content-Type": "text/plain", "x": "ü"}, Body: []byte("a\x00\n")},
		{Body: []byte{}},
	}
	ids, err := bus.Publish(ctx, orders, sent...)
	if err != nil || len(ids) != 2 {
		t.Fatalf("Publish: %v, %v", ids, err)
	}
	page, err := bus.Read(ctx, orders, beck.FromStart, 10)
	if err != nil || len(page.Messages) != 2 || page.Gap != nil {
		t.Fatalf("Read: %+v, %v, want two messages and no gap", page, err)
	}
	first := page.Messages[0]
	if first.ID != ids[0] || first.Topic != orders || first.Key != "42" || string(first.Body) != "a\x00\n" || first.Attempt != 0 ||
		!maps.Equal(first.Headers, map[string]string{"content-type": "text/plain", "x": "ü"}) {
		t.Errorf("read %+v, want what was published, the names of headers in lower case", first)
	}
	if page.Next != beck.FromID(ids[1]) {
		t.Errorf("Next is %s, want behind the last message, %s", page.Next, ids[1])
	}
	if page, err = bus.Read(ctx, orders, page.Next, 10); err != nil || len(page.Messages) != 0 || page.Gap != nil {
		t.Errorf("Read from there: %+v, %v, want nothing, without a gap", page, err)
	}
}

func busBadInput(t *T) {
	bus := t.bus()
	ctx, cancel := t.ctx()
	defer cancel()
	ok := beck.Message{Body: []byte("ok")}
	check := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	for _, name := range []string{"", "-a", ".a", "a b", "a/b", "ü", "a\n", "a*", strings.Repeat("a", 201), "{a}"} {
		_, err := bus.Publish(ctx, name, ok)
		check(fmt.Sprintf("Publish to %.10q", name), err, beck.ErrName)
		_, err = bus.Join(ctx, orders, name, nil)
		check(fmt.Sprintf("Join as %.10q", name), err, beck.ErrName)
		_, err = bus.Fetch(ctx, orders, billing, &beck.FetchOptions{Consumer: name})
		check(fmt.Sprintf("Fetch by %.10q", name), err, beck.ErrName)
	}
	for what, c := range map[string]struct {
		bad  beck.Message
		want error
	}{
		"no body":           {beck.Message{}, beck.ErrMessage},
		"a large body":      {beck.Message{Body: make([]byte, beck.DefaultMaxBody+1)}, beck.ErrTooLarge},
		"a long key":        {beck.Message{Key: strings.Repeat("k", beck.MaxKey+1), Body: []byte{}}, beck.ErrTooLarge},
		"no UTF-8":          {beck.Message{Key: "\xff", Body: []byte{}}, beck.ErrMessage},
		"a header's name":   {beck.Message{Headers: map[string]string{"a b": ""}, Body: []byte{}}, beck.ErrMessage},
		"a header's value":  {beck.Message{Headers: map[string]string{"a": "\n"}, Body: []byte{}}, beck.ErrMessage},
		"headers alike":     {beck.Message{Headers: map[string]string{"a": "1", "A": "2"}, Body: []byte{}}, beck.ErrMessage},
		"a header too long": {beck.Message{Headers: map[string]string{"a": strings.Repeat("v", beck.MaxHeaderBytes)}, Body: []byte{}}, beck.ErrTooLarge},
	} {
		_, err := bus.Publish(ctx, orders, ok, c.bad, ok)
		check("Publish with "+what, err, c.want)
	}
	_, err := bus.Publish(ctx, orders, make([]beck.Message, beck.MaxBatch+1)...)
	check("Publish of too many", err, beck.ErrTooLarge)
	for _, max := range []int{0, -1, beck.MaxFetch + 1} {
		_, err = bus.Read(ctx, orders, beck.FromStart, max)
		check(fmt.Sprint("Read of ", max), err, beck.ErrOption)
	}
	for _, lease := range []time.Duration{-1, time.Millisecond, 48 * time.Hour} {
		_, err = bus.Join(ctx, orders, billing, &beck.JoinOptions{Lease: lease})
		check(fmt.Sprint("Join with a lease of ", lease), err, beck.ErrOption)
	}
	if list, err := bus.Topics(ctx); err != nil || len(list) != 0 {
		t.Errorf("after all that there are topics: %+v, %v, want none", list, err)
	}
	if ids, err := bus.Publish(ctx, orders); err != nil || len(ids) != 0 {
		t.Errorf("Publish of no message: %v, %v, want nothing", ids, err)
	}
}

func busReadGap(t *T) {
	bus := t.bus()
	ctx, cancel := t.ctx()
	defer cancel()
	ids := t.publish(bus, orders, numbers(0, 6)...)
	if n, err := bus.Trim(ctx, orders, beck.FromID(ids[3])); err != nil || n != 3 {
		t.Fatalf("Trim: %d, %v, want 3", n, err)
	}
	for _, c := range []struct {
		from beck.Position
		gap  bool
		want string
	}{
		{beck.FromStart, false, "[3 4 5]"},
		{beck.FromNew, false, "[]"},
		{beck.FromID(ids[0]), true, "[3 4 5]"},
		{beck.FromID(ids[2]), true, "[3 4 5]"},
		{beck.FromID(ids[3]), false, "[4 5]"},
		{beck.FromID(ids[5]), false, "[]"},
	} {
		page, err := bus.Read(ctx, orders, c.from, 10)
		if err != nil {
			t.Fatalf("Read from %s: %v", c.from, err)
		}
		if got := fmt.Sprint(bodiesOf(page.Messages)); got != c.want || (page.Gap != nil) != c.gap {
			t.Errorf("Read from %s: %s, gap %v, want %s, gap %v", c.from, got, page.Gap, c.want, c.gap)
		}
	}
	if _, err := bus.Trim(ctx, orders, beck.FromNew); err != nil {
		t.Fatalf("Trim: %v", err)
	}
	page, err := bus.Read(ctx, orders, beck.FromID(ids[5]), 10)
	if err != nil || page.Gap != nil {
		t.Errorf("Read from the newest id of a topic trimmed empty: gap %v, error %v, want none: nothing is missing", page.Gap, err)
	}
	page, err = bus.Read(ctx, orders, beck.FromID(ids[4]), 10)
	if err != nil || page.Gap == nil {
		t.Errorf("Read from the newest id but one of a topic trimmed empty: no gap (error %v), want one", err)
	}
}

func busClosed(t *T) {
	bus := t.bus()
	ctx, cancel := t.ctx()
	defer cancel()
	t.publish(bus, orders, "a")
	if err := bus.Close(ctx); err != nil {
		t.Fatalf("Close: %v", err)
	}
	_, publish := bus.Publish(ctx, orders, beck.Message{Body: []byte{}})
	_, read := bus.Read(ctx, orders, beck.FromStart, 1)
	_, fetch := bus.Fetch(ctx, orders, billing, &beck.FetchOptions{Consumer: "c"})
	_, topics := bus.Topics(ctx)
	var follow error
	for _, follow = range bus.Follow(ctx, orders, beck.FromStart) {
		break
	}
	subscribe := bus.Subscribe(ctx, orders, billing, func(context.Context, *beck.Message) error { return nil }, nil)
	for what, err := range map[string]error{
		"Publish": publish, "Read": read, "Fetch": fetch, "Topics": topics, "Follow": follow, "Subscribe": subscribe, "Ping": bus.Ping(ctx),
	} {
		if !errors.Is(err, beck.ErrClosed) {
			t.Errorf("%s after Close: %v, want ErrClosed", what, err)
		}
	}
}
