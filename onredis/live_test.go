package onredis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/redistest"
)

// ear collects what a listener is told.
type ear struct {
	mu     sync.Mutex
	heard  []string
	missed int
}

func listen(t testing.TB, e *engine, pattern string) *ear {
	t.Helper()
	x := &ear{}
	stop, err := e.Listen(t.Context(), pattern, driver.Listener{
		Receive: func(subject string, body []byte) {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.heard = append(x.heard, subject+" "+string(body))
		},
		Missed: func() {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.missed++
		},
	})
	if err != nil {
		t.Fatalf("Listen to %s: %v", pattern, err)
	}
	t.Cleanup(stop)
	return x
}

func (x *ear) all() ([]string, int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.heard), x.missed
}

func eventually(t testing.TB, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// hears waits until a listener has heard something.
func (x *ear) hears(t testing.TB, want string) {
	t.Helper()
	eventually(t, "hearing "+want, 2*time.Second, func() bool {
		heard, _ := x.all()
		return slices.Contains(heard, want)
	})
}

func broadcast(t testing.TB, e *engine, subject, body string) int {
	t.Helper()
	n, err := e.Broadcast(t.Context(), subject, []byte(body))
	if err != nil {
		t.Fatalf("Broadcast: %v", err)
	}
	return n
}

// serve answers with a text and the body of the request.
func serve(t testing.TB, e *engine, service, text string) (stop func()) {
	t.Helper()
	stop, err := e.Serve(t.Context(), service, func(q driver.Request) {
		go func() {
			_ = q.Answer(context.Background(), driver.Answer{Body: append([]byte(text), q.Message.Body...)})
		}()
	})
	if err != nil {
		t.Fatalf("Serve: %v", err)
	}
	stop = sync.OnceFunc(stop)
	t.Cleanup(stop)
	return stop
}

func request(e *engine, service, body string, limit time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	a, err := e.Request(ctx, service, driver.Message{Body: []byte(body)})
	return string(a.Body), err
}

func TestOtherClientsBroadcastToo(t *testing.T) {
	e, s := start(t)
	one, prefix, all := listen(t, e, "a.b"), listen(t, e, "a.*"), listen(t, e, "*")
	if n := s.Do("PUBLISH", "beck:a.b", "hello"); n != "3" {
		t.Errorf("%s got it, want 3", n)
	}
	s.Do("PUBLISH", "beck:not a name", "x")
	s.Do("PUBLISH", "beckxa.b", "x")
	s.Do("PUBLISH", "beck:a.b", "end")
	for _, x := range []*ear{one, prefix, all} {
		x.hears(t, "a.b end")
		if heard, _ := x.all(); !slices.Equal(heard, []string{"a.b hello", "a.b end"}) {
			t.Errorf("heard %q", heard)
		}
	}
}

func TestListenersFindTheirConnectionAgain(t *testing.T) {
	e, s := start(t)
	other := open(t, s)
	closeAtEnd(t, other)
	ears := []*ear{listen(t, e, "a"), listen(t, e, "a"), listen(t, e, "a.*"), listen(t, e, "*")}
	for round, lose := range []func(){
		func() { s.Do("CLIENT", "KILL", "TYPE", "pubsub") },
		func() { s.Kill(); s.Restart() },
	} {
		lose()
		for _, x := range ears {
			eventually(t, "the connection is mended, and each is told", 5*time.Second, func() bool {
				_, missed := x.all()
				return missed == round+1
			})
		}
		late := listen(t, e, "late")
		body := fmt.Sprint(round)
		for _, subject := range []string{"a", "a.b", "late"} {
			for done := false; !done; {
				_, err := other.Broadcast(t.Context(), subject, []byte(body))
				done = err == nil // the other one has to find its connection, too
			}
		}
		ears[0].hears(t, "a "+body)
		ears[1].hears(t, "a "+body)
		ears[2].hears(t, "a.b "+body)
		ears[3].hears(t, "a.b "+body)
		late.hears(t, "late "+body)
		if _, missed := late.all(); missed != 0 {
			t.Error("a listener that has missed nothing is told so")
		}
	}
}

func TestListenWhereRedisIsAway(t *testing.T) {
	e, s := start(t)
	s.Kill()
	began := time.Now()
	_, err := e.Listen(t.Context(), "a", driver.Listener{Receive: func(string, []byte) {}, Missed: func() {}})
	if !errors.Is(err, driver.ErrUnavailable) || time.Since(began) > 5*time.Second {
		t.Errorf("Listen: %v after %v", err, time.Since(began))
	}
	if _, err := request(e, "price", "x", time.Second); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("Request: %v", err)
	}
	s.Restart()
	x := listen(t, e, "a")
	eventually(t, "a broadcast after the restart", 5*time.Second, func() bool {
		_, err := e.Broadcast(t.Context(), "a", []byte("x"))
		return err == nil
	})
	x.hears(t, "a x")
}

func TestWithoutPrefix(t *testing.T) {
	s := redistest.Start(t, "--notify-keyspace-events", "KEA")
	e, err := openEngine(t.Context(), s.URL(), &Options{NoPrefix: true})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, e)
	all := listen(t, e, "*")
	serve(t, e, "price", "re ")
	publish(t, e, "orders", "a")
	if got, err := request(e, "price", "x", time.Second); got != "re x" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	broadcast(t, e, "end", "x")
	all.hears(t, "end x")
	if heard, _ := all.all(); len(heard) != 1 {
		t.Errorf("heard %q, want only what was broadcast", heard)
	}
}

func TestReplierIsGone(t *testing.T) {
	asker, s := start(t)
	staying, going := open(t, s), open(t, s)
	closeAtEnd(t, staying)
	serve(t, going, "price", "going ")
	if got, err := request(asker, "price", "x", time.Second); got != "going x" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	stop := serve(t, staying, "price", "staying ")
	time.Sleep(repliersAge)
	got := map[string]int{}
	for range 20 {
		body, err := request(asker, "price", "x", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		got[body]++
	}
	if got["going x"] != 10 || got["staying x"] != 10 {
		t.Errorf("the requests went to %v", got)
	}
	// As a process that ends without a word: it stays on the list.
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := going.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if n := s.Do("ZCARD", "beck:~repliers:price"); n != "2" {
		t.Fatalf("%s are on the list, want 2", n)
	}
	for range 4 {
		if got, err := request(asker, "price", "x", time.Second); got != "staying x" || err != nil {
			t.Errorf("with one gone: %q, %v", got, err)
		}
	}
	if n := s.Do("ZCARD", "beck:~repliers:price"); n != "1" {
		t.Errorf("%s are on the list, want 1", n)
	}
	stop()
	began := time.Now()
	if _, err := request(asker, "price", "x", time.Second); !errors.Is(err, driver.ErrNoReplier) || time.Since(began) > 500*time.Millisecond {
		t.Errorf("with all gone: %v after %v", err, time.Since(began))
	}
	if n := s.Do("EXISTS", "beck:~repliers:price"); n != "0" {
		t.Error("the list of repliers is still there")
	}
}

func TestReplierFindsItsConnectionAgain(t *testing.T) {
	asker, s := start(t)
	e := open(t, s)
	closeAtEnd(t, e)
	serve(t, e, "price", "re ")
	for _, lose := range []func(){
		func() { s.Do("CLIENT", "KILL", "TYPE", "pubsub") },
		func() { s.Do("DEL", "beck:~repliers:price"); s.Do("CLIENT", "KILL", "TYPE", "pubsub") },
		func() { s.Kill(); s.Restart() },
	} {
		if got, err := request(asker, "price", "x", time.Second); got != "re x" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
		lose()
		eventually(t, "the replier is back", 2*time.Second, func() bool {
			got, err := request(asker, "price", "x", time.Second)
			return err == nil && got == "re x"
		})
	}
}

func TestRequestWhoseAnswerIsCutOff(t *testing.T) {
	e, s := start(t)
	taken := make(chan driver.Request, 1)
	stop, err := e.Serve(t.Context(), "price", func(q driver.Request) { taken <- q })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	done := make(chan error, 1)
	go func() {
		_, err := request(e, "price", "x", 10*time.Second)
		done <- err
	}()
	q := <-taken
	s.Do("CLIENT", "KILL", "TYPE", "pubsub")
	select {
	case err := <-done:
		if !errors.Is(err, driver.ErrUncertain) {
			t.Errorf("Request: %v, want ErrUncertain", err)
		}
	case <-time.After(3 * time.Second):
		t.Error("Request does not notice that its connection is lost")
	}
	if err := q.Answer(t.Context(), driver.Answer{Body: []byte("late")}); err != nil {
		t.Errorf("a late answer: %v", err)
	}
}

// TestHungRedis has all calls end with their contexts, and Close with its.
func TestHungRedisWhileLive(t *testing.T) {
	s := redistest.Start(t)
	e := open(t, s)
	stop, err := e.Serve(t.Context(), "price", func(driver.Request) {})
	if err != nil {
		t.Fatal(err)
	}
	x := listen(t, e, "a")
	s.Pause()
	began := time.Now()
	if _, err := request(e, "price", "x", 200*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("Request: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := e.Listen(ctx, "b", driver.Listener{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Listen: %v", err)
	}
	stop()
	_ = e.Close(ctx)
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("it all took %v", took)
	}
	s.Continue()
	e.live.close()
	if heard, _ := x.all(); len(heard) != 0 {
		t.Errorf("heard %q", heard)
	}
}

func TestCommandsPerRequest(t *testing.T) {
	e, s := start(t)
	serve(t, e, "price", "")
	if _, err := request(e, "price", "", time.Second); err != nil {
		t.Fatal(err)
	}
	s.Do("CONFIG", "RESETSTAT")
	const n = 200
	for i := range n {
		if got, err := request(e, "price", strconv.Itoa(i), time.Second); got != strconv.Itoa(i) || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
	}
	counts := calls(s)
	if counts["spublish"] != 2*n || counts["evalsha"] > 5 {
		t.Errorf("%d SPUBLISH and %d EVALSHA for %d requests: %v", counts["spublish"], counts["evalsha"], n, counts)
	}
}

func TestLivePermissions(t *testing.T) {
	s := redistest.Start(t)
	s.Do("ACL", "SETUSER", "beck", "on", ">secret", "resetchannels", "~*", "+@all")
	e, err := openEngine(t.Context(), "redis://beck:secret@"+s.Addr(), &Options{})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, e)
	publish(t, e, "orders", "a")
	_, listening := e.Listen(t.Context(), "a.*", driver.Listener{})
	_, one := e.Listen(t.Context(), "a", driver.Listener{})
	_, broadcasting := e.Broadcast(t.Context(), "a", nil)
	_, serving := e.Serve(t.Context(), "price", func(driver.Request) {})
	_, asking := request(e, "price", "x", time.Second)
	for what, err := range map[string]error{"Listen": listening, "Listen to one": one, "Broadcast": broadcasting, "Serve": serving, "Request": asking} {
		if !errors.Is(err, driver.ErrDenied) {
			t.Errorf("%s without the permission: %v", what, err)
		}
	}
	s.Do("ACL", "SETUSER", "beck", "&beck:*")
	x := listen(t, e, "a.*")
	broadcast(t, e, "b", "x")
	broadcast(t, e, "a.b", "x")
	x.hears(t, "a.b x")
	if heard, _ := x.all(); len(heard) != 1 {
		t.Errorf("heard %q", heard)
	}
}

func TestFrames(t *testing.T) {
	q := asking{
		number: 1 << 40, left: time.Minute, service: "price", inbox: "beck:~inbox:X", key: "k",
		headers: map[string]string{"a": "b", "c": ""}, body: []byte("body\x00"),
	}
	frame := string(q.encode())
	got, err := decodeRequest(frame[1:])
	if err != nil || fmt.Sprint(got) != fmt.Sprint(q) {
		t.Errorf("got %+v, %v, want %+v", got, err, q)
	}
	for n := 1; n < len(frame)-len(q.body); n++ {
		if got, err := decodeRequest(frame[1:n]); err == nil {
			t.Errorf("the first %d bytes are a request: %+v", n, got)
		}
	}
}

func FuzzFrames(f *testing.F) {
	q := asking{number: 1, left: time.Second, service: "s", inbox: "i", headers: map[string]string{"a": "b"}}
	f.Add(string(q.encode()[1:]))
	f.Add("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
	f.Fuzz(func(t *testing.T, frame string) {
		q, err := decodeRequest(frame)
		if err == nil && (q.left < 0 || q.left > maxLeft || q.body == nil) {
			t.Errorf("%+v", q)
		}
	})
}
