package ondisk

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

func serve(t testing.TB, e *engine, service string, handle func(driver.Request)) (stop func()) {
	t.Helper()
	stop, err := e.Serve(context.Background(), service, handle)
	if err != nil {
		t.Fatal(err)
	}
	return stop
}

// answering answers with a name and what was asked.
func answering(name string) func(driver.Request) {
	return func(q driver.Request) {
		go func() {
			_ = q.Answer(context.Background(), driver.Answer{Body: fmt.Appendf(nil, "%s %s", name, q.Message.Body)})
		}()
	}
}

func ask(t testing.TB, e *engine, service, body string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	a, err := e.Request(ctx, service, driver.Message{Body: []byte(body)})
	if err != nil {
		return err.Error()
	}
	return string(a.Body)
}

func TestRequestInTurn(t *testing.T) {
	e := open(t, "db", inMemory())
	if got := ask(t, e, "s", ""); got != driver.ErrNoReplier.Error() {
		t.Errorf("nobody serves: %q", got)
	}
	var stops []func()
	for i := range 3 {
		stops = append(stops, serve(t, e, "s", answering(fmt.Sprint(i))))
	}
	serve(t, e, "other", answering("other"))
	check := func(want ...string) {
		t.Helper()
		for _, w := range want {
			if got := ask(t, e, "s", "x"); got != w+" x" {
				t.Errorf("answered %q, want %s", got, w)
			}
		}
	}
	check("0", "1", "2", "0", "1")
	stops[0]()
	check("2", "1", "2")
	stops[2]()
	stops[2]()
	check("1", "1")
	stops[1]()
	if got := ask(t, e, "s", ""); got != driver.ErrNoReplier.Error() {
		t.Errorf("nobody serves any more: %q", got)
	}
	if len(e.desk.services) != 1 {
		t.Errorf("%d services are left", len(e.desk.services))
	}
}

func TestRequestCarries(t *testing.T) {
	e := open(t, "db", inMemory())
	asked := driver.Message{Key: "k", Headers: map[string]string{"h": "v"}, Body: []byte("body"), DedupeID: "x"}
	deadline := time.Now().Add(time.Minute)
	answer := driver.Answer{Body: []byte("answer")}
	var kept driver.Message
	serve(t, e, "s", func(q driver.Request) {
		kept = q.Message
		if !q.Deadline.Equal(deadline) || time.Since(q.Message.Time) > time.Minute || q.Message.DedupeID != "" {
			t.Errorf("the replier got %+v", q)
		}
		if err := q.Answer(context.Background(), answer); err != nil {
			t.Error(err)
		}
		if err := q.Answer(context.Background(), driver.Answer{Failure: "second"}); err != nil {
			t.Errorf("a second answer: %v", err)
		}
	})
	ctx, cancel := context.WithDeadline(t.Context(), deadline)
	defer cancel()
	got, err := e.Request(ctx, "s", asked)
	if err != nil || string(got.Body) != "answer" || got.Failure != "" {
		t.Errorf("answered %+v, %v", got, err)
	}
	// Neither side sees what the other one does with his own afterwards.
	asked.Headers["h"], asked.Body[0], got.Body[0] = "changed", 'X', 'X'
	if kept.Key != "k" || kept.Headers["h"] != "v" || string(kept.Body) != "body" || string(answer.Body) != "answer" {
		t.Errorf("the replier has %+v and %s", kept, answer.Body)
	}
}

// An answer that comes too late is dropped, and holds up nobody.
func TestRequestLateAnswer(t *testing.T) {
	e := open(t, "db", inMemory())
	taken := make(chan driver.Request, 1)
	serve(t, e, "s", func(q driver.Request) { taken <- q })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if _, err := e.Request(ctx, "s", driver.Message{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	q := <-taken
	for range 2 {
		if err := q.Answer(t.Context(), driver.Answer{}); err != nil {
			t.Errorf("late: %v", err)
		}
	}
}

// Whoever waits when the engine is closed, or gives up, ends; and what was handed
// over may be answered although its replier has stopped.
func TestRequestEnds(t *testing.T) {
	e := mustOpen(t, "db", inMemory())
	taken := make(chan driver.Request, 1)
	stop := serve(t, e, "s", func(q driver.Request) { taken <- q })
	outcome := make(chan error, 1)
	request := func(ctx context.Context) {
		_, err := e.Request(ctx, "s", driver.Message{})
		outcome <- err
	}

	ctx, cancel := context.WithCancelCause(t.Context())
	go request(ctx)
	<-taken
	cancel(errors.New("bored"))
	if err := <-outcome; err == nil || err.Error() != "bored" {
		t.Errorf("given up: %v", err)
	}

	go request(t.Context())
	q := <-taken
	stop()
	_ = q.Answer(t.Context(), driver.Answer{})
	if err := <-outcome; err != nil {
		t.Errorf("answered after stop: %v", err)
	}

	serve(t, e, "s", func(q driver.Request) { taken <- q })
	go request(t.Context())
	<-taken
	shut(t, e)
	if err := <-outcome; !errors.Is(err, driver.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// Repliers come and go while requests are made: each request is answered, or
// nobody had it; and no replier is called once it has stopped.
func TestRepliersComeAndGo(t *testing.T) {
	e := open(t, "db", inMemory())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var over atomic.Bool
	var repliers, askers sync.WaitGroup
	for range 4 {
		repliers.Go(func() {
			for !over.Load() {
				var stopped atomic.Bool
				stop := serve(t, e, "s", func(q driver.Request) {
					if stopped.Load() {
						t.Error("called after stop")
					}
					answering("r")(q)
				})
				time.Sleep(100 * time.Microsecond)
				stop()
				stopped.Store(true)
			}
		})
	}
	var answered atomic.Int64
	for range 4 {
		askers.Go(func() {
			for answered.Load() < 1000 {
				switch _, err := e.Request(ctx, "s", driver.Message{}); {
				case err == nil:
					answered.Add(1)
				case errors.Is(err, driver.ErrNoReplier):
					time.Sleep(10 * time.Microsecond)
				default:
					t.Errorf("request: %v", err)
					return
				}
			}
		})
	}
	askers.Wait()
	over.Store(true)
	repliers.Wait()
}
