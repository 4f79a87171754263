package server

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/drivertest/model"
)

// inEra is an engine in an era that can be changed. A change shows with the next hint.
type inEra struct {
	*model.Engine
	mu  sync.Mutex
	era string
}

func (e *inEra) now() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.era
}

func (e *inEra) change(era string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.era = era
}

func (e *inEra) Read(ctx context.Context, topic string, from driver.Position, max int) (driver.Page, error) {
	page, err := e.Engine.Read(ctx, topic, from, max)
	page.Era = e.now()
	return page, err
}

func (e *inEra) Fetch(ctx context.Context, topic, subscription string, req driver.FetchRequest) (driver.Fetched, error) {
	got, err := e.Engine.Fetch(ctx, topic, subscription, req)
	got.Era = e.now()
	return got, err
}

// Who follows, reads by page or fetches sees that messages may be lost.
func TestAnotherEra(t *testing.T) {
	engine := &inEra{Engine: model.New(time.Now), era: "e0"}
	bus, err := beck.New(engine, &beck.Options{Logger: silent()})
	if err != nil {
		t.Fatal(err)
	}
	r := serve(t, bus, nil)
	call := func(method, path, body string) (got struct {
		Era string
		Gap json.RawMessage
		IDs []string
	}) {
		t.Helper()
		answer, err := r.client.Do(r.request(method, path, body))
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode >= 300 || json.Unmarshal(text, &got) != nil {
			t.Fatalf("%s %s: %d %s, %v", method, path, answer.StatusCode, text, err)
		}
		return got
	}
	const messages, fetch = "/v1/topics/t/messages", "/v1/topics/t/subscriptions/s/fetch"
	first := call("POST", messages, "a").IDs[0]
	call("PUT", "/v1/topics/t/subscriptions/s", "")
	want := func(what, era, gap string, got struct {
		Era string
		Gap json.RawMessage
		IDs []string
	}) {
		t.Helper()
		if !strings.HasSuffix(got.Era, "."+era) || string(got.Gap) != gap {
			t.Errorf("%s: era %q and gap %s, want %q and %q", what, got.Era, got.Gap, era, gap)
		}
	}
	old := call("GET", messages, "")
	want("page", "e0", "", old)
	want("fetch", "e0", "", call("POST", fetch, `{"consumer":"c"}`))
	stream, err := r.client.Do(r.request("GET", "/v1/topics/t/events?from=start", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	lines := bufio.NewScanner(stream.Body)
	until := func(line string) {
		t.Helper()
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), line) {
				return
			}
			if strings.HasPrefix(lines.Text(), "event:") {
				t.Errorf("%s before %s", lines.Text(), line)
			}
		}
		t.Fatalf("the stream has ended: %v", lines.Err())
	}
	until("id: " + first)

	engine.change("e1")
	call("POST", messages, "b")
	until("event: gap")
	until("id: " + first)
	until(`data: {"after":"` + first + `","resume":"` + first + `"}`)
	until(`data: {"id":`)
	want("page", "e1", "", call("GET", messages, ""))
	want("fetch", "e1", "true", call("POST", fetch, `{"consumer":"c"}`))
	want("fetch again", "e1", "", call("POST", fetch, `{"consumer":"c"}`))
	want("fetch by one with an era of before", "e1", "true", call("POST", fetch, `{"consumer":"d","era":"`+old.Era+`"}`))
	answer, err := r.client.Do(r.request("GET", "/metrics", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if text, err := io.ReadAll(answer.Body); err != nil || !strings.Contains(string(text), "\nbeck_gaps_total 3\n") {
		t.Errorf("the metrics don't count three gaps, %v", err)
	}
}
