package beck_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/beckmq/beck"
)

// take fetches messages as a consumer.
func take(t *testing.T, bus *beck.Bus, topic, subscription string, n int) []string {
	t.Helper()
	got, err := bus.Fetch(t.Context(), topic, subscription, &beck.FetchOptions{Consumer: "c", Max: n})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, m := range got.Messages {
		ids = append(ids, m.ID)
	}
	return ids
}

func join(t *testing.T, bus *beck.Bus, topic string, subscriptions ...string) {
	t.Helper()
	for _, s := range subscriptions {
		if _, err := bus.Join(t.Context(), topic, s, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConfirmWaitsForAll(t *testing.T) {
	bus, _ := open(t)
	join(t, bus, "topic", "a", "b")
	ids := publish(t, bus, "topic", 0, 3)
	confirmed := make(chan error, 1)
	go func() { confirmed <- bus.Confirm(t.Context(), "topic", ids, "a", "b") }()
	for _, s := range []string{"a", "b"} {
		for _, id := range take(t, bus, "topic", s, 3) {
			select {
			case err := <-confirmed:
				t.Fatalf("confirmed before %s has acknowledged %s: %v", s, id, err)
			case <-time.After(5 * time.Millisecond):
			}
			if err := bus.Settle(t.Context(), "topic", s, "c", beck.Ack(id)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := <-confirmed; err != nil {
		t.Error(err)
	}
}

func TestConfirmSaysWhichHaveNot(t *testing.T) {
	bus, _ := open(t)
	join(t, bus, "topic", "done", "busy")
	ids := publish(t, bus, "topic", 0, 4)
	for _, id := range take(t, bus, "topic", "done", 4) {
		if err := bus.Settle(t.Context(), "topic", "done", "c", beck.Ack(id)); err != nil {
			t.Fatal(err)
		}
	}
	take(t, bus, "topic", "busy", 3)
	if err := bus.Settle(t.Context(), "topic", "busy", "c", beck.Retry(ids[1], time.Hour, ""), beck.Bury(ids[2], "bad")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := bus.Confirm(ctx, "topic", ids, "done", "busy")
	var open *beck.UnconfirmedError
	if !errors.As(err, &open) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v", err)
	}
	want := map[string]beck.State{ids[0]: beck.StateHeld, ids[1]: beck.StateWaiting, ids[2]: beck.StateDead, ids[3]: beck.StateReady}
	for id, state := range want {
		if open.Open["busy"][id] != state {
			t.Errorf("%s is %q, not %q", id, open.Open["busy"][id], state)
		}
	}
	if len(open.Open) != 1 || len(open.Open["busy"]) != 4 {
		t.Errorf("open: %v", open.Open)
	}
	if want := "beck: confirm topic: not acknowledged: 1 dead with busy, 1 held with busy, 1 ready with busy, 1 waiting with busy: context deadline exceeded"; err.Error() != want {
		t.Errorf("it says\n%s, not\n%s", err, want)
	}
}

// Dead letters aren't waited for: nobody would come.
func TestConfirmDoesNotWaitForTheDead(t *testing.T) {
	bus, _ := open(t)
	join(t, bus, "topic", "s")
	ids := publish(t, bus, "topic", 0, 1)
	take(t, bus, "topic", "s", 1)
	if err := bus.Settle(t.Context(), "topic", "s", "c", beck.Bury(ids[0], "bad")); err != nil {
		t.Fatal(err)
	}
	var open *beck.UnconfirmedError
	if err := bus.Confirm(t.Context(), "topic", ids, "s"); !errors.As(err, &open) || open.Err != nil {
		t.Errorf("%v", err)
	}
}

func TestConfirmOfWhatIsNotThere(t *testing.T) {
	bus, _ := open(t)
	join(t, bus, "topic", "s")
	ids := publish(t, bus, "topic", 0, 1)
	for name, c := range map[string]struct {
		ids, subscriptions []string
		want               error
	}{
		"no subscription":      {ids, nil, beck.ErrOption},
		"an unknown one":       {ids, []string{"nobody"}, beck.ErrSubscriptionNotFound},
		"an id of the future":  {[]string{"9999999999999-0000"}, []string{"s"}, beck.ErrPosition},
		"too many ids":         {make([]string, beck.MaxFetch+1), []string{"s"}, beck.ErrTooLarge},
		"not a name":           {ids, []string{"a b"}, beck.ErrName},
		"nothing to wait for":  {nil, []string{"s"}, nil},
		"what is not an id":    {[]string{"x y"}, []string{"s"}, beck.ErrPosition},
		"a message of no time": {[]string{""}, []string{"s"}, beck.ErrPosition},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if err := bus.Confirm(ctx, "topic", c.ids, c.subscriptions...); !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
}
