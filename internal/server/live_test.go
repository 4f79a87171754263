package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/wire"
)

// ready reads the event that every stream of live messages begins with.
func (e *events) ready() (id string) {
	e.t.Helper()
	got := e.must()
	var ready wire.Ready
	if err := json.Unmarshal([]byte(got.data), &ready); err != nil || got.name != "ready" {
		e.t.Fatalf("the stream begins with %+v", got)
	}
	return ready.ID
}

func TestBroadcast(t *testing.T) {
	engines(t, func(t *testing.T, r *running) {
		one, all := r.follow("/v1/listen/typing.*"), r.follow("/v1/listen/*")
		one.ready()
		all.ready()
		var got wire.BroadcastAnswer
		r.want(200, &got, "POST", "/v1/broadcast/typing.room1", "a\nb")
		if got.Listeners != 2 {
			t.Errorf("%d listeners, want 2", got.Listeners)
		}
		r.want(200, &got, "POST", "/v1/broadcast/other", "\xff")
		r.want(200, &got, "POST", "/v1/broadcast/typing.x", "")
		for e, want := range map[*events][]string{one: {"typing.room1 a\nb", "typing.x "}, all: {"typing.room1 a\nb", "other \xff", "typing.x "}} {
			for _, w := range want {
				event := e.must()
				subject, body, err := wire.DecodeBroadcast([]byte(event.data))
				if err != nil || subject+" "+string(body) != w || event.name != "" {
					t.Errorf("heard %+v, want %q", event, w)
				}
			}
		}
		one.close()
		all.close()
		deadline := time.Now().Add(5 * time.Second)
		for got.Listeners != 0 && time.Now().Before(deadline) {
			r.want(200, &got, "POST", "/v1/broadcast/other", "x")
		}
		if got.Listeners != 0 {
			t.Errorf("%d listeners after all have gone", got.Listeners)
		}
		for path, code := range map[string]string{
			"POST /v1/broadcast/_": "invalid_name", "POST /v1/broadcast/a.*": "invalid_name", "GET /v1/listen/a*": "invalid_name",
			"GET /v1/listen/*.a": "invalid_name", "GET /v1/listen/a?from=start": "invalid_option", "POST /v1/services/_": "invalid_name",
			"GET /v1/services/_/requests": "invalid_name", "POST /v1/services/_/answers/x": "invalid_name",
			"POST /v1/services/s/answers/x": "request_not_found", "POST /v1/services/s/answers/x?failure=false": "invalid_option",
			"POST /v1/services/s/answers/x?failure=true": "invalid_option", "DELETE /v1/services/s/requests/x": "request_not_found",
			"POST /v1/services/s": "no_replier",
		} {
			method, to, _ := strings.Cut(path, " ")
			_, _, text := r.do(method, to, "")
			var p wire.Problem
			if err := json.Unmarshal([]byte(text), &p); err != nil || string(p.Code) != code {
				t.Errorf("%s answers %s, want %s", path, text, code)
			}
		}
	})
}

// A listener that stops reading is told that it missed something, or cut off;
// the one who broadcasts and other listeners don't notice.
func TestSlowListener(t *testing.T) {
	bus := onDiskWith(t, 1<<20)
	r := serve(t, bus, nil)
	slow, quick := r.follow("/v1/listen/x"), r.follow("/v1/listen/x")
	slow.ready()
	quick.ready()
	const messages = 60
	body := strings.Repeat("x", 1<<20)
	for i := range messages {
		if n, err := r.bus.Broadcast(t.Context(), "x", []byte(body)); n != 2 || err != nil {
			t.Fatal(n, err)
		}
		if event := quick.must(); event.name != "" || len(event.data) < len(body) {
			t.Fatalf("the quick one hears %.100q as number %d", event.name+event.data, i)
		}
	}
	heard, gaps := 0, 0
	for gaps == 0 {
		if slow.must().name == "gap" {
			gaps++
		} else {
			heard++
		}
	}
	if heard >= messages {
		t.Errorf("the slow one heard all, and is told of a gap")
	}
	if _, err := r.bus.Broadcast(t.Context(), "x", []byte("after")); err != nil {
		t.Error(err)
	}
	for {
		if event := slow.must(); event.name == "" && event.body() == "after" {
			break
		}
	}
	_, _, text := r.do("GET", "/metrics", "")
	if strings.Contains(text, "beck_http_broadcasts_missed_total 0\n") || !strings.Contains(text, "beck_broadcasts_heard_total ") {
		t.Error("the metrics don't tell of it")
	}
}

// asked is a request as a replier gets it.
func (e *events) asked() *wire.Request {
	e.t.Helper()
	q, err := wire.DecodeRequest([]byte(e.must().data))
	if err != nil {
		e.t.Fatal(err)
	}
	return q
}

// reply is what came back to the one who asked.
type reply struct {
	status int
	head   http.Header
	text   string
}

func (r *running) ask(service, body string, headers ...string) <-chan reply {
	got := make(chan reply, 1)
	req := r.request("POST", "/v1/services/"+service, body, headers...)
	go func() {
		a, err := r.client.Do(req)
		if err != nil {
			got <- reply{text: err.Error()}
			return
		}
		defer a.Body.Close()
		text, err := io.ReadAll(a.Body)
		if err != nil {
			text = []byte(err.Error())
		}
		got <- reply{a.StatusCode, a.Header, string(text)}
	}()
	return got
}

func (a reply) problem() (p wire.Problem) {
	_ = json.Unmarshal([]byte(a.text), &p)
	return p
}

func TestRequestReply(t *testing.T) {
	engines(t, func(t *testing.T, r *running) {
		price := r.follow("/v1/services/price/requests")
		price.ready()
		got := r.ask("price", "what?\xff", "Beck-Key: k", "Beck-Header-Trace: t", "Beck-Timeout: 20s")
		q := price.asked()
		if m := q.Message; string(m.Body) != "what?\xff" || m.Key != "k" || m.Headers["trace"] != "t" || len(m.ID) < 20 ||
			time.Since(m.Time).Abs() > time.Minute || q.Timeout > 20*time.Second || q.Timeout < 15*time.Second {
			t.Errorf("asked %+v", q)
		}
		r.want(404, nil, "POST", "/v1/services/other/answers/"+q.Message.ID, "x")
		r.want(204, nil, "POST", "/v1/services/price/answers/"+q.Message.ID, "5\x00€")
		if a := <-got; a.status != 200 || a.text != "5\x00€" || a.head.Get("Content-Type") != "application/octet-stream" {
			t.Errorf("the answer is %+v", a)
		}
		r.want(404, nil, "POST", "/v1/services/price/answers/"+q.Message.ID, "again")

		got = r.ask("price", `{"body":"","headers":{"a":" b "}}`, "Content-Type: application/x-ndjson")
		if q = price.asked(); q.Message.Headers["a"] != " b " || len(q.Message.Body) != 0 {
			t.Errorf("asked %+v", q)
		}
		r.want(413, nil, "POST", "/v1/services/price/answers/"+q.Message.ID+"?failure=true", strings.Repeat("x", maxFailure+1))
		r.want(400, nil, "POST", "/v1/services/price/answers/"+q.Message.ID+"?failure=true", "\xff")
		r.want(204, nil, "POST", "/v1/services/price/answers/"+q.Message.ID+"?failure=true", "no such\nthing")
		if a := <-got; a.status != 502 || a.problem().Code != wire.CodeAnswerError || a.problem().Detail != "no such\nthing" {
			t.Errorf("the answer is %+v", a)
		}

		got = r.ask("price", "slow", "Beck-Timeout: 50ms")
		q = price.asked()
		if a := <-got; a.status != 504 || a.problem().Code != wire.CodeTimeout {
			t.Errorf("the answer is %+v", a)
		}
		time.Sleep(20 * time.Millisecond)
		r.want(404, nil, "POST", "/v1/services/price/answers/"+q.Message.ID, "late")

		for _, headers := range [][]string{
			{"Beck-Timeout: 0s"}, {"Beck-Timeout: 61m"}, {"Beck-Timeout: x"}, {"Beck-Delay: 1s"}, {"Idempotency-Key: k"},
			{"Content-Type: application/x-ndjson", "Beck-Key: k"},
		} {
			if a := <-r.ask("price", "x", headers...); a.status != 400 {
				t.Errorf("%q answers %+v", headers, a)
			}
		}
		for _, body := range []string{"{\"body\":\"\"}\n{\"body\":\"\"}", `{"body":"","delay":"5s"}`, ""} {
			if a := <-r.ask("price", body, "Content-Type: application/x-ndjson"); a.status < 400 || a.status == 503 {
				t.Errorf("%q answers %+v", body, a)
			}
		}
	})
}

// A replier that goes is known to have gone at once. What it had not been sent
// fails; what it was sent it may answer for a while.
func TestRepliersGo(t *testing.T) {
	engines(t, func(t *testing.T, r *running) {
		first := r.follow("/v1/services/s/requests")
		id := first.ready()
		got := r.ask("s", "x")
		q := first.asked()
		r.want(204, nil, "DELETE", "/v1/services/s/requests/"+id, "")
		if a := <-r.ask("s", "y"); a.problem().Code != wire.CodeNoReplier {
			t.Errorf("after the only replier has ended: %+v", a)
		}
		for {
			if _, err := first.next(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		r.want(204, nil, "POST", "/v1/services/s/answers/"+q.Message.ID, "done")
		if a := <-got; a.text != "done" {
			t.Errorf("the answer is %+v", a)
		}

		second := r.follow("/v1/services/s/requests")
		second.ready()
		second.close()
		deadline := time.Now().Add(5 * time.Second)
		for {
			a := <-r.ask("s", "y", "Beck-Timeout: 100ms")
			if a.problem().Code == wire.CodeNoReplier {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("after the only replier has gone: %+v", a)
			}
		}
		r.server.questions.mu.Lock()
		defer r.server.questions.mu.Unlock()
		if n := len(r.server.questions.repliers); n != 0 {
			t.Errorf("%d repliers are remembered", n)
		}
	})
}

// What repliers don't answer is bounded, and ends with the server.
func TestUnanswered(t *testing.T) {
	r := start(t, nil)
	s := r.follow("/v1/services/s/requests")
	s.ready()
	var all []<-chan reply
	for i := range 20 {
		all = append(all, r.ask("s", fmt.Sprint(i)))
	}
	for range all {
		s.asked()
	}
	go func() { _ = r.server.Shutdown(t.Context()) }()
	for _, got := range all {
		a := <-got
		if code := a.problem().Code; code != wire.CodeUncertain && code != wire.CodeAnswerError {
			t.Errorf("a request that the server has left is answered by %+v", a)
		}
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		r.server.questions.mu.Lock()
		n := len(r.server.questions.byID)
		r.server.questions.mu.Unlock()
		if n == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d requests are remembered", n)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// A page of another site can't make a browser a replier.
func TestRepliersOfOtherSites(t *testing.T) {
	r := start(t, nil)
	for _, header := range []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example"} {
		status, _, text := r.do("GET", "/v1/services/s/requests", "", header)
		if status != 403 || !strings.Contains(text, string(wire.CodeCrossOrigin)) {
			t.Errorf("%s answers %d, %s", header, status, text)
		}
	}
	if _, err := r.bus.Request(t.Context(), "s", beck.Message{Body: []byte("x")}); !errors.Is(err, beck.ErrNoReplier) {
		t.Errorf("there is a replier: %v", err)
	}
}

// A replier that doesn't read fills its own outbox only.
func TestReplierWithTooMuchToDo(t *testing.T) {
	q := &replier{
		server: &Server{questions: questions{byID: map[string]*question{}}}, waiting: newOutbox[*question](),
		open: map[string]*question{}, none: make(chan struct{}),
	}
	refused := make(chan string, 10*maxQuestions)
	m := &beck.Message{Body: []byte("x")}
	for range maxQuestions + 5 {
		q.take(m, time.Now().Add(time.Minute), answerInto(refused))
	}
	q.failing.Wait()
	if len(refused) != 5 || len(q.open) != maxQuestions {
		t.Errorf("%d are refused, %d are open", len(refused), len(q.open))
	}
	q.take(m, time.Now(), answerInto(refused))
	done := make(chan struct{})
	go func() { q.end(t.Context()); close(done) }()
	<-done
	if len(refused) != 5+maxQuestions || len(q.open) != 0 || len(q.server.questions.byID) != 0 {
		t.Errorf("%d are refused, %d are open", len(refused), len(q.open))
	}
}

func answerInto(refused chan<- string) func(context.Context, []byte, string) error {
	return func(_ context.Context, _ []byte, failure string) error { refused <- failure; return nil }
}
