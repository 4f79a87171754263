package server

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/wire"
)

// engines runs a test on the reference engine and on disk.
func engines(t *testing.T, test func(t *testing.T, r *running)) {
	t.Run("model", func(t *testing.T) { test(t, start(t, nil)) })
	t.Run("disk", func(t *testing.T) { test(t, startOnDisk(t)) })
}

type published struct{ IDs []string }

type page struct {
	Messages []message
	Next     string
	More     bool
	Gap      *wire.Gap
}

type message struct {
	ID, Topic, Key string
	Headers        map[string]string
	Time           time.Time
	Attempt        int
	Body           *string
	Base64         []byte `json:"body_base64"`
}

func TestPublishAndRead(t *testing.T) {
	engines(t, func(t *testing.T, r *running) {
		var one, many published
		r.want(201, &one, "POST", "/v1/topics/orders/messages", "hello\n", "Content-Type: text/plain", "Beck-Key: k", "Beck-Header-Trace-Id: ä")
		r.want(201, &many, "POST", "/v1/topics/orders/messages",
			`{"body":"a","key":"k2","headers":{"X":"1"}}`+"\n"+`{"id":"9-9","topic":"x","time":"2020-01-01T00:00:00Z","attempt":5,"body":""}`+"\n"+`{"body_base64":"/w=="}`+"\n",
			"Content-Type: application/x-ndjson; charset=utf-8")
		if len(one.IDs) != 1 || len(many.IDs) != 3 {
			t.Fatalf("ids %q and %q", one.IDs, many.IDs)
		}
		var p page
		r.want(200, &p, "GET", "/v1/topics/orders/messages", "")
		if len(p.Messages) != 4 || p.More || p.Gap != nil || p.Next != many.IDs[2] {
			t.Fatalf("page %+v", p)
		}
		m := p.Messages[0]
		if m.ID != one.IDs[0] || m.Topic != "orders" || m.Key != "k" || m.Headers["trace-id"] != "ä" || *m.Body != "hello\n" || time.Since(m.Time).Abs() > time.Minute || m.Attempt != 0 {
			t.Errorf("message %+v", m)
		}
		if m := p.Messages[1]; m.Key != "k2" || m.Headers["x"] != "1" || *m.Body != "a" {
			t.Errorf("message %+v", m)
		}
		if m := p.Messages[2]; m.ID == "9-9" || *m.Body != "" {
			t.Errorf("message %+v", m)
		}
		if m := p.Messages[3]; m.Body != nil || string(m.Base64) != "\xff" {
			t.Errorf("message %+v", m)
		}
		r.want(200, &p, "GET", "/v1/topics/orders/messages?limit=2&from="+one.IDs[0], "")
		if len(p.Messages) != 2 || *p.Messages[0].Body != "a" || !p.More || p.Next != many.IDs[1] {
			t.Errorf("page %+v", p)
		}
		r.want(200, &p, "GET", "/v1/topics/orders/messages?from=-1h&limit=1000", "")
		if len(p.Messages) != 4 {
			t.Errorf("page %+v", p)
		}
		r.want(200, &p, "GET", "/v1/topics/nothing/messages", "")
		if len(p.Messages) != 0 || p.Messages == nil || p.Next != "start" {
			t.Errorf("page %+v", p)
		}
		if status, head, text := r.do("HEAD", "/v1/topics/orders/messages", ""); status != 200 || head.Get("Content-Length") == "" || text != "" {
			t.Errorf("HEAD answers %d, %v, %q", status, head, text)
		}
	})
}

func TestInspectTrimDelete(t *testing.T) {
	engines(t, func(t *testing.T, r *running) {
		ids := r.publish("orders", "0", "1", "2", "3", "4")
		r.want(201, nil, "PUT", "/v1/topics/orders/subscriptions/audit", `{"from":"`+ids[1]+`","lease":"2m"}`)

		var list struct{ Topics []wire.TopicSummary }
		r.want(200, &list, "GET", "/v1/topics", "")
		if want := (wire.TopicSummary{Name: "orders", Length: 5, LastID: ids[4], Subscriptions: 1}); len(list.Topics) != 1 || list.Topics[0] != want {
			t.Errorf("topics %+v", list.Topics)
		}
		var info wire.TopicInfo
		r.want(200, &info, "GET", "/v1/topics/orders", "")
		if info.Length != 5 || info.FirstID != ids[0] || info.LastID != ids[4] || len(info.Subscriptions) != 1 || info.Subscriptions[0].LastDelivered != ids[1] {
			t.Errorf("topic %+v", info)
		}
		var sub wire.SubscriptionInfo
		r.want(200, &sub, "GET", "/v1/topics/orders/subscriptions/audit", "")
		if sub.Name != "audit" || time.Duration(sub.Lease) != 2*time.Minute {
			t.Errorf("subscription %+v", sub)
		}
		var trimmed wire.TrimAnswer
		r.want(200, &trimmed, "DELETE", "/v1/topics/orders/messages?before="+ids[4], "")
		if trimmed.Removed != 2 { // the subscription needs the others
			t.Errorf("trimmed %d", trimmed.Removed)
		}
		var p page
		r.want(200, &p, "GET", "/v1/topics/orders/messages?from="+ids[0], "")
		if p.Gap == nil || string(p.Gap.After) != ids[0] || len(p.Messages) != 3 {
			t.Errorf("page %+v", p)
		}
		r.want(204, nil, "DELETE", "/v1/topics/orders/subscriptions/audit", "")
		r.want(204, nil, "DELETE", "/v1/topics/orders", "")
		r.want(404, nil, "GET", "/v1/topics/orders", "")
	})
}

// Every call says what is wrong with what it was given, and does nothing.
func TestRefusals(t *testing.T) {
	r := start(t, nil)
	id := r.publish("orders", "a")[0]
	r.want(201, nil, "PUT", "/v1/topics/orders/subscriptions/s", "")
	lines := "Content-Type: application/x-ndjson"
	messages, sub := "/v1/topics/orders/messages", "/v1/topics/orders/subscriptions/s"
	large := strings.Repeat("x", 1001)
	for _, c := range []struct {
		method, path, body, header string
		status                     int
		code                       wire.Code
		says                       string
	}{
		{"POST", messages, "", "", 400, wire.CodeInvalidMessage, "no body"},
		{"POST", messages, large, "", 413, wire.CodeTooLarge, "1000 bytes"},
		{"POST", messages, "x", "Beck-Timeout: 5s", 400, wire.CodeUnsupported, "Beck-Timeout"},
		{"POST", messages, "x", "Beck-Delay: 5", 400, wire.CodeInvalidMessage, "Beck-Delay"},
		{"POST", messages, "x", "Beck-Delay: -5s", 400, wire.CodeInvalidMessage, "past"},
		{"POST", messages, "x", "Beck-Delay: 1s|Beck-Delay: 2s", 400, wire.CodeInvalidMessage, "2 times"},
		{"POST", messages, "x", "Beck-Delay: 90000h", 400, wire.CodeInvalidMessage, "ten years"},
		{"POST", messages, "x", "Beck-Delay: 1s|Beck-At: 2030-01-01T00:00:00Z", 400, wire.CodeInvalidMessage, "both"},
		{"POST", messages, "x", "Beck-At: tomorrow", 400, wire.CodeInvalidMessage, "Beck-At"},
		{"POST", messages, "x", "Beck-At: 2020-01-01T00:00:00Z", 400, wire.CodeInvalidMessage, "past"},
		{"POST", messages, "x", "Beck-At: 0001-01-01T00:00:00Z", 400, wire.CodeInvalidMessage, "past"},
		{"POST", messages, "x", "Idempotency-Key: ", 400, wire.CodeInvalidMessage, "empty"},
		{"POST", messages, "x", "Idempotency-Key: " + strings.Repeat("x", 201), 413, wire.CodeTooLarge, "200"},
		{"POST", messages, `{"body":"x"}`, lines + "|Idempotency-Key: k", 400, wire.CodeUnsupported, "in each line"},
		{"POST", sub + "/settle", "{}", "Idempotency-Key: k", 400, wire.CodeUnsupported, "Idempotency-Key"},
		{"POST", messages, "x", "Beck-Key: \xff", 400, wire.CodeInvalidMessage, "UTF-8"},
		{"POST", messages, "x", "Content-Encoding: gzip", 400, wire.CodeUnsupported, "gzip"},
		{"POST", messages, `{"body":"x"}`, lines + "|Beck-Key: k", 400, wire.CodeUnsupported, "in each line"},
		{"POST", messages, "\n \n", lines, 400, wire.CodeInvalidMessage, "no line"},
		{"POST", messages, "{\"body\":\"x\"}\n{\"body\":\"x\",\"dely\":5}", lines, 400, wire.CodeMalformed, `line 2, at byte 19: unknown field "dely"`},
		{"POST", messages, "{\"body\":\"x\",\"delay\":5}", lines, 400, wire.CodeMalformed, `"delay": expected a string`},
		{"POST", messages, `{"key":"x"}`, lines, 400, wire.CodeInvalidMessage, "line 1"},
		{"POST", messages, "{\"body\":\"x\"}\n{\"body\":\"" + large + "\"}", lines, 413, wire.CodeTooLarge, "message 2 of 2"},
		{"POST", messages, strings.Repeat("{\"body\":\"\"}\n", beck.MaxBatch+1), lines, 413, wire.CodeTooLarge, "10000"},
		{"POST", "/v1/topics/a%2Fb/messages", "x", "", 400, wire.CodeInvalidName, `"a/b"`},
		{"POST", "/v1/topics/.x/messages", "x", "", 400, wire.CodeInvalidName, "start with"},
		{"GET", messages + "?from=nonsense", "", "", 400, wire.CodeInvalidPosition, "nonsense"},
		{"GET", messages + "?from=2999-01-01T00:00:00Z", "", "", 400, wire.CodeInvalidPosition, "future"},
		{"GET", messages + "?from=", "", "", 400, wire.CodeInvalidPosition, "start, new"},
		{"GET", messages + "?limit=0", "", "", 400, wire.CodeInvalidOption, "1 to 1000"},
		{"GET", messages + "?limit=1001", "", "", 400, wire.CodeInvalidOption, "1 to 1000"},
		{"GET", messages + "?limt=5", "", "", 400, wire.CodeInvalidOption, `"limt"`},
		{"GET", messages + "?limit=5&limit=6", "", "", 400, wire.CodeInvalidOption, "2 times"},
		{"DELETE", messages, "", "", 400, wire.CodeInvalidOption, "before"},
		{"DELETE", "/v1/topics/orders?before=new", "", "", 400, wire.CodeInvalidOption, "before"},
		{"POST", "/v1/topics/orders/purge", `{"before":"-24h"}`, "", 400, wire.CodeMalformed, `"before"`},
		{"DELETE", messages + "?before=new", `{"before":"-24h"}`, "", 400, wire.CodeMalformed, `"before"`},
		{"DELETE", "/v1/topics/orders", `{"before":"-24h"}`, "", 400, wire.CodeMalformed, `"before"`},
		{"DELETE", sub, `{"ids":[]}`, "", 400, wire.CodeMalformed, `"ids"`},
		{"POST", sub + "/pause", `{"for":"1h"}`, "", 400, wire.CodeMalformed, `"for"`},
		{"GET", "/v1/topics/orders/events?from=nonsense", "", "", 400, wire.CodeInvalidPosition, "nonsense"},
		{"GET", "/v1/topics/orders/events", "", "Last-Event-ID: nonsense", 400, wire.CodeInvalidPosition, "nonsense"},
		{"GET", "/v1/topics/_/events", "", "", 400, wire.CodeInvalidName, "start with"},
		{"GET", "/v1/topics/_/wake", "", "", 400, wire.CodeInvalidName, "start with"},
		{"GET", "/v1/topics/none", "", "", 404, wire.CodeTopicNotFound, ""},
		{"DELETE", "/v1/topics/none", "", "", 404, wire.CodeTopicNotFound, ""},
		{"PUT", "/v1/topics/orders/subscriptions/new", `{"from":"nonsense"}`, "", 400, wire.CodeInvalidPosition, ""},
		{"PUT", sub, `{"lease":"1ns"}`, "", 400, wire.CodeInvalidOption, "100ms"},
		{"PUT", sub, `{"lease":"x"}`, "", 400, wire.CodeMalformed, "not a duration"},
		{"PUT", sub, `{"leese":"1s"}`, "", 400, wire.CodeMalformed, `"leese"`},
		{"GET", "/v1/topics/orders/subscriptions/none", "", "", 404, wire.CodeSubscriptionNotFound, "none"},
		{"DELETE", "/v1/topics/orders/subscriptions/none", "", "", 404, wire.CodeSubscriptionNotFound, ""},
		{"POST", "/v1/topics/orders/subscriptions/none/fetch", `{"consumer":"c"}`, "", 404, wire.CodeSubscriptionNotFound, "PUT /v1/topics/orders/subscriptions/none"},
		{"POST", sub + "/fetch", "", "", 400, wire.CodeMalformed, "ends too early"},
		{"POST", sub + "/fetch", "{}", "", 400, wire.CodeInvalidName, "consumer"},
		{"POST", sub + "/fetch", `{"consumer":"c","max":1001}`, "", 400, wire.CodeInvalidOption, "1 to 1000"},
		{"POST", sub + "/fetch", `{"consumer":"c","wait":"61s"}`, "", 400, wire.CodeInvalidOption, "1m0s"},
		{"POST", sub + "/settle", `{"consumer":"c","settlements":[{"id":"` + id + `","do":"nack"}]}`, "", 400, wire.CodeInvalidOption, "nack"},
		{"POST", sub + "/settle", `{"consumer":"c","settlements":[{"id":"` + id + `","do":"ack"}]}`, "", 409, wire.CodeNotHeld, "all others"},
		{"POST", sub + "/leave", `{"consumer":""}`, "", 400, wire.CodeInvalidName, "consumer"},
		{"GET", "/v1/nothing", "", "", 404, wire.CodeNotFound, "/openapi.json"},
		{"GET", "/v1//topics", "", "", 404, wire.CodeNotFound, "empty parts"},
		{"POST", "/v1/topics/../topics/orders/messages", "x", "", 404, wire.CodeNotFound, "empty parts"},
		{"GET", "/v1/topics/", "", "", 404, wire.CodeNotFound, "/openapi.json"},
		{"PUT", sub + "?from=new", "", "", 400, wire.CodeInvalidOption, "takes none"},
		{"POST", messages + "?key=k", "x", "", 400, wire.CodeInvalidOption, "takes none"},
		{"GET", "/healthz?verbose=1", "", "", 400, wire.CodeInvalidOption, "verbose"},
		{"GET", "/v1/topics?%zz", "", "", 400, wire.CodeInvalidOption, "question mark"},
		{"PUT", sub, "", "Beck-Lease: 5s", 400, wire.CodeUnsupported, "Beck-Lease"},
		{"GET", "/v1/topics/orders/events", "", "Beck-Key: k", 400, wire.CodeUnsupported, "Beck-Key"},
		{"PATCH", messages, "", "", 405, wire.CodeMethodNotAllowed, "DELETE, GET, HEAD, POST"},
		{"POST", "/", "", "", 405, wire.CodeMethodNotAllowed, "GET, HEAD"},
		{"GET", "/healthz", "", "Host: evil.example", 421, wire.CodeHostNotAllowed, "evil.example"},
		{"POST", messages, "x", "Sec-Fetch-Site: cross-site", 403, wire.CodeCrossOrigin, "another site"},
		{"POST", messages, "x", "Origin: https://evil.example", 403, wire.CodeCrossOrigin, "another site"},
	} {
		name := fmt.Sprintf("%s %.80s %.60q %s", c.method, c.path, c.body, c.header)
		var headers []string
		if c.header != "" {
			headers = strings.Split(c.header, "|")
		}
		status, head, text := r.do(c.method, c.path, c.body, headers...)
		var p wire.Problem
		if err := json.Unmarshal([]byte(text), &p); err != nil || head.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s\n answers %d, %s", name, status, text)
			continue
		}
		if status != c.status || p.Status != status || p.Code != c.code || !strings.Contains(p.Detail, c.says) {
			t.Errorf("%s\n answers %s\n want %d %s … %s", name, text, c.status, c.code, c.says)
		}
	}
	if info, err := r.bus.Topic(t.Context(), "orders"); err != nil || info.Length != 1 || len(info.Subscriptions) != 1 {
		t.Errorf("a request that was refused has done something: %+v, %v", info, err)
	}
}

func TestOperation(t *testing.T) {
	r := start(t, nil)
	r.publish("a-secret-topic", "x")
	for _, path := range []string{"/healthz", "/readyz", "/openapi.json", "/v1/topics/a-secret-topic"} {
		r.want(200, new(any), "GET", path, "")
	}
	status, head, text := r.do("GET", "/", "")
	if status != 200 || !strings.HasPrefix(head.Get("Content-Type"), "text/html") || !strings.Contains(text, "openapi.json") || head.Get("Content-Security-Policy") == "" {
		t.Errorf("landing page: %d, %v", status, head)
	}
	_, _, text = r.do("GET", "/metrics", "")
	for _, want := range []string{
		"beck_messages_published_total 1", `beck_http_requests_total{route="GET /v1/topics/{topic}",status="200"} 1`, "go_goroutines",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if strings.Contains(text, "secret") {
		t.Error("metrics name a topic")
	}
}
