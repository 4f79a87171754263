package beck_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beckmq/beck"
)

// reply runs a replier until the end of the test, and returns once it replies.
func reply(t *testing.T, bus *beck.Bus, service string, f func(context.Context, *beck.Message) ([]byte, error)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- bus.Reply(ctx, service, func(ctx context.Context, m *beck.Message) ([]byte, error) {
			if string(m.Body) == "are you there?" {
				return []byte("yes"), nil
			}
			return f(ctx, m)
		})
	}()
	for {
		_, err := bus.Request(t.Context(), service, beck.Message{Body: []byte("are you there?")})
		if err == nil {
			break
		}
		if !errors.Is(err, beck.ErrNoReplier) {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("replying ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func TestRequestIsAnswered(t *testing.T) {
	bus, _ := open(t)
	reply(t, bus, "upper", func(_ context.Context, m *beck.Message) ([]byte, error) {
		return fmt.Appendf(nil, "%s %s %s %s", bytes.ToUpper(m.Body), m.Key, m.Headers["x"], m.Topic), nil
	})
	answer, err := bus.Request(t.Context(), "upper", beck.Message{Key: "k", Headers: map[string]string{"X": "h"}, Body: []byte("hello")})
	if err != nil || string(answer) != "HELLO k h upper" {
		t.Errorf("%q, %v", answer, err)
	}
}

func TestWhatGoesWrongTravelsBack(t *testing.T) {
	bus, _ := open(t)
	reply(t, bus, "bad", func(_ context.Context, m *beck.Message) ([]byte, error) {
		switch string(m.Body) {
		case "panic":
			panic("oh no")
		case "large":
			return make([]byte, beck.DefaultMaxBody+1), nil
		case "silent":
			return nil, errors.New("")
		}
		return nil, errors.New("no such thing")
	})
	for body, want := range map[string]string{"error": "no such thing", "panic": "oh no", "large": "more than the", "silent": "*errors.errorString"} {
		_, err := bus.Request(t.Context(), "bad", beck.Message{Body: []byte(body)})
		var failed *beck.AnswerError
		if !errors.As(err, &failed) || failed.Service != "bad" || !strings.Contains(failed.Text, want) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestNobodyReplies(t *testing.T) {
	bus, _ := open(t)
	begin := time.Now()
	_, err := bus.Request(t.Context(), "nobody", beck.Message{Body: []byte("?")})
	if !errors.Is(err, beck.ErrNoReplier) || time.Since(begin) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
	stop := reply(t, bus, "somebody", func(context.Context, *beck.Message) ([]byte, error) { return nil, nil })
	stop()
	if _, err := bus.Request(t.Context(), "somebody", beck.Message{Body: []byte("?")}); !errors.Is(err, beck.ErrNoReplier) {
		t.Errorf("after the replier has stopped: %v", err)
	}
}

func TestRequestGivesUpAtItsTime(t *testing.T) {
	bus, _ := open(t)
	over := make(chan error, 1)
	reply(t, bus, "slow", func(ctx context.Context, _ *beck.Message) ([]byte, error) {
		<-ctx.Done()
		over <- ctx.Err()
		return []byte("late"), nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := bus.Request(ctx, "slow", beck.Message{Body: []byte("?")}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the request ended with %v", err)
	}
	if err := <-over; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the replier's context ended with %v", err)
	}
}

func TestRequestsThatMakeNoSense(t *testing.T) {
	bus, _ := open(t)
	for _, m := range []beck.Message{{}, {Body: []byte{}, Delay: time.Second}, {Body: []byte{}, DedupeID: "x"}} {
		if _, err := bus.Request(t.Context(), "s", m); !errors.Is(err, beck.ErrMessage) {
			t.Errorf("%+v: %v", m, err)
		}
	}
	if err := bus.Reply(t.Context(), "s", nil); !errors.Is(err, beck.ErrOption) {
		t.Errorf("no function: %v", err)
	}
}

// A function that ends its goroutine must not leave the one who asked waiting.
func TestReplierEndsItsGoroutine(t *testing.T) {
	bus, _ := open(t)
	reply(t, bus, "quits", func(context.Context, *beck.Message) ([]byte, error) {
		runtime.Goexit()
		return nil, nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var failed *beck.AnswerError
	if _, err := bus.Request(ctx, "quits", beck.Message{Body: []byte("?")}); !errors.As(err, &failed) {
		t.Errorf("the request ended with %v", err)
	}
}

func TestBroadcastReachesThoseWhoListen(t *testing.T) {
	bus, _ := open(t)
	if n, err := bus.Broadcast(t.Context(), "typing.room1", []byte("early")); err != nil || n != 0 {
		t.Errorf("with nobody there: %d, %v", n, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	heard := map[string][]string{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, pattern := range []string{"typing.room1", "typing.*", "*", "typing"} {
		messages := bus.Listen(ctx, pattern) // listens from here on
		all.Go(func() {
			for m, err := range messages {
				if err != nil {
					if !errors.Is(err, context.Canceled) {
						t.Errorf("%s: %v", pattern, err)
					}
					return
				}
				mu.Lock()
				heard[pattern] = append(heard[pattern], m.Topic+" "+string(m.Body))
				mu.Unlock()
				if string(m.Body) == "end" {
					return
				}
			}
		})
	}
	for _, b := range [][2]string{{"typing.room1", "a"}, {"typing.room2", "b"}, {"other", "c"}, {"typing.room1", "end"}, {"typing", "end"}} {
		if _, err := bus.Broadcast(t.Context(), b[0], []byte(b[1])); err != nil {
			t.Fatal(err)
		}
	}
	all.Wait()
	for pattern, want := range map[string][]string{
		"typing.room1": {"typing.room1 a", "typing.room1 end"},
		"typing.*":     {"typing.room1 a", "typing.room2 b", "typing.room1 end"},
		"*":            {"typing.room1 a", "typing.room2 b", "other c", "typing.room1 end"},
		"typing":       {"typing end"},
	} {
		if !slices.Equal(heard[pattern], want) {
			t.Errorf("%s heard %q, not %q", pattern, heard[pattern], want)
		}
	}
}

func TestSlowListenerIsToldAndHarmsNobody(t *testing.T) {
	bus, _ := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	messages := bus.Listen(ctx, "s")
	const n = 3000
	for i := range n {
		if _, err := bus.Broadcast(ctx, "s", fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	seen, gaps := 0, 0
	for _, err := range messages {
		var gap *beck.Gap
		if errors.As(err, &gap) {
			gaps++
		} else if err != nil {
			t.Fatal(err)
		} else {
			seen++
		}
		if gaps > 0 && seen+int(bus.Stats().Missed) == n {
			break
		}
	}
	if gaps != 1 || seen == n || seen == 0 {
		t.Errorf("it saw %d of %d messages, and %d gaps", seen, n, gaps)
	}
}

func TestListenThatMakesNoSense(t *testing.T) {
	bus, _ := open(t)
	for _, err := range bus.Listen(t.Context(), "a*") {
		if !errors.Is(err, beck.ErrName) {
			t.Errorf("a pattern outside the grammar: %v", err)
		}
	}
	if _, err := bus.Broadcast(t.Context(), "typing.*", nil); !errors.Is(err, beck.ErrName) {
		t.Errorf("broadcasting to a pattern: %v", err)
	}
	if _, err := bus.Broadcast(t.Context(), "s", make([]byte, beck.DefaultMaxBody+1)); !errors.Is(err, beck.ErrTooLarge) {
		t.Errorf("a large body: %v", err)
	}
}
