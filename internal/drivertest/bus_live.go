package drivertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beckmq/beck"
)

func busLiveCases() []Case {
	return []Case{
		{Name: "request and reply", Promise: "a request is answered by one of those who reply, with its key, headers and body at hand", run: busRequest},
		{Name: "errors", Promise: "a replier's error, or its panic, comes back as an AnswerError, and it goes on replying", run: busAnswerErrors},
		{Name: "no replier", Promise: "a request that nobody replies to is ErrNoReplier at once, also when the replier has gone", run: busNoReplier},
		{Name: "time over", Promise: "the context of a reply ends when nobody waits any more, and a request whose time is over is not handled", run: busTimeOver},
		{Name: "bad requests", Promise: "requests that can't be sent are refused by their own errors", run: busBadRequests},
		{Name: "broadcast and listen", Promise: "those who listen hear what is broadcast to the subjects they name, those to one subject in order", run: busBroadcast},
		{Name: "slow listener", Promise: "a listener that is too slow gets a gap and goes on; it holds up neither the sender nor the others", run: busSlowListener},
		{Name: "bad patterns", Promise: "subjects and patterns outside their grammar are ErrName, a body beyond the limit is ErrTooLarge", run: busBadPatterns},
	}
}

// replying replies to a service from when it returns to stop.
func (t *T) replying(bus *beck.Bus, service string, reply func(context.Context, *beck.Message) ([]byte, error)) (stop func()) {
	t.Helper()
	stop = t.running("Reply", func(ctx context.Context) error {
		return bus.Reply(ctx, service, func(ctx context.Context, m *beck.Message) ([]byte, error) {
			if m.Key == "are you there?" {
				return []byte{}, nil
			}
			return reply(ctx, m)
		})
	})
	t.eventually("somebody replies for "+service, func() bool {
		_, err := bus.Request(withTime(t), service, beck.Message{Key: "are you there?", Body: []byte{}})
		if err != nil && !errors.Is(err, beck.ErrNoReplier) {
			t.must(err, "Request")
		}
		return err == nil
	})
	return stop
}

func busRequest(t *T) {
	bus := t.bus()
	var mu sync.Mutex
	var last beck.Message
	t.replying(bus, "price", func(_ context.Context, m *beck.Message) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		last = *m
		return append([]byte("re "), m.Body...), nil
	})
	got, err := bus.Request(withTime(t), "price", beck.Message{Key: "k", Headers: map[string]string{"H": "v"}, Body: []byte("a\x00")})
	t.must(err, "Request")
	if string(got) != "re a\x00" {
		t.Errorf("the answer is %q, want %q", got, "re a\x00")
	}
	mu.Lock()
	defer mu.Unlock()
	if last.Key != "k" || last.Headers["h"] != "v" || last.Topic != "price" || string(last.Body) != "a\x00" {
		t.Errorf("the request came as %+v", last)
	}
}

func busAnswerErrors(t *T) {
	bus := t.bus()
	t.replying(bus, "price", func(_ context.Context, m *beck.Message) ([]byte, error) {
		switch string(m.Body) {
		case "error":
			return []byte("ignored"), errors.New("no price: \"x\"\n北京")
		case "panic":
			panic("oops")
		}
		return []byte("ok"), nil
	})
	for body, want := range map[string]string{"error": "no price: \"x\"\n北京", "panic": "oops"} {
		got, err := bus.Request(withTime(t), "price", beck.Message{Body: []byte(body)})
		var answer *beck.AnswerError
		if !errors.As(err, &answer) || answer.Service != "price" || !strings.Contains(answer.Text, want) || len(got) > 0 {
			t.Errorf("Request (%s): %q, %v, want an AnswerError with %q", body, got, err, want)
		}
	}
	if got, err := bus.Request(withTime(t), "price", beck.Message{Body: []byte("x")}); err != nil || string(got) != "ok" {
		t.Errorf("after that: %q, %v, want ok", got, err)
	}
}

func busNoReplier(t *T) {
	bus := t.bus()
	ask := func(when string) {
		t.Helper()
		began := time.Now()
		if _, err := bus.Request(withTime(t), "price", beck.Message{Body: []byte("x")}); !errors.Is(err, beck.ErrNoReplier) {
			t.Errorf("Request %s: %v, want ErrNoReplier", when, err)
		}
		if took := time.Since(began); took > t.promptly() {
			t.Errorf("it took %v to say so", took)
		}
	}
	ask("to nobody")
	stop := t.replying(bus, "price", func(context.Context, *beck.Message) ([]byte, error) { return []byte("ok"), nil })
	stop()
	ask("to one that has gone")
}

// busTimeOver asks more than may be handled at a time, of handlers that take
// longer than anybody waits.
func busTimeOver(t *T) {
	const requests, atATime = 300, 256
	bus := t.bus()
	var begun atomic.Int64
	release := make(chan struct{})
	stop := t.replying(bus, "slow", func(ctx context.Context, m *beck.Message) ([]byte, error) {
		begun.Add(1)
		if _, ok := ctx.Deadline(); !ok {
			t.Errorf("the context of a reply has no deadline")
		}
		select {
		case <-ctx.Done():
		case <-time.After(t.patience):
			t.Errorf("the context of a reply did not end with the time of its request")
		}
		<-release
		return []byte("late"), nil
	})
	var wg sync.WaitGroup
	for range requests {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), soon)
			defer cancel()
			if got, err := bus.Request(ctx, "slow", beck.Message{Body: []byte("x")}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Request: %q, %v, want context.DeadlineExceeded", got, err)
			}
		})
	}
	wg.Wait()
	// A replier elsewhere counts the time from when a request arrives.
	time.Sleep(time.Second)
	close(release) // now the others could be handled, but their time is over
	stop()
	if n := begun.Load(); n == 0 || n > atATime {
		t.Errorf("%d of %d requests were handled, want some, and at most the %d that began in time", n, requests, atATime)
	}
}

func busBadRequests(t *T) {
	bus := t.bus()
	ctx := withTime(t)
	for what, c := range map[string]struct {
		service string
		m       beck.Message
		want    error
	}{
		"a bad name":  {"a b", beck.Message{Body: []byte("x")}, beck.ErrName},
		"no body":     {"price", beck.Message{}, beck.ErrMessage},
		"a delay":     {"price", beck.Message{Body: []byte("x"), Delay: time.Second}, beck.ErrMessage},
		"a DedupeID":  {"price", beck.Message{Body: []byte("x"), DedupeID: "x"}, beck.ErrMessage},
		"a long body": {"price", beck.Message{Body: make([]byte, beck.DefaultMaxBody+1)}, beck.ErrTooLarge},
	} {
		if _, err := bus.Request(ctx, c.service, c.m); !errors.Is(err, c.want) {
			t.Errorf("Request with %s: %v, want %v", what, err, c.want)
		}
	}
	if err := bus.Reply(ctx, "price", nil); !errors.Is(err, beck.ErrOption) {
		t.Errorf("Reply without a function: %v, want ErrOption", err)
	}
}

func busBroadcast(t *T) {
	bus := t.bus()
	ctx, cancel := context.WithCancel(withTime(t))
	defer cancel()
	all := bus.Listen(ctx, "room.*")
	one := bus.Listen(ctx, "room.1")
	for i := range 5 {
		for _, subject := range []string{"room.1", "room.2", "other"} {
			if _, err := bus.Broadcast(ctx, subject, fmt.Append(nil, i)); err != nil {
				t.must(err, "Broadcast")
			}
		}
	}
	heard, count := map[string]string{}, 0 // subjects may be at different servers
	for m, err := range all {
		t.must(err, "Listen")
		heard[m.Topic] += string(m.Body)
		if count++; count == 10 {
			break
		}
	}
	if want := map[string]string{"room.1": "01234", "room.2": "01234"}; !maps.Equal(heard, want) {
		t.Errorf("heard %v, want %v", heard, want)
	}
	n := 0
	for m, err := range one {
		if n == 5 {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("a listener whose context ended gets %v, want context.Canceled", err)
			}
			break
		}
		t.must(err, "Listen")
		if string(m.Body) != fmt.Sprint(n) {
			t.Errorf("message %d is %q", n, m.Body)
		}
		if n++; n == 5 {
			cancel()
		}
	}
}

func busSlowListener(t *T) {
	const rounds, senders, each = 4, 4, 100
	const flood = rounds * senders * each
	bus := t.bus()
	ctx := withTime(t)
	slow := bus.Listen(ctx, "a")
	var quick atomic.Int64
	quickCtx, stop := context.WithCancel(ctx)
	defer stop()
	quickly := bus.Listen(quickCtx, "a")
	go func() {
		for m := range quickly {
			if m != nil {
				quick.Add(1)
			}
		}
	}()
	for round := range rounds {
		var wg sync.WaitGroup
		for range senders {
			wg.Go(func() {
				for range each {
					if _, err := bus.Broadcast(ctx, "a", []byte("x")); err != nil {
						t.Errorf("Broadcast: %v", err)
						return
					}
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			return
		}
		// The other listener is quick only as long as it gets a processor.
		t.eventually("the other listener hears all", func() bool {
			return quick.Load() == int64(round+1)*senders*each
		})
	}
	heard, gaps := 0, 0
	for m, err := range slow {
		var gap *beck.Gap
		if errors.As(err, &gap) {
			gaps++
			continue
		}
		t.must(err, "Listen")
		if string(m.Body) == "end" {
			break
		}
		if heard++; heard == 500 { // there is room again
			_, err := bus.Broadcast(ctx, "a", []byte("end"))
			t.must(err, "Broadcast")
		}
	}
	if gaps == 0 || heard >= flood {
		t.Errorf("the slow listener heard %d of %d messages, and %d gaps, want not all, and a gap", heard, flood, gaps)
	}
}

func busBadPatterns(t *T) {
	bus := t.bus()
	ctx := withTime(t)
	for _, pattern := range []string{"", "a b", "a*", "*.a", "a.*.b", ".*", "a.**", "**", "ü"} {
		for _, err := range bus.Listen(ctx, pattern) {
			if !errors.Is(err, beck.ErrName) {
				t.Errorf("Listen to %q: %v, want ErrName", pattern, err)
			}
			break
		}
	}
	for _, subject := range []string{"", "a b", "a.*", "*"} {
		if _, err := bus.Broadcast(ctx, subject, []byte("x")); !errors.Is(err, beck.ErrName) {
			t.Errorf("Broadcast to %q: %v, want ErrName", subject, err)
		}
	}
	if _, err := bus.Broadcast(ctx, "a", make([]byte, beck.DefaultMaxBody+1)); !errors.Is(err, beck.ErrTooLarge) {
		t.Errorf("Broadcast of a body that is too large: %v, want ErrTooLarge", err)
	}
}
