package server

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/drivertest/model"
	"github.com/beckmq/beck/internal/wire"
)

// oneReplica is a bus on an engine with one replica, and a default.
func oneReplica(t *testing.T, standard beck.Durability, asked *[]driver.Durability) *beck.Bus {
	t.Helper()
	engine := model.New(time.Now)
	engine.Durable = func(d driver.Durability) error {
		*asked = append(*asked, d)
		switch {
		case d.Replicas > 100:
			return fmt.Errorf("%w: so many replicas", beck.ErrOption)
		case d.Replicas > 1:
			return fmt.Errorf("%w: 1 of %d replicas within %v", driver.ErrDurability, d.Replicas, d.Within)
		}
		return nil
	}
	bus, err := beck.New(engine, &beck.Options{Logger: silent(), Durability: standard})
	if err != nil {
		t.Fatal(err)
	}
	return bus
}

func TestDurability(t *testing.T) {
	var asked []driver.Durability
	standard := beck.Durability{Replicas: 1, Within: time.Second}
	r := serve(t, oneReplica(t, standard, &asked), nil)
	const ndlines = "Content-Type: application/x-ndjson"
	for _, c := range []struct {
		name, body, path string
		headers          []string
		status           int
		code             wire.Code
		ids              int
		asked            []driver.Durability
	}{
		{name: "default", body: "a", status: 201, ids: 1, asked: []driver.Durability{standard}},
		{name: "header", body: "a", headers: []string{"Beck-Durability: synced, within=2s"}, status: 201, ids: 1,
			asked: []driver.Durability{{Synced: true, Within: 2 * time.Second}}},
		{name: "written", body: "a", headers: []string{"Beck-Durability: written"}, status: 201, ids: 1, asked: []driver.Durability{{}}},
		{name: "lines", body: `{"body":"a","durability":"replicas=1,synced"}` + "\n" + `{"body":"b"}` + "\n" + `{"body":"c","durability":"written"}`,
			headers: []string{ndlines}, status: 201, ids: 3, asked: []driver.Durability{{Replicas: 1, Synced: true}, standard, {}}},
		{name: "missed", body: "a", headers: []string{"Beck-Durability: replicas=2, within=1ms"}, status: 424, code: wire.CodeDurability, ids: 1,
			asked: []driver.Durability{{Replicas: 2, Within: time.Millisecond}}},
		{name: "missed by a task", body: "a", path: "/v1/queues/q/messages", headers: []string{"Beck-Durability: replicas=2"},
			status: 424, code: wire.CodeDurability, ids: 1, asked: []driver.Durability{{Replicas: 2}}},
		{name: "missed by one of many", body: `{"body":"a"}` + "\n" + `{"body":"b","durability":"replicas=3"}`, headers: []string{ndlines},
			status: 424, code: wire.CodeDurability, ids: 2, asked: []driver.Durability{standard, {Replicas: 3}}},
		{name: "never", body: "a", headers: []string{"Beck-Durability: replicas=200"}, status: 400, code: wire.CodeInvalidOption, asked: []driver.Durability{{Replicas: 200}}},
		{name: "nonsense", body: "a", headers: []string{"Beck-Durability: replicas=many"}, status: 400, code: wire.CodeInvalidOption},
		{name: "too long", body: "a", headers: []string{"Beck-Durability: synced, within=1h"}, status: 400, code: wire.CodeInvalidOption},
		{name: "empty", body: "a", headers: []string{"Beck-Durability: "}, status: 400, code: wire.CodeInvalidOption},
		{name: "twice", body: "a", headers: []string{"Beck-Durability: synced", "Beck-Durability: synced"}, status: 400, code: wire.CodeInvalidMessage},
		{name: "header with lines", body: `{"body":"a"}`, headers: []string{ndlines, "Beck-Durability: synced"}, status: 400, code: wire.CodeUnsupported},
		{name: "nonsense in a line", body: `{"body":"a","durability":"high"}`, headers: []string{ndlines}, status: 400, code: wire.CodeMalformed},
		{name: "elsewhere", body: "{}", path: "/v1/topics/t/subscriptions/s/settle", headers: []string{"Beck-Durability: synced"}, status: 400, code: wire.CodeUnsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked = nil
			path := c.path
			if path == "" {
				path = "/v1/topics/t/messages"
			}
			answer, err := r.client.Do(r.request("POST", path, c.body, c.headers...))
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			text, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Fatal(err)
			}
			var p wire.Problem
			if err := json.Unmarshal(text, &p); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if answer.StatusCode != c.status || p.Code != c.code || len(p.IDs) != c.ids {
				t.Errorf("%d %s, want %d, code %q and %d ids", answer.StatusCode, text, c.status, c.code, c.ids)
			}
			if c.code == wire.CodeDurability && (!strings.HasPrefix(p.Detail, "stored as "+p.IDs[0]) || !strings.Contains(p.Detail, "1 of ")) {
				t.Errorf("the detail is %q; want what is stored, and why", p.Detail)
			}
			if fmt.Sprint(asked) != fmt.Sprint(c.asked) {
				t.Errorf("the engine was asked for %+v, want %+v", asked, c.asked)
			}
		})
	}
	page, err := r.bus.Read(t.Context(), "t", beck.FromStart, 100)
	if err != nil || len(page.Messages) != 9 {
		t.Errorf("%d messages are stored, %v; want 9: what missed its durability is there, once", len(page.Messages), err)
	}
}

// A tick that misses its durability is published, and the answer has its id.
func TestDurabilityOfTicks(t *testing.T) {
	var asked []driver.Durability
	r := serve(t, oneReplica(t, beck.Durability{Replicas: 2}, &asked), nil)
	if err := r.bus.PutSchedule(t.Context(), beck.Schedule{
		Name: "s", Topic: "t", Spec: "@hourly", Version: "v", Last: time.Now().Add(-2 * time.Hour), Message: beck.Message{Body: []byte("a")},
	}); err != nil {
		t.Fatal(err)
	}
	tick := func(n int, durability string) (int, wire.Problem) {
		t.Helper()
		body := fmt.Sprintf(`{"topic":"t","version":"v","tick":%q,"message":{"body":"a"}%s}`,
			time.Now().Add(time.Duration(n)*time.Minute).Format(time.RFC3339), durability)
		answer, err := r.client.Do(r.request("POST", "/v1/schedules/s/tick", body))
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		var p wire.Problem
		if err := json.NewDecoder(answer.Body).Decode(&p); err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, p
	}
	if status, p := tick(1, ""); status != http.StatusFailedDependency || len(p.IDs) != 1 {
		t.Errorf("%d %+v, want 424 and an id", status, p)
	}
	if status, p := tick(2, `,"durability":"written"`); status != http.StatusOK {
		t.Errorf("%d %+v, want 200", status, p)
	}
	if status, p := tick(3, `,"durability":"much"`); status != http.StatusBadRequest || p.Code != wire.CodeInvalidOption {
		t.Errorf("%d %+v, want 400", status, p)
	}
}
