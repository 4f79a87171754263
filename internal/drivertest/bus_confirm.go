package drivertest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/beckmq/beck"
)

func busConfirmCases() []Case {
	return []Case{
		{Name: "acknowledged", Promise: "Confirm returns once all subscriptions named have acknowledged all messages given, and not before", run: confirmWaits},
		{Name: "context", Promise: "when its context ends it says which messages are open with which subscription, and in which state", run: confirmEnds},
		{Name: "dead letters", Promise: "once only dead letters are open it says so at once", run: confirmDead},
		{Name: "bad input", Promise: "a subscription that does not exist, an id that was not given out, or no subscription at all is an error at once", run: confirmBad},
		{Name: "schedules", Promise: "a recurring message is put, listed, published once for each tick, replaced and deleted; what can't be published is refused", run: busSchedules},
	}
}

func confirmWaits(t *T) {
	bus := t.bus()
	ctx := withTime(t)
	t.mustJoin(bus, billing, nil)
	t.mustJoin(bus, "audit", nil)
	t.mustJoin(bus, "slow", nil)
	ids := t.publish(bus, orders, "a", "b", "c")
	confirmed := make(chan error, 1)
	go func() { confirmed <- bus.Confirm(ctx, orders, ids[:2], billing, "audit") }()
	ack := func(s string, n int) {
		for _, id := range t.mustFetch(bus, s, "c", n) {
			t.must(bus.Settle(ctx, orders, s, "c", beck.Ack(id)), "Settle")
		}
	}
	ack(billing, 3)
	ack("audit", 1)
	time.Sleep(50 * time.Millisecond)
	select {
	case err := <-confirmed:
		t.Fatalf("Confirm returned %v while one message is open", err)
	default:
	}
	ack("audit", 1)
	select {
	case err := <-confirmed:
		t.must(err, "Confirm")
	case <-time.After(t.promptly()):
		t.Fatalf("Confirm has not returned within %v after all was acknowledged", t.promptly())
	}
	t.must(bus.Confirm(ctx, orders, nil, billing), "Confirm of nothing")
}

func confirmEnds(t *T) {
	bus := t.bus()
	t.mustJoin(bus, billing, nil)
	t.mustJoin(bus, "audit", nil)
	ids := t.publish(bus, orders, "ack", "held", "waiting", "ready")
	t.mustFetch(bus, billing, "c", 3)
	t.must(bus.Settle(withTime(t), orders, billing, "c", beck.Ack(ids[0]), beck.Retry(ids[2], time.Hour, "")), "Settle")
	var open *beck.UnconfirmedError
	for patience := 150 * time.Millisecond; ; patience *= 2 {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		err := bus.Confirm(ctx, orders, ids, billing, "audit")
		cancel()
		if !errors.As(err, &open) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Confirm: %v, want an UnconfirmedError because of the deadline", err)
		}
		// Where the time is too short to ask, it says so.
		if patience > t.patience || open.Open[billing][ids[1]] != beck.StateUnknown && open.Open["audit"][ids[1]] != beck.StateUnknown {
			break
		}
	}
	want := map[string]map[string]beck.State{
		billing: {ids[1]: beck.StateHeld, ids[2]: beck.StateWaiting, ids[3]: beck.StateReady},
		"audit": {ids[0]: beck.StateReady, ids[1]: beck.StateReady, ids[2]: beck.StateReady, ids[3]: beck.StateReady},
	}
	if fmt.Sprint(open.Open) != fmt.Sprint(want) {
		t.Errorf("open are %v, want %v", open.Open, want)
	}
}

func confirmDead(t *T) {
	bus := t.bus()
	ctx := withTime(t)
	t.mustJoin(bus, billing, nil)
	ids := t.publish(bus, orders, "a", "b")
	t.mustFetch(bus, billing, "c", 2)
	t.must(bus.Settle(ctx, orders, billing, "c", beck.Ack(ids[0]), beck.Bury(ids[1], "")), "Settle")
	began := time.Now()
	err := bus.Confirm(ctx, orders, ids, billing)
	var open *beck.UnconfirmedError
	if !errors.As(err, &open) || len(open.Open) != 1 || len(open.Open[billing]) != 1 || open.Open[billing][ids[1]] != beck.StateDead {
		t.Errorf("Confirm: %v, want an UnconfirmedError because of one dead letter", err)
	}
	if took := time.Since(began); took > t.promptly() {
		t.Errorf("it took %v to say so", took)
	}
}

func confirmBad(t *T) {
	bus := t.bus()
	ctx := withTime(t)
	t.mustJoin(bus, billing, nil)
	ids := t.publish(bus, orders, "a")
	for what, c := range map[string]struct {
		ids           []string
		subscriptions []string
		want          error
	}{
		"a missing subscription": {ids, []string{billing, "missing"}, beck.ErrSubscriptionNotFound},
		"no subscription":        {ids, nil, beck.ErrOption},
		"a bad name":             {ids, []string{"a b"}, beck.ErrName},
		"what is no id":          {[]string{"nonsense"}, []string{billing}, beck.ErrPosition},
		"too many":               {make([]string, beck.MaxFetch+1), []string{billing}, beck.ErrTooLarge},
	} {
		began := time.Now()
		if err := bus.Confirm(ctx, orders, c.ids, c.subscriptions...); !errors.Is(err, c.want) {
			t.Errorf("Confirm with %s: %v, want %v", what, err, c.want)
		}
		if took := time.Since(began); took > t.promptly() {
			t.Errorf("it took %v to say so of %s", took, what)
		}
	}
}

func busSchedules(t *T) {
	bus := t.bus()
	ctx := withTime(t)
	s := beck.Schedule{
		Name: "daily", Topic: orders, Spec: "0 9 * * *", Zone: "Europe/Zurich", Missed: "once",
		Message: beck.Message{Key: "k", Headers: map[string]string{"h": "v"}, Body: []byte("a\x00")}, Last: beat,
	}
	t.must(bus.PutSchedule(ctx, s), "PutSchedule")
	list, err := bus.Schedules(ctx)
	t.must(err, "Schedules")
	if len(list) != 1 {
		t.Fatalf("there are %d schedules, want 1", len(list))
	}
	got := list[0]
	if got.Name != s.Name || got.Topic != orders || got.Spec != s.Spec || got.Zone != s.Zone || got.Missed != s.Missed || !got.Last.Equal(beat) ||
		got.Message.Key != "k" || got.Message.Headers["h"] != "v" || string(got.Message.Body) != "a\x00" {
		t.Errorf("the schedule is %+v, want %+v", got, s)
	}
	for i, want := range []bool{true, false} {
		id, done, err := bus.Tick(ctx, got, beat.Add(time.Second))
		t.must(err, "Tick")
		if done != want || (id != "") != want {
			t.Errorf("Tick %d: %q, done %v, want done %v", i+1, id, done, want)
		}
	}
	page, err := bus.Read(ctx, orders, beck.FromStart, 10)
	t.must(err, "Read")
	if m := page.Messages; len(m) != 1 || m[0].Key != "k" || m[0].Headers["h"] != "v" || string(m[0].Body) != "a\x00" {
		t.Errorf("%d messages were published, want the one of the schedule: %+v", len(m), m)
	}
	t.must(bus.PutSchedule(ctx, s), "PutSchedule")
	if _, done, err := bus.Tick(ctx, got, beat.Add(time.Hour)); err != nil || done {
		t.Errorf("Tick of a schedule that was replaced: done %v, %v, want not", done, err)
	}
	t.must(bus.DeleteSchedule(ctx, s.Name), "DeleteSchedule")
	if err := bus.DeleteSchedule(ctx, s.Name); !errors.Is(err, beck.ErrScheduleNotFound) {
		t.Errorf("DeleteSchedule once more: %v, want ErrScheduleNotFound", err)
	}
	bad := s
	bad.Name = "a b"
	late := s
	late.Message.Delay = time.Second
	for want, s := range map[error]beck.Schedule{beck.ErrName: bad, beck.ErrMessage: late} {
		if err := bus.PutSchedule(ctx, s); !errors.Is(err, want) {
			t.Errorf("PutSchedule: %v, want %v", err, want)
		}
	}
}
