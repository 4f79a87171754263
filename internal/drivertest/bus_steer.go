package drivertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/beckmq/beck"
)

func busSteerCases() []Case {
	return []Case{
		{Name: "delay and cancel", Promise: "a delayed message is handled not before its time; one that is cancelled never, and cancelling what is not there is ErrMessageNotFound", run: busDelay},
		{Name: "bad messages", Promise: "a delay in the past or beyond ten years, both Delay and At, or a DedupeID outside its grammar are refused, and nothing of the call is stored", run: busBadDelivery},
		{Name: "deduplicated", Promise: "published again with its DedupeID a message is stored once and has the id it had", run: busDedupe},
		{Name: "full", Promise: "publishing into a full topic is ErrTopicFull, beside the ids of what fitted; nothing needed is lost", run: busFull},
		{Name: "dropped", Promise: "what a topic drops is told to the next fetch, and to a follower as a gap", run: busDropped},
		{Name: "bad configuration", Promise: "a configuration that makes no sense is ErrOption", run: busBadConfig},
		{Name: "dead letters", Promise: "requeueing and dropping return how many, and name what is not there by ErrMessageNotFound while the rest is done", run: busDead},
		{Name: "seek", Promise: "a subscription goes on where it is sent, also while it is consumed", run: busSeek},
		{Name: "pause", Promise: "a paused subscription handles nothing until it is resumed", run: busPause},
		{Name: "purge", Promise: "a purged topic is empty, and its followers get a gap before what is new", run: busPurge},
		{Name: "peek", Promise: "each state can be looked at, page by page; what makes no sense is refused", run: busPeek},
	}
}

func busDelay(t *T) {
	bus := t.bus()
	ctx := withTime(t)
	came := make(chan *beck.Message, 10)
	t.subscribe(bus, billing, nil, func(_ context.Context, m *beck.Message) error { came <- m; return nil })
	began := time.Now()
	ids, err := bus.Publish(ctx, orders, beck.Message{Body: []byte("cancelled"), Delay: soon},
		beck.Message{Body: []byte("a"), Delay: soon}, beck.Message{Body: []byte("b"), At: began.Add(2 * soon)})
	t.must(err, "Publish")
	n, err := bus.Cancel(ctx, orders, ids[0])
	t.must(err, "Cancel")
	if n != 1 {
		t.Errorf("%d were cancelled, want 1", n)
	}
	if n, err = bus.Cancel(ctx, orders, ids[0]); n != 0 || !errors.Is(err, beck.ErrMessageNotFound) {
		t.Errorf("Cancel once more: %d, %v, want 0 and ErrMessageNotFound", n, err)
	}
	for i, want := range []string{"a", "b"} {
		select {
		case m := <-came:
			t.notBefore("a delayed message was handled", began, time.Duration(i+1)*soon)
			if string(m.Body) != want || m.Headers["beck-delayed-id"] != ids[i+1] {
				t.Errorf("%q came with the former id %q, want %s with %s", m.Body, m.Headers["beck-delayed-id"], want, ids[i+1])
			}
		case <-time.After(t.patience):
			t.Fatalf("the delayed message %s did not come", want)
		}
	}
	if len(came) > 0 {
		t.Errorf("%q came, too", (<-came).Body)
	}
}

func busBadDelivery(t *T) {
	bus := t.bus()
	ctx := withTime(t)
	body := []byte("x")
	for what, c := range map[string]struct {
		bad  beck.Message
		want error
	}{
		"a negative delay":        {beck.Message{Body: body, Delay: -time.Second}, beck.ErrMessage},
		"a time that has passed":  {beck.Message{Body: body, At: time.Now().Add(-time.Second)}, beck.ErrMessage},
		"a delay beyond limits":   {beck.Message{Body: body, Delay: beck.MaxDelay + time.Hour}, beck.ErrMessage},
		"a time beyond limits":    {beck.Message{Body: body, At: time.Now().Add(beck.MaxDelay + time.Hour)}, beck.ErrMessage},
		"both":                    {beck.Message{Body: body, Delay: time.Second, At: time.Now().Add(time.Hour)}, beck.ErrMessage},
		"a long DedupeID":         {beck.Message{Body: body, DedupeID: strings.Repeat("x", 201)}, beck.ErrTooLarge},
		"a DedupeID with a space": {beck.Message{Body: body, DedupeID: "a b"}, beck.ErrMessage},
		"a DedupeID in Unicode":   {beck.Message{Body: body, DedupeID: "ü"}, beck.ErrMessage},
	} {
		ids, err := bus.Publish(ctx, orders, beck.Message{Body: body}, c.bad)
		if !errors.Is(err, c.want) || len(ids) > 0 {
			t.Errorf("Publish with %s: %v, %v, want %v", what, ids, err, c.want)
		}
	}
	if list, err := bus.Topics(ctx); err != nil || len(list) != 0 {
		t.Errorf("after that there are topics: %v, %v, want none", list, err)
	}
}

func busDedupe(t *T) {
	bus := t.bus()
	ctx := withTime(t)
	once := beck.Message{Body: []byte("a"), DedupeID: strings.Repeat("x", 200)}
	first, err := bus.Publish(ctx, orders, once)
	t.must(err, "Publish")
	again, err := bus.Publish(ctx, orders, beck.Message{Body: []byte("b")}, once)
	t.must(err, "Publish")
	if len(again) != 2 || again[1] != first[0] || again[0] == first[0] {
		t.Errorf("published again it has the ids %v, want a new one and %s", again, first[0])
	}
	page, err := bus.Read(ctx, orders, beck.FromStart, 10)
	if err != nil || fmt.Sprint(bodiesOf(page.Messages)) != "[a b]" {
		t.Errorf("Read: %v, %v, want a and b", page, err)
	}
}

func busFull(t *T) {
	bus := t.bus()
	ctx := withTime(t)
	t.mustJoin(bus, billing, nil)
	t.must(bus.Configure(ctx, orders, beck.TopicConfig{MaxMessages: 3, MaxAge: beck.Forever}), "Configure")
	t.publish(bus, orders, "a")
	ids, err := bus.Publish(ctx, orders, beck.Message{Body: []byte("b")}, beck.Message{Body: []byte("c")}, beck.Message{Body: []byte("d")})
	if len(ids) != 2 || !errors.Is(err, beck.ErrTopicFull) {
		t.Errorf("Publish of more than fits: %d ids, %v, want 2 and ErrTopicFull", len(ids), err)
	}
	if ids, err = bus.Publish(ctx, orders, beck.Message{Body: []byte("e")}); len(ids) != 0 || !errors.Is(err, beck.ErrTopicFull) {
		t.Errorf("Publish into a full topic: %v, %v, want ErrTopicFull", ids, err)
	}
	info, err := bus.Topic(ctx, orders)
	t.must(err, "Topic")
	if info.Length != 3 || info.Config.MaxMessages != 3 || info.Config.MaxAge != beck.Forever {
		t.Errorf("the topic has %d messages and is configured as %+v", info.Length, info.Config)
	}
	for _, id := range t.mustFetch(bus, billing, "c", 3) {
		t.must(bus.Settle(ctx, orders, billing, "c", beck.Ack(id)), "Settle")
	}
	t.publish(bus, orders, "f", "g", "h")
}

func busDropped(t *T) {
	bus := t.bus()
	ctx := withTime(t)
	t.mustJoin(bus, billing, nil)
	t.must(bus.Configure(ctx, orders, beck.TopicConfig{MaxMessages: 3, DropOldest: true}), "Configure")
	ids := t.publish(bus, orders, numbers(0, 8)...)
	f, err := bus.Fetch(ctx, orders, billing, &beck.FetchOptions{Consumer: "c"})
	t.must(err, "Fetch")
	if f.Lost != 5 || fmt.Sprint(bodiesOf(f.Messages)) != "[5 6 7]" {
		t.Errorf("Fetch: %v, and %d are lost, want [5 6 7] and 5", bodiesOf(f.Messages), f.Lost)
	}
	if s := t.inspected(bus, billing); s.Lost != 5 {
		t.Errorf("%d are lost, want 5", s.Lost)
	}
	gaps, body := t.untilMessage(bus, beck.FromID(ids[2]))
	if gaps != 1 || body != "5" {
		t.Errorf("a follower from the third message got %d gaps, and then %s, want a gap and 5", gaps, body)
	}
}

func busBadConfig(t *T) {
	bus := t.bus()
	ctx := withTime(t)
	for _, c := range []beck.TopicConfig{
		{MaxAge: -2}, {MaxMessages: -1}, {MaxBytes: -1}, {DropOldest: true}, {DedupeWindow: time.Millisecond}, {DedupeWindow: 8 * 24 * time.Hour},
	} {
		if err := bus.Configure(ctx, orders, c); !errors.Is(err, beck.ErrOption) {
			t.Errorf("Configure with %+v: %v, want ErrOption", c, err)
		}
	}
	for _, expires := range []time.Duration{-1, time.Second, beck.MaxExpires + time.Hour} {
		if _, err := bus.Join(ctx, orders, billing, &beck.JoinOptions{Expires: expires}); !errors.Is(err, beck.ErrOption) {
			t.Errorf("Join with Expires %v: %v, want ErrOption", expires, err)
		}
	}
	if err := bus.Configure(ctx, "a b", beck.TopicConfig{}); !errors.Is(err, beck.ErrName) {
		t.Errorf("Configure of a topic with a bad name: %v, want ErrName", err)
	}
	t.mustJoin(bus, billing, &beck.JoinOptions{Expires: time.Hour})
	if s := t.inspected(bus, billing); s.Expires != time.Hour || s.Unread > time.Minute {
		t.Errorf("the subscription expires after %v and is unread for %v, want an hour and about 0", s.Expires, s.Unread)
	}
}

func busDead(t *T) {
	bus := t.bus()
	ctx := withTime(t)
	t.mustJoin(bus, billing, nil)
	t.publish(bus, orders, "a", "b", "c")
	ids := t.mustFetch(bus, billing, "c", 3)
	t.must(bus.Settle(ctx, orders, billing, "c", beck.Bury(ids[0], "x"), beck.Bury(ids[1], "x"), beck.Ack(ids[2])), "Settle")
	n, err := bus.Requeue(ctx, orders, billing, ids[2], ids[0])
	if n != 1 || !errors.Is(err, beck.ErrMessageNotFound) || !strings.Contains(fmt.Sprint(err), ids[2]) || strings.Contains(fmt.Sprint(err), ids[0]) {
		t.Errorf("Requeue of two, of which one is none: %d, %v, want 1 and an error that names %s", n, err, ids[2])
	}
	if n, err = bus.Drop(ctx, orders, billing, ids[1]); n != 1 || err != nil {
		t.Errorf("Drop: %d, %v, want 1", n, err)
	}
	if n, err = bus.Drop(ctx, orders, billing, ids[1]); n != 0 || !errors.Is(err, beck.ErrMessageNotFound) {
		t.Errorf("Drop once more: %d, %v, want 0 and ErrMessageNotFound", n, err)
	}
	if got := t.mustFetch(bus, billing, "d", 1); got[0] != ids[0] {
		t.Errorf("%s came, want %s, which was requeued", got[0], ids[0])
	}
	if _, err = bus.Requeue(ctx, orders, "missing", ids[0]); !errors.Is(err, beck.ErrSubscriptionNotFound) {
		t.Errorf("Requeue for a subscription that does not exist: %v, want ErrSubscriptionNotFound", err)
	}
	if n, err = bus.Requeue(ctx, orders, billing); n != 0 || err != nil {
		t.Errorf("Requeue of nothing: %d, %v, want nothing", n, err)
	}
	if _, err = bus.Requeue(ctx, orders, billing, "a b"); !errors.Is(err, beck.ErrPosition) {
		t.Errorf("Requeue of what is no id: %v, want ErrPosition", err)
	}
}

func busSeek(t *T) {
	bus := t.bus()
	ctx := withTime(t)
	ids := t.publish(bus, orders, "a", "b", "c")
	var h handled
	t.subscribe(bus, billing, nil, func(_ context.Context, m *beck.Message) error { h.add(m); return nil })
	t.eventually("all are handled", func() bool { return len(h.all()) == 3 })
	t.settled(bus, billing)
	t.must(bus.Seek(ctx, orders, billing, beck.FromID(ids[0])), "Seek")
	t.eventually("two are handled again", func() bool { return len(h.all()) == 5 })
	if got := fmt.Sprint(bodiesOf(h.all())); got != "[a b c b c]" {
		t.Errorf("%s were handled, want [a b c b c]", got)
	}
	if err := bus.Seek(ctx, orders, billing, beck.AtID(ids[0])); !errors.Is(err, beck.ErrPosition) {
		t.Errorf("Seek to a message itself: %v, want ErrPosition: a subscription goes on behind one", err)
	}
	if err := bus.Seek(ctx, orders, "missing", beck.FromStart); !errors.Is(err, beck.ErrSubscriptionNotFound) {
		t.Errorf("Seek of a subscription that does not exist: %v, want ErrSubscriptionNotFound", err)
	}
}

func busPause(t *T) {
	bus := t.bus()
	ctx := withTime(t)
	t.mustJoin(bus, billing, nil)
	t.must(bus.Pause(ctx, orders, billing), "Pause")
	var h handled
	t.subscribe(bus, billing, nil, func(_ context.Context, m *beck.Message) error { h.add(m); return nil })
	t.publish(bus, orders, "a", "b")
	time.Sleep(100 * time.Millisecond)
	if n := len(h.all()); n != 0 {
		t.Errorf("%d were handled while the subscription is paused", n)
	}
	if s := t.inspected(bus, billing); !s.Paused || s.Lag != 2 && s.Lag != -1 {
		t.Errorf("it is paused: %v, with a lag of %d, want true and 2", s.Paused, s.Lag)
	}
	resumed := time.Now()
	t.must(bus.Resume(ctx, orders, billing), "Resume")
	t.eventually("all are handled", func() bool { return len(h.all()) == 2 })
	if took := time.Since(resumed); took > t.promptly() {
		t.Errorf("resumed, it took %v to go on", took)
	}
}

func busPurge(t *T) {
	bus := t.bus()
	ctx := withTime(t)
	ids := t.publish(bus, orders, "a", "b", "c")
	n, err := bus.Purge(ctx, orders)
	t.must(err, "Purge")
	if n != 3 {
		t.Errorf("%d were purged, want 3", n)
	}
	page, err := bus.Read(ctx, orders, beck.FromStart, 10)
	if err != nil || len(page.Messages) != 0 {
		t.Errorf("Read: %+v, %v, want nothing", page, err)
	}
	t.publish(bus, orders, "d")
	gaps, body := t.untilMessage(bus, beck.FromID(ids[0]))
	if gaps != 1 || body != "d" {
		t.Errorf("a follower from the first message got %d gaps, and then %s, want a gap and d", gaps, body)
	}
	if _, err = bus.Purge(ctx, "missing"); !errors.Is(err, beck.ErrTopicNotFound) {
		t.Errorf("Purge of a topic that does not exist: %v, want ErrTopicNotFound", err)
	}
}

func busPeek(t *T) {
	bus := t.bus()
	ctx := withTime(t)
	t.mustJoin(bus, billing, nil)
	ids := t.publish(bus, orders, "held", "waiting", "dead", "ready", "ready")
	late, err := bus.Publish(ctx, orders, beck.Message{Body: []byte("delayed"), Delay: time.Hour})
	t.must(err, "Publish")
	t.mustFetch(bus, billing, "c", 3)
	t.must(bus.Settle(ctx, orders, billing, "c", beck.Retry(ids[1], time.Hour, "not yet"), beck.Bury(ids[2], "no luck")), "Settle")
	for state, want := range map[beck.State][]string{
		beck.StateHeld: ids[:1], beck.StateWaiting: ids[1:2], beck.StateDead: ids[2:3], beck.StateReady: ids[3:], beck.StateDelayed: late,
	} {
		s := billing
		if state == beck.StateDelayed {
			s = ""
		}
		after := ""
		for i, id := range want {
			entries, more, err := bus.Peek(ctx, orders, s, state, &beck.PeekOptions{Max: 1, After: after})
			t.must(err, "Peek (%s)", state)
			if len(entries) != 1 || more != (i+1 < len(want)) || entries[0].Message.ID != id || entries[0].Message.Topic != orders || entries[0].State != state {
				t.Errorf("Peek (%s): %+v, more %v, want %s", state, entries, more, id)
			}
			after = id
		}
	}
	for what, c := range map[string]struct {
		state beck.State
		s     string
		o     beck.PeekOptions
		want  error
	}{
		"an unknown state":         {"gone", billing, beck.PeekOptions{}, beck.ErrOption},
		"delayed, of one":          {beck.StateDelayed, billing, beck.PeekOptions{}, beck.ErrOption},
		"too many":                 {beck.StateHeld, billing, beck.PeekOptions{Max: beck.MaxFetch + 1}, beck.ErrOption},
		"no id":                    {beck.StateHeld, billing, beck.PeekOptions{After: "a b"}, beck.ErrPosition},
		"no subscription":          {beck.StateHeld, "", beck.PeekOptions{}, beck.ErrName},
		"a subscription not there": {beck.StateHeld, "missing", beck.PeekOptions{}, beck.ErrSubscriptionNotFound},
	} {
		if _, _, err := bus.Peek(ctx, orders, c.s, c.state, &c.o); !errors.Is(err, c.want) {
			t.Errorf("Peek with %s: %v, want %v", what, err, c.want)
		}
	}
}
