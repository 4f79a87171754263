package server

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/wire"
)

type fetched struct {
	Messages    []message
	Lease, Next wire.Duration
	More        bool
}

const subscriptionOf = "/v1/topics/orders/subscriptions/billing"

func TestSubscription(t *testing.T) {
	engines(t, func(t *testing.T, r *running) {
		var joined wire.JoinAnswer
		r.want(201, &joined, "PUT", subscriptionOf, "")
		if joined.Existed {
			t.Error("a new subscription existed")
		}
		r.want(200, &joined, "PUT", subscriptionOf, `{"from":"new","lease":"10s"}`)
		if !joined.Existed {
			t.Error("joining again made the subscription")
		}
		ids := r.publish("orders", "a", "b", "c", "d", "e")
		var got fetched
		r.want(200, &got, "POST", subscriptionOf+"/fetch", `{"consumer":"c1","max":4}`)
		if len(got.Messages) != 4 || !got.More || time.Duration(got.Lease) != 10*time.Second || got.Messages[0].Attempt != 1 || *got.Messages[3].Body != "d" {
			t.Fatalf("fetched %+v", got)
		}
		r.want(200, &got, "POST", subscriptionOf+"/fetch", `{"consumer":"c1","max":2,"recover":true}`)
		if len(got.Messages) != 2 || got.Messages[0].ID != ids[0] || got.Messages[0].Attempt != 2 {
			t.Fatalf("recovered %+v", got)
		}
		settle := func(settlements string) (p wire.Problem, settled wire.SettleAnswer) {
			t.Helper()
			_, _, text := r.do("POST", subscriptionOf+"/settle", `{"consumer":"c1","settlements":[`+settlements+`]}`)
			_, _ = json.Unmarshal([]byte(text), &p), json.Unmarshal([]byte(text), &settled)
			return p, settled
		}
		_, settled := settle(fmt.Sprintf(`{"id":%q,"do":"ack"},{"id":%q,"do":"retry","after":"1h","reason":"later"},{"id":%q,"do":"dead","reason":"no"},{"id":%q,"do":"renew"}`, ids[0], ids[1], ids[2], ids[3]))
		if settled.Settled != 4 {
			t.Errorf("settled %+v", settled)
		}
		p, _ := settle(fmt.Sprintf(`{"id":%q,"do":"renew"},{"id":%q,"do":"release"}`, ids[0], ids[3]))
		if p.Code != wire.CodeNotHeld || len(p.NotHeld) != 1 || p.NotHeld[0] != ids[0] {
			t.Errorf("problem %+v", p)
		}
		var info wire.SubscriptionInfo
		r.want(200, &info, "GET", subscriptionOf, "")
		if info.Waiting+info.Pending != 2 || info.Dead != 1 || len(info.Consumers) != 1 || info.Consumers[0].Name != "c1" {
			t.Errorf("subscription %+v", info)
		}
		// What was released, and what was never delivered, go to another one.
		r.want(200, &got, "POST", subscriptionOf+"/fetch", `{"consumer":"c2","wait":"1s"}`)
		if len(got.Messages) != 2 || got.Messages[0].Attempt != 1 || got.Messages[1].Attempt != 1 {
			t.Errorf("fetched %+v", got)
		}
		r.want(204, nil, "POST", subscriptionOf+"/leave", `{"consumer":"c1"}`)
		r.want(200, &info, "GET", subscriptionOf, "")
		if len(info.Consumers) != 1 || info.Consumers[0].Name != "c2" {
			t.Errorf("after c1 has left: %+v", info.Consumers)
		}
	})
}

func TestFetchWaits(t *testing.T) {
	engines(t, func(t *testing.T, r *running) {
		r.want(201, nil, "PUT", subscriptionOf, "")
		began := time.Now()
		var got fetched
		r.want(200, &got, "POST", subscriptionOf+"/fetch", `{"consumer":"c","wait":"100ms"}`)
		if took := time.Since(began); len(got.Messages) != 0 || got.Messages == nil || took < 100*time.Millisecond {
			t.Errorf("fetched %+v after %v", got, took)
		}
		go func() {
			time.Sleep(50 * time.Millisecond)
			r.publish("orders", "a")
		}()
		began = time.Now()
		r.want(200, &got, "POST", subscriptionOf+"/fetch", `{"consumer":"c","wait":"30s"}`)
		if took := time.Since(began); len(got.Messages) != 1 || took > 5*time.Second {
			t.Errorf("fetched %+v after %v", got, took)
		}
	})
}

// A client that goes away while it waits is given nothing after that.
func TestFetchEndsWithItsClient(t *testing.T) {
	engines(t, func(t *testing.T, r *running) {
		r.want(201, nil, "PUT", subscriptionOf, `{"lease":"1h"}`)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		answer, err := r.client.Do(r.request("POST", subscriptionOf+"/fetch", `{"consumer":"gone","wait":"30s"}`).WithContext(ctx))
		if err == nil {
			t.Fatalf("the fetch is answered: %s", answer.Status)
		}
		time.Sleep(200 * time.Millisecond) // until the server has noticed
		r.publish("orders", "a")
		var got fetched
		r.want(200, &got, "POST", subscriptionOf+"/fetch", `{"consumer":"here","wait":"5s"}`)
		if len(got.Messages) != 1 || got.Messages[0].Attempt != 1 {
			t.Errorf("fetched %+v", got)
		}
	})
}

// Waiting ends with the server, and says so.
func TestFetchEndsWithTheServer(t *testing.T) {
	r := start(t, nil)
	r.want(201, nil, "PUT", subscriptionOf, "")
	go func() {
		time.Sleep(100 * time.Millisecond)
		r.server.end()
	}()
	var p wire.Problem
	r.want(503, &p, "POST", subscriptionOf+"/fetch", `{"consumer":"c","wait":"30s"}`)
	if p.Code != wire.CodeUnavailable {
		t.Errorf("problem %+v", p)
	}
	r.want(503, &p, "GET", "/readyz", "")
	r.want(503, &p, "GET", "/v1/topics/orders/events", "")
	if p.Code != wire.CodeUnavailable {
		t.Errorf("problem %+v", p)
	}
}
