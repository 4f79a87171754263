package drivertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

func requestCases() []Case {
	return []Case{
		{Name: "answered", Promise: "a request comes to a replier with its key, headers, body, time and deadline, and the answer comes back", run: requestAnswered},
		{Name: "failure", Promise: "the text of a replier's error comes back as a failure", run: requestFailure},
		{Name: "no replier", Promise: "if nobody replies, or nobody any more, ErrNoReplier comes at once", run: requestNobody},
		{Name: "in turn", Promise: "requests are spread over the repliers, each in his turn", run: requestTurns},
		{Name: "concurrent", Promise: "of many requests at once each gets its own answer", run: requestConcurrent},
		{Name: "context", Promise: "a request whose context ends returns its error, and a late answer is dropped and reaches no other", run: requestLate},
		{Name: "after stop", Promise: "a request that was handed over may be answered after its replier has stopped; no further one is handed to it", run: requestAfterStop},
		{Name: "nothing stored", Promise: "services and topics don't mix, and requests make no topic", run: requestApart},
	}
}

// serve answers requests of a service until stop, or the end of the case.
func (t *T) serve(service string, answer func(q driver.Request) driver.Answer) (stop func()) {
	t.Helper()
	return t.serveRaw(service, func(q driver.Request) { go t.answer(q, answer(q)) })
}

func (t *T) answer(q driver.Request, a driver.Answer) {
	ctx, cancel := t.ctx()
	defer cancel()
	if err := q.Answer(ctx, a); err != nil {
		t.Errorf("Answer: %v", err)
	}
}

func (t *T) serveRaw(service string, handle func(driver.Request)) (stop func()) {
	t.Helper()
	t.do("Serve "+service, func(ctx context.Context) (err error) {
		stop, err = t.engine.Serve(ctx, service, handle)
		return err
	})
	stop = sync.OnceFunc(stop)
	t.Cleanup(stop)
	return stop
}

func (t *T) request(service, body string) string {
	t.Helper()
	ctx, cancel := t.ctx()
	defer cancel()
	a, err := t.engine.Request(ctx, service, driver.Message{Body: []byte(body)})
	t.must(err, "Request %q", body)
	if a.Failure != "" {
		t.Fatalf("Request %q: the failure %q", body, a.Failure)
	}
	return string(a.Body)
}

func requestAnswered(t *T) {
	m := driver.Message{Key: "k", Headers: map[string]string{"h": "Zürich"}, Body: []byte("a\x00\xff")}
	got := make(chan driver.Request, 1)
	large := strings.Repeat("answer\x00", 20_000)
	t.serve("price", func(q driver.Request) driver.Answer {
		got <- q
		return driver.Answer{Body: []byte(large)}
	})
	ctx, cancel := t.ctx()
	defer cancel()
	deadline, _ := ctx.Deadline()
	a, err := t.engine.Request(ctx, "price", m)
	t.must(err, "Request")
	if string(a.Body) != large || a.Failure != "" {
		t.Errorf("the answer has %d bytes and the failure %q, want %d and none", len(a.Body), a.Failure, len(large))
	}
	q := <-got
	t.wantContent("the request", q.Message, m)
	if off := q.Deadline.Sub(deadline).Abs(); off > 5*time.Second {
		t.Errorf("the deadline came %v away from what it was", off)
	}
	if off := time.Since(q.Message.Time).Abs(); off > time.Minute {
		t.Errorf("the request's time is %v, want about now", q.Message.Time)
	}
	t.serve("empty", func(driver.Request) driver.Answer { return driver.Answer{Body: []byte{}} })
	if body := t.request("empty", ""); body != "" {
		t.Errorf("an empty answer came as %q", body)
	}
}

func requestFailure(t *T) {
	const text = "no price for \"x\":\n北京"
	t.serve("price", func(driver.Request) driver.Answer { return driver.Answer{Failure: text} })
	ctx, cancel := t.ctx()
	defer cancel()
	a, err := t.engine.Request(ctx, "price", driver.Message{Body: []byte("x")})
	t.must(err, "Request")
	if a.Failure != text || len(a.Body) != 0 {
		t.Errorf("the failure is %q and the body %q, want %q and none", a.Failure, a.Body, text)
	}
}

func requestNobody(t *T) {
	ask := func(ctx context.Context) error {
		_, err := t.engine.Request(ctx, "price", driver.Message{Body: []byte("x")})
		return err
	}
	began := time.Now()
	t.wantErr("Request to nobody", ask, driver.ErrNoReplier)
	stop := t.serve("price", func(driver.Request) driver.Answer { return driver.Answer{Body: []byte("ok")} })
	t.serve("other", func(driver.Request) driver.Answer { return driver.Answer{} })
	if err := ask(withTime(t)); err != nil {
		t.Errorf("Request to somebody: %v", err)
	}
	stop()
	t.wantErr("Request when the replier has stopped", ask, driver.ErrNoReplier)
	if took := time.Since(began); took > t.promptly() {
		t.Errorf("that took %v, want it at once", took)
	}
}

// withTime is a context for one call that lasts as long as the case.
func withTime(t *T) context.Context {
	ctx, cancel := t.ctx()
	t.Cleanup(cancel)
	return ctx
}

func requestTurns(t *T) {
	const repliers, requests = 3, 30
	for r := range repliers {
		t.serve("price", func(driver.Request) driver.Answer { return driver.Answer{Body: fmt.Append(nil, r)} })
	}
	count := map[string]int{}
	for i := range requests {
		count[t.request("price", fmt.Sprint(i))]++
	}
	for r := range repliers {
		if n := count[fmt.Sprint(r)]; n < requests/repliers/2 {
			t.Errorf("replier %d got %d of %d requests, want about %d", r, n, requests, requests/repliers)
		}
	}
}

func requestConcurrent(t *T) {
	const askers, requests = 10, 30
	for range 2 {
		t.serve("echo", func(q driver.Request) driver.Answer {
			return driver.Answer{Body: append([]byte("re "), q.Message.Body...)}
		})
	}
	var wg sync.WaitGroup
	for a := range askers {
		wg.Go(func() {
			for i := range requests {
				ctx, cancel := t.ctx()
				body := fmt.Sprintf("%d %d", a, i)
				got, err := t.engine.Request(ctx, "echo", driver.Message{Body: []byte(body)})
				cancel()
				if err != nil || string(got.Body) != "re "+body {
					t.Errorf("the answer to %q is %q, %v", body, got.Body, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func requestLate(t *T) {
	taken := make(chan driver.Request, 10)
	t.serveRaw("slow", func(q driver.Request) { taken <- q })
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_, err := t.engine.Request(ctx, "slow", driver.Message{Body: []byte("first")})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Request without an answer: %v, want context.DeadlineExceeded", err)
	}
	if took := time.Since(began); took > t.promptly() {
		t.Errorf("it took %v to give up after 200ms", took)
	}
	ctx, cancel = context.WithTimeout(context.Background(), t.patience)
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err = t.engine.Request(ctx, "slow", driver.Message{Body: []byte("second")}); !errors.Is(err, context.Canceled) {
		t.Errorf("Request that was cancelled: %v, want context.Canceled", err)
	}
	answered, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			var q driver.Request
			select {
			case q = <-taken: // the first two, if they came before they were given up
			case <-answered:
				return
			}
			ctx, cancel := t.ctx()
			// Nobody waits for the first two any more, so they may fail.
			err := q.Answer(ctx, driver.Answer{Body: append([]byte("re "), q.Message.Body...)})
			cancel()
			if string(q.Message.Body) == "third" && err != nil {
				t.Errorf("Answer: %v", err)
			}
		}
	}()
	if got := t.request("slow", "third"); got != "re third" {
		t.Errorf("the answer is %q, want that to the third request", got)
	}
	close(answered)
	<-done
}

func requestAfterStop(t *T) {
	taken := make(chan driver.Request, 10)
	stop := t.serveRaw("price", func(q driver.Request) { taken <- q })
	answers := make(chan string, 1)
	go func() {
		a, err := t.engine.Request(withTime(t), "price", driver.Message{Body: []byte("x")})
		answers <- fmt.Sprintf("%s %v", a.Body, err)
	}()
	q := <-taken
	stop()
	t.wantErr("Request when the replier has stopped", func(ctx context.Context) error {
		_, err := t.engine.Request(ctx, "price", driver.Message{Body: []byte("y")})
		return err
	}, driver.ErrNoReplier)
	t.answer(q, driver.Answer{Body: []byte("late, but in time")})
	select {
	case got := <-answers:
		if got != "late, but in time <nil>" {
			t.Errorf("the answer is %s, want it late, but in time", got)
		}
	case <-time.After(t.patience):
		t.Errorf("the answer did not come")
	}
	if len(taken) > 0 {
		t.Errorf("a replier that had stopped was handed a request")
	}
}

func requestApart(t *T) {
	t.serve(orders, func(driver.Request) driver.Answer { return driver.Answer{Body: []byte("ok")} })
	e := t.listen("*")
	t.request(orders, "a")
	ctx, cancel := t.ctx()
	defer cancel()
	if list, err := t.engine.Topics(ctx); err != nil || len(list) != 0 {
		t.Errorf("there are topics after a request: %v, %v, want none", list, err)
	}
	t.append(orders, "stored")
	t.joinStart(orders, billing, long)
	t.request(orders, "b")
	t.wantBodies("the topic of that name", t.take(orders, billing, "c", 1), "stored")
	t.left(orders, 1)
	t.broadcast("x", "end")
	t.hears("a listener", e, "x end")
}
