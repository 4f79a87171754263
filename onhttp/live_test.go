package onhttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
)

// open is a bus on a server.
func open(t *testing.T, url string) *beck.Bus {
	t.Helper()
	bus, err := Open(url, &Options{Options: beck.Options{Logger: silent(), MaxBody: 16 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bus.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return bus
}

// Every kind of error is the same one on both sides.
func TestErrorsOfEveryPattern(t *testing.T) {
	r := serve(t, onModel(t), "127.0.0.1:0")
	t.Cleanup(func() {
		if err := r.stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	remote := open(t, r.url)
	ctx := t.Context()
	x := beck.Message{Body: []byte("x")}

	_, err := remote.Request(ctx, "price", x)
	if !errors.Is(err, beck.ErrNoReplier) || err.Error() != "beck: request price: price: no replier" {
		t.Errorf("nobody replies: %v", err)
	}
	replying, stop := context.WithCancel(ctx)
	replied := make(chan error, 1)
	go func() {
		replied <- remote.Reply(replying, "price", func(ctx context.Context, m *beck.Message) ([]byte, error) {
			switch string(m.Body) {
			case "fail":
				return nil, errors.New("no price\nfor €")
			case "wait":
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return append([]byte("price of "), m.Body...), nil
		})
	}()
	var answer []byte
	for range 500 {
		if answer, err = remote.Request(ctx, "price", x); !errors.Is(err, beck.ErrNoReplier) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil || string(answer) != "price of x" {
		t.Errorf("the answer is %q, %v", answer, err)
	}
	_, err = remote.Request(ctx, "price", beck.Message{Body: []byte("fail")})
	failed, ok := errors.AsType[*beck.AnswerError](err)
	if !ok || failed.Text != "no price\nfor €" || failed.Service != "price" {
		t.Errorf("the replier's error came as %v", err)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err = remote.Request(short, "price", beck.Message{Body: []byte("wait")}); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, beck.ErrUncertain) {
		t.Errorf("a request out of time: %v", err)
	}
	stop()
	if err := <-replied; err != nil {
		t.Errorf("Reply: %v", err)
	}

	if err := remote.Configure(ctx, "small", beck.TopicConfig{MaxMessages: 2}); err != nil {
		t.Error(err)
	}
	if _, err := remote.Join(ctx, "small", "s", nil); err != nil {
		t.Error(err)
	}
	if ids, err := remote.Publish(ctx, "small", x, x, x); !errors.Is(err, beck.ErrTopicFull) || len(ids) != 2 {
		t.Errorf("into a full topic: %q, %v", ids, err)
	}
	done, err := remote.Cancel(ctx, "small", "d1", "d2", "d3", "d4")
	if !errors.Is(err, beck.ErrMessageNotFound) || done != 0 || !strings.Contains(err.Error(), "d1, d2, d3 and 1 more") {
		t.Errorf("cancelled %d, %v", done, err)
	}
	if err := remote.DeleteSchedule(ctx, "none"); !errors.Is(err, beck.ErrScheduleNotFound) {
		t.Errorf("no such schedule: %v", err)
	}
	ids, err := remote.Publish(ctx, "orders", x)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Join(ctx, "orders", "s", nil); err != nil {
		t.Fatal(err)
	}
	waiting, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	err = remote.Confirm(waiting, "orders", ids, "s")
	open, ok := errors.AsType[*beck.UnconfirmedError](err)
	if !ok || open.Open["s"][ids[0]] != beck.StateReady || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("not confirmed: %v", err)
	}
	if err := remote.Confirm(ctx, "orders", ids, "none"); !errors.Is(err, beck.ErrSubscriptionNotFound) {
		t.Errorf("confirmed by nobody: %v", err)
	}
}

// Listeners and repliers go on by themselves when the server was away.
func TestLiveComesBack(t *testing.T) {
	first := serve(t, onModel(t), "127.0.0.1:0")
	address := strings.TrimPrefix(first.url, "http://")
	e := connect(t, first.url)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	heard, missed := make(chan string, 100), make(chan struct{}, 100)
	stopListening, err := e.Listen(ctx, "x.*", driver.Listener{
		Receive: func(subject string, body []byte) { heard <- subject + " " + string(body) },
		Missed:  func() { missed <- struct{}{} },
	})
	if err != nil {
		t.Fatal(err)
	}
	stopServing, err := e.Serve(ctx, "s", func(q driver.Request) {
		go func() {
			if err := q.Answer(ctx, driver.Answer{Body: append([]byte("re "), q.Message.Body...)}); err != nil {
				t.Error(err)
			}
		}()
	})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(r *running) string {
		answer, err := r.bus.Request(ctx, "s", beck.Message{Body: []byte("x")})
		return fmt.Sprintf("%s %v", answer, err)
	}
	if got := ask(first); got != "re x <nil>" {
		t.Errorf("the answer is %s", got)
	}
	if n, err := e.Broadcast(ctx, "x.y", []byte("before")); err != nil || n != 1 || <-heard != "x.y before" {
		t.Errorf("broadcast to %d: %v", n, err)
	}
	if err := first.stop(ctx); err != nil {
		t.Error(err)
	}
	second := serve(t, onModel(t), address)
	select {
	case <-missed:
	case <-ctx.Done():
		t.Fatal("the listener wasn't told that it missed something")
	}
	if n, err := second.bus.Broadcast(ctx, "x.z", nil); err != nil || n != 1 || <-heard != "x.z " {
		t.Errorf("broadcast to %d: %v", n, err)
	}
	for ask(second) != "re x <nil>" {
		if ctx.Err() != nil {
			t.Fatal("the replier did not come back")
		}
		time.Sleep(10 * time.Millisecond)
	}
	began := time.Now()
	stopServing()
	stopListening()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("stopping took %v", took)
	}
	if _, err := second.bus.Request(ctx, "s", beck.Message{Body: []byte("x")}); !errors.Is(err, beck.ErrNoReplier) {
		t.Errorf("after stop: %v", err)
	}
	shut(t, e)
	if err := second.stop(ctx); err != nil {
		t.Error(err)
	}
}

// Streams that can't be opened are told of at once, and Close ends those that
// nobody has stopped.
func TestStreamsEnd(t *testing.T) {
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	defer silent.Close()
	refusing := httptest.NewServer(http.NotFoundHandler())
	defer refusing.Close()
	for url, want := range map[string]error{silent.URL: driver.ErrUnavailable, refusing.URL: driver.ErrVersion, "http://127.0.0.1:1": driver.ErrUnavailable} {
		e := connect(t, url)
		e.patience = 100 * time.Millisecond
		if _, err := e.Listen(t.Context(), "*", driver.Listener{}); !errors.Is(err, want) {
			t.Errorf("listen at %s: %v", url, err)
		}
		if _, err := e.Serve(t.Context(), "s", nil); !errors.Is(err, want) {
			t.Errorf("serve at %s: %v", url, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if _, err := e.Listen(ctx, "*", driver.Listener{}); url == silent.URL && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("listen at %s out of time: %v", url, err)
		}
		cancel()
		shut(t, e)
		if _, err := e.Listen(t.Context(), "*", driver.Listener{}); !errors.Is(err, driver.ErrClosed) {
			t.Errorf("listen after Close: %v", err)
		}
	}
	r := serve(t, onModel(t), "127.0.0.1:0")
	e := connect(t, r.url)
	if _, err := e.Listen(t.Context(), "*", driver.Listener{Receive: func(string, []byte) {}, Missed: func() {}}); err != nil {
		t.Error(err)
	}
	if _, err := e.Serve(t.Context(), "s", func(driver.Request) {}); err != nil {
		t.Error(err)
	}
	shut(t, e)
	if err := r.stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// What changes something is sent once, whatever becomes of it; what only looks is
// unavailable then. A request is waited for as long as its context says.
func TestOnceOnly(t *testing.T) {
	var requests atomic.Int64
	hangUp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler)
	}))
	defer hangUp.Close()
	e := connect(t, hangUp.URL)
	defer shut(t, e)
	ctx := t.Context()
	m := driver.Message{Body: []byte("x")}
	for what, call := range map[string]func() error{
		"configure": func() error { return e.Configure(ctx, "t", driver.TopicConfig{}) },
		"requeue":   func() error { _, err := e.Requeue(ctx, "t", "s", []string{"1"}); return err },
		"cancel":    func() error { _, err := e.Cancel(ctx, "t", []string{"1"}); return err },
		"seek":      func() error { return e.Seek(ctx, "t", "s", driver.Position{}) },
		"pause":     func() error { return e.Pause(ctx, "t", "s", true) },
		"purge":     func() error { _, err := e.Purge(ctx, "t"); return err },
		"put":       func() error { return e.PutSchedule(ctx, driver.Schedule{Name: "n", Config: []byte("{}")}) },
		"tick": func() error {
			_, _, err := e.Tick(ctx, driver.Schedule{Name: "n"}, time.Now(), m)
			return err
		},
		"broadcast": func() error { _, err := e.Broadcast(ctx, "t", nil); return err },
		"request":   func() error { _, err := e.Request(ctx, "t", m); return err },
		"look":      func() error { _, err := e.Outstanding(ctx, "t", "s", []string{"1"}); return err },
		"peek": func() error {
			_, err := e.Peek(ctx, "t", "s", driver.PeekRequest{State: driver.Held, Max: 1})
			return err
		},
	} {
		want := driver.ErrUncertain
		if what == "look" || what == "peek" {
			want = driver.ErrUnavailable
		}
		before := requests.Load()
		if err := call(); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
		if n := requests.Load() - before; n != 1 {
			t.Errorf("%s was sent %d times", what, n)
		}
	}

	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(300 * time.Millisecond)
		_, _ = io.WriteString(w, "answer")
	}))
	defer slow.Close()
	e2 := connect(t, slow.URL)
	defer shut(t, e2)
	e2.patience = 50 * time.Millisecond
	bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if got, err := e2.Request(bounded, "s", m); err != nil || string(got.Body) != "answer" {
		t.Errorf("a slow answer: %q, %v", got.Body, err)
	}
}
