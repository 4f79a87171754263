package server

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/wire"
)

type entries struct {
	Entries []struct {
		message
		State, Consumer, Reason string
		Since, Due              time.Time
	}
	More bool
}

func (e entries) ids() (ids []string) {
	for _, one := range e.Entries {
		ids = append(ids, one.ID)
	}
	return ids
}

func TestDelayAndDedupe(t *testing.T) {
	r := start(t, nil)
	messages := "/v1/topics/orders/messages"
	var a, b, c, lines published
	soonest := time.Now().Add(time.Hour)
	r.want(201, &a, "POST", messages, "later", "Beck-Delay: 2h")
	r.want(201, &b, "POST", messages, "sooner", "Beck-At: "+soonest.Format(time.RFC3339Nano))
	r.want(201, &c, "POST", messages, "passed on its way", "Beck-At: "+time.Now().Add(-time.Second).Format(time.RFC3339Nano))
	r.want(201, &lines, "POST", messages, fmt.Sprintf(`{"body":"line","delay":"3h","dedupe":"x"}`+"\n"+`{"body":"again","dedupe":"x"}`+"\n"+`{"body":"y","at":%q}`,
		soonest.Add(9*time.Hour).Format(time.RFC3339Nano)), "Content-Type: application/x-ndjson")
	if lines.IDs[0] != lines.IDs[1] {
		t.Errorf("a line with the same dedupe has the ids %q", lines.IDs)
	}
	var p page
	r.want(200, &p, "GET", messages, "")
	if len(p.Messages) != 1 || p.Messages[0].ID != c.IDs[0] {
		t.Errorf("stored are %+v", p.Messages)
	}
	var delayed entries
	r.want(200, &delayed, "GET", "/v1/topics/orders/delayed?limit=2", "")
	if want := []string{b.IDs[0], a.IDs[0]}; !slices.Equal(delayed.ids(), want) || !delayed.More {
		t.Errorf("delayed are %+v, want %q and more", delayed, want)
	}
	if e := delayed.Entries[0]; e.State != "delayed" || *e.Body != "sooner" || e.Due.Sub(soonest).Abs() > 2*time.Millisecond {
		t.Errorf("entry %+v", e)
	}
	r.want(200, &delayed, "GET", "/v1/topics/orders/delayed?after="+a.IDs[0], "")
	if want := []string{lines.IDs[0], lines.IDs[2]}; !slices.Equal(delayed.ids(), want) || delayed.More {
		t.Errorf("delayed are %+v, want %q", delayed, want)
	}
	var missing wire.Problem
	r.want(404, &missing, "POST", "/v1/topics/orders/delayed/cancel", fmt.Sprintf(`{"ids":[%q,"d0-0",%q]}`, a.IDs[0], b.IDs[0]))
	if missing.Code != wire.CodeMessageNotFound || !slices.Equal(missing.Missing, []string{"d0-0"}) {
		t.Errorf("problem %+v", missing)
	}
	var done wire.DoneAnswer
	r.want(200, &done, "POST", "/v1/topics/orders/delayed/cancel", fmt.Sprintf(`{"ids":[%q]}`, lines.IDs[2]))
	r.want(200, &delayed, "GET", "/v1/topics/orders/delayed", "")
	if done.Done != 1 || !slices.Equal(delayed.ids(), lines.IDs[:1]) {
		t.Errorf("%d were cancelled, left are %q", done.Done, delayed.ids())
	}
	var once, again published
	r.want(201, &once, "POST", messages, "x", "Idempotency-Key: k")
	r.want(201, &again, "POST", messages, "x", "Idempotency-Key: k")
	if once.IDs[0] != again.IDs[0] {
		t.Errorf("published twice: %q and %q", once.IDs, again.IDs)
	}
}

func TestQueues(t *testing.T) {
	engines(t, func(t *testing.T, r *running) {
		var pushed published
		r.want(201, &pushed, "POST", "/v1/queues/emails/messages", `{"body":"a","key":"k"}`+"\n"+`{"body":"b"}`, "Content-Type: application/x-ndjson")
		sub := "/v1/topics/emails/subscriptions/" + beck.QueueSubscription
		var got struct{ Messages []message }
		r.want(200, &got, "POST", sub+"/fetch", `{"consumer":"c"}`)
		if len(got.Messages) != 2 || got.Messages[0].ID != pushed.IDs[0] || got.Messages[0].Key != "k" {
			t.Fatalf("fetched %+v", got)
		}
		r.want(200, nil, "POST", sub+"/settle", fmt.Sprintf(`{"consumer":"c","settlements":[{"id":%q,"do":"ack"}]}`, pushed.IDs[0]))
		var info wire.TopicInfo
		r.want(200, &info, "GET", "/v1/topics/emails", "")
		if !info.Queue || info.Length != 1 || len(info.Subscriptions) != 1 {
			t.Errorf("queue %+v", info)
		}
		var p wire.Problem
		r.want(409, &p, "PUT", "/v1/topics/emails/subscriptions/audit", "")
		if p.Code != wire.CodeWrongType {
			t.Errorf("a second subscription of a queue: %+v", p)
		}
		r.want(201, nil, "PUT", "/v1/topics/plain/subscriptions/audit", `{"expires":"1h"}`)
		r.want(409, nil, "POST", "/v1/queues/plain/messages", "x")
		r.want(400, nil, "PUT", "/v1/topics/plain/subscriptions/audit", `{"queue":true}`)
		var sub2 wire.SubscriptionInfo
		r.want(200, &sub2, "GET", "/v1/topics/plain/subscriptions/audit", "")
		if time.Duration(sub2.Expires) != time.Hour {
			t.Errorf("subscription %+v", sub2)
		}
	})
}

func TestBounds(t *testing.T) {
	r := start(t, nil)
	r.want(204, nil, "PUT", "/v1/topics/small", `{"max_age":"forever","max_messages":2,"dedupe_window":"1m"}`)
	r.want(201, nil, "PUT", "/v1/topics/small/subscriptions/s", "")
	lines := "Content-Type: application/x-ndjson"
	status, _, text := r.do("POST", "/v1/topics/small/messages", `{"body":"a"}`+"\n"+`{"body":"b"}`+"\n"+`{"body":"c"}`, lines)
	var p wire.Problem
	if status != http.StatusInsufficientStorage {
		t.Fatalf("a full topic answers %d: %s", status, text)
	}
	r.want(507, &p, "POST", "/v1/topics/small/messages", "d")
	if p.Code != wire.CodeTopicFull || len(p.IDs) != 0 {
		t.Errorf("problem %+v", p)
	}
	r.want(204, nil, "PUT", "/v1/topics/small", `{"max_messages":1,"drop_oldest":true}`)
	r.want(201, nil, "POST", "/v1/topics/small/messages", "e")
	var got struct {
		Messages []message
		Lost     int64
	}
	r.want(200, &got, "POST", "/v1/topics/small/subscriptions/s/fetch", `{"consumer":"c"}`)
	if len(got.Messages) != 1 || *got.Messages[0].Body != "e" || got.Lost != 2 {
		t.Errorf("fetched %+v, want e and two lost", got)
	}
	var info wire.TopicInfo
	r.want(200, &info, "GET", "/v1/topics/small", "")
	if want := (wire.TopicConfig{MaxAge: wire.Age(7 * 24 * time.Hour), MaxMessages: 1, DropOldest: true, DedupeWindow: wire.Duration(10 * time.Minute)}); info.Config != want || info.Dropped != 2 {
		t.Errorf("topic %+v", info)
	}
	for body, says := range map[string]int{
		`{"max_age":"-5s"}`: 400, `{"max_messages":-1}`: 400, `{"drop_oldest":true}`: 400, `{"dedupe_window":"1ms"}`: 400, `{"maxage":"5s"}`: 400, "": 400,
	} {
		r.want(says, nil, "PUT", "/v1/topics/small", body)
	}
}

func TestDeadLetters(t *testing.T) {
	engines(t, func(t *testing.T, r *running) {
		ids := r.publish("orders", "a", "b", "c", "d")
		sub := "/v1/topics/orders/subscriptions/billing"
		r.want(201, nil, "PUT", sub, "")
		r.want(200, nil, "POST", sub+"/fetch", `{"consumer":"c","max":3}`)
		r.want(200, nil, "POST", sub+"/settle", fmt.Sprintf(`{"consumer":"c","settlements":[
			{"id":%q,"do":"dead","reason":"no\nway"},{"id":%q,"do":"retry","after":"1h","reason":"soon"}]}`, ids[0], ids[1]))
		for i, state := range []string{"dead", "waiting", "held", "ready"} {
			var e entries
			r.want(200, &e, "GET", sub+"/messages?state="+state, "")
			if len(e.Entries) != 1 || e.Entries[0].ID != ids[i] || e.Entries[0].State != state || e.Entries[0].Body == nil {
				t.Errorf("%s are %+v", state, e)
			}
			if one := e.Entries[0]; state == "dead" && (one.Reason != "no\nway" || one.Attempt != 1) ||
				state == "waiting" && (one.Reason != "soon" || time.Until(one.Due) < 50*time.Minute) || state == "held" && one.Consumer != "c" {
				t.Errorf("%s is %+v", state, one)
			}
		}
		for _, bad := range []string{"", "?state=", "?state=lost", "?state=delayed", "?state=dead&limit=0", "?state=dead&after="} {
			r.want(400, nil, "GET", sub+"/messages"+bad, "")
		}
		var open wire.OutstandingAnswer
		r.want(200, &open, "POST", sub+"/outstanding", fmt.Sprintf(`{"ids":[%q,%q]}`, ids[0], ids[2]))
		if len(open.Open) != 2 || open.Open[ids[0]] != beck.StateDead || open.Open[ids[2]] != beck.StateHeld {
			t.Errorf("open are %+v", open)
		}
		var p wire.Problem
		r.want(404, &p, "POST", sub+"/dead/requeue", fmt.Sprintf(`{"ids":[%q,%q]}`, ids[0], ids[3]))
		if p.Code != wire.CodeMessageNotFound || !slices.Equal(p.Missing, ids[3:]) {
			t.Errorf("problem %+v", p)
		}
		r.want(404, nil, "POST", sub+"/dead/drop", fmt.Sprintf(`{"ids":[%q]}`, ids[0]))
		r.want(404, nil, "POST", "/v1/topics/orders/subscriptions/none/dead/drop", fmt.Sprintf(`{"ids":[%q]}`, ids[0]))
		r.want(400, nil, "POST", sub+"/dead/drop", `{"ids":["a b"]}`)
		r.want(200, nil, "POST", sub+"/dead/drop", `{"ids":[]}`)
	})
}

func TestSteering(t *testing.T) {
	engines(t, func(t *testing.T, r *running) {
		ids := r.publish("orders", "a", "b", "c")
		sub := "/v1/topics/orders/subscriptions/s"
		r.want(201, nil, "PUT", sub, `{"from":"new"}`)
		fetch := func() (bodies []string) {
			var got struct{ Messages []message }
			r.want(200, &got, "POST", sub+"/fetch", `{"consumer":"c"}`)
			for _, m := range got.Messages {
				bodies = append(bodies, *m.Body)
			}
			return bodies
		}
		r.want(204, nil, "POST", sub+"/seek", `{"to":"`+ids[0]+`"}`)
		r.want(204, nil, "POST", sub+"/pause", "")
		if got := fetch(); got != nil {
			t.Errorf("a paused subscription delivers %q", got)
		}
		var info wire.SubscriptionInfo
		if r.want(200, &info, "GET", sub, ""); !info.Paused {
			t.Errorf("subscription %+v", info)
		}
		r.want(204, nil, "POST", sub+"/resume", "")
		if got := fetch(); !slices.Equal(got, []string{"b", "c"}) {
			t.Errorf("fetched %q", got)
		}
		for _, bad := range []string{`{"to":"nonsense"}`, `{}`, `{"to":"@` + ids[0] + `"}`} {
			r.want(400, nil, "POST", sub+"/seek", bad)
		}
		r.want(404, nil, "POST", "/v1/topics/orders/subscriptions/none/seek", `{"to":"start"}`)
		r.want(404, nil, "POST", "/v1/topics/orders/subscriptions/none/pause", "")
		var purged wire.TrimAnswer
		if r.want(200, &purged, "POST", "/v1/topics/orders/purge", ""); purged.Removed != 3 {
			t.Errorf("purged %d", purged.Removed)
		}
		r.want(404, nil, "POST", "/v1/topics/none/purge", "")
	})
}

func TestConfirm(t *testing.T) {
	engines(t, func(t *testing.T, r *running) {
		ids := r.publish("orders", "a", "b")
		for _, name := range []string{"s1", "s2"} {
			r.want(201, nil, "PUT", "/v1/topics/orders/subscriptions/"+name, "")
		}
		confirm := func(wait string) (answer wire.ConfirmAnswer) {
			r.want(200, &answer, "POST", "/v1/topics/orders/confirm", fmt.Sprintf(`{"ids":[%q,%q],"subscriptions":["s1","s2"],"wait":%q}`, ids[0], ids[1], wait))
			return answer
		}
		for _, wait := range []string{"0s", "30ms"} {
			if got := confirm(wait); got.Confirmed || len(got.Open) != 2 || got.Open["s1"][ids[0]] != beck.StateReady {
				t.Errorf("after %s: %+v", wait, got)
			}
		}
		for _, name := range []string{"s1", "s2"} {
			r.want(200, nil, "POST", "/v1/topics/orders/subscriptions/"+name+"/fetch", `{"consumer":"c"}`)
		}
		time.AfterFunc(50*time.Millisecond, func() {
			for _, name := range []string{"s1", "s2"} {
				if err := r.bus.Settle(t.Context(), "orders", name, "c", beck.Ack(ids[0]), beck.Ack(ids[1])); err != nil {
					t.Error(err)
				}
			}
		})
		if got := confirm("20s"); !got.Confirmed || len(got.Open) != 0 {
			t.Errorf("got %+v", got)
		}
		for body, status := range map[string]int{
			`{"ids":["x"],"subscriptions":[]}`:                                400,
			`{"ids":["x"],"subscriptions":["s1"],"wait":"61s"}`:               400,
			`{"ids":["` + ids[0] + `"],"subscriptions":["none"]}`:             404,
			`{"ids":["x y"],"subscriptions":["s1"]}`:                          400,
			`{"ids":["` + ids[0] + `"],"subscriptions":["none"],"wait":"5s"}`: 404,
		} {
			r.want(status, nil, "POST", "/v1/topics/orders/confirm", body)
		}
	})
}

func TestSchedules(t *testing.T) {
	r := start(t, nil)
	put := `{"topic":"reports","spec":"*/5 * * * *","zone":"UTC","missed":"all","message":{"key":"k","body":"go"},"last":"2026-11-21T08:00:00Z"}`
	r.want(204, nil, "PUT", "/v1/schedules/daily", put)
	var list wire.Schedules
	r.want(200, &list, "GET", "/v1/schedules", "")
	if len(list.Schedules) != 1 {
		t.Fatalf("schedules %+v", list)
	}
	s := list.Schedules[0]
	if s.Name != "daily" || s.Spec != "*/5 * * * *" || s.Zone != "UTC" || s.Missed != "all" || *s.Message.Body != "go" || s.Version == "" {
		t.Errorf("schedule %+v", s)
	}
	tick := fmt.Sprintf(`{"topic":"reports","version":%q,"tick":"2026-11-21T08:05:00Z","message":{"key":"k","body":"go"}}`, s.Version)
	var ticked wire.TickAnswer
	r.want(200, &ticked, "POST", "/v1/schedules/daily/tick", tick)
	if !ticked.Done || ticked.ID == "" {
		t.Errorf("ticked %+v", ticked)
	}
	ticked = wire.TickAnswer{}
	if r.want(200, &ticked, "POST", "/v1/schedules/daily/tick", tick); ticked.Done {
		t.Errorf("ticked twice")
	}
	var p page
	if r.want(200, &p, "GET", "/v1/topics/reports/messages", ""); len(p.Messages) != 1 || p.Messages[0].Key != "k" {
		t.Errorf("published %+v", p)
	}
	for path, body := range map[string]string{
		"PUT /v1/schedules/daily":       `{"topic":"reports","spec":"x","message":{}}`,
		"PUT /v1/schedules/_":           put,
		"PUT /v1/schedules/spec":        `{"topic":"reports","spec":"61 * * * *","message":{"body":""}}`,
		"PUT /v1/schedules/zone":        `{"topic":"reports","spec":"@daily","zone":"Nowhere","message":{"body":""}}`,
		"PUT /v1/schedules/missed":      `{"topic":"reports","spec":"@daily","missed":"some","message":{"body":""}}`,
		"PUT /v1/schedules/other":       `{"name":"daily","topic":"reports","spec":"x","message":{"body":""}}`,
		"POST /v1/schedules/daily/tick": `{"topic":"reports","version":"v","message":{"body":""}}`,
		"DELETE /v1/schedules/_":        "",
	} {
		var method, to string
		if _, err := fmt.Sscan(path, &method, &to); err != nil {
			t.Fatal(err)
		}
		r.want(400, nil, method, to, body)
	}
	r.want(204, nil, "DELETE", "/v1/schedules/daily", "")
	var gone wire.Problem
	if r.want(404, &gone, "DELETE", "/v1/schedules/daily", ""); gone.Code != wire.CodeScheduleNotFound {
		t.Errorf("problem %+v", gone)
	}
}
