package onhttp

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/wire"
)

// Join makes a subscription, or joins it.
func (e *engine) Join(ctx context.Context, topic, subscription string, config driver.JoinConfig) (bool, error) {
	from, err := position(config.From)
	if err != nil {
		return false, err
	}
	var answer wire.JoinAnswer
	err = e.jsonCall(ctx, http.MethodPut, subscriptionPath(topic, subscription), wire.JoinRequest{
		From: from, Lease: wire.Duration(config.Lease), Expires: wire.Duration(config.Expires), Queue: config.Queue,
	}, &answer)
	return answer.Existed, err
}

// Fetch leases messages, without waiting.
func (e *engine) Fetch(ctx context.Context, topic, subscription string, req driver.FetchRequest) (driver.Fetched, error) {
	body, err := json.Marshal(wire.FetchRequest{
		Consumer: req.Consumer, Max: min(req.Max, beck.MaxFetch), Recover: req.Recover,
	})
	if err != nil {
		return driver.Fetched{}, err
	}
	c := call{method: http.MethodPost, path: subscriptionPath(topic, subscription) + "/fetch", kind: kindJSON, body: body}
	answer, err := e.call(ctx, c)
	if err != nil {
		return driver.Fetched{}, err
	}
	got, err := wire.DecodeFetched(answer)
	if err != nil {
		return driver.Fetched{}, e.unreadable(c, err)
	}
	return driver.Fetched{Messages: asDriver(got.Messages), More: got.More, Next: got.Next, Lease: got.Lease, Lost: got.Lost, Era: got.Era}, nil
}

// Settle sends settlements, in one request unless they are very many.
func (e *engine) Settle(ctx context.Context, topic, subscription, consumer string, settlements []driver.Settlement) ([]string, error) {
	var notHeld []string
	for len(settlements) > 0 {
		n := min(len(settlements), beck.MaxFetch)
		req := wire.SettleRequest{Consumer: consumer, Settlements: make([]wire.Settlement, n)}
		for i, s := range settlements[:n] {
			req.Settlements[i] = settlement(s)
		}
		err := e.jsonCall(ctx, http.MethodPost, subscriptionPath(topic, subscription)+"/settle", req, nil)
		if p, ok := errors.AsType[*wire.Problem](err); ok && p.Code == wire.CodeNotHeld {
			notHeld, err = append(notHeld, p.NotHeld...), nil
		}
		if err != nil {
			return notHeld, err
		}
		settlements = settlements[n:]
	}
	return notHeld, nil
}

func settlement(s driver.Settlement) wire.Settlement {
	out := wire.Settlement{ID: s.ID, Do: wire.DoAck}
	switch s.Do {
	case driver.Retry:
		out.Do, out.After, out.Reason = wire.DoRetry, wire.Duration(s.After), s.Reason
	case driver.Release:
		out.Do = wire.DoRelease
	case driver.DeadLetter:
		out.Do, out.Reason = wire.DoDead, s.Reason
	case driver.Renew:
		out.Do = wire.DoRenew
	}
	return out
}

// Leave forgets a consumer.
func (e *engine) Leave(ctx context.Context, topic, subscription, consumer string) error {
	return e.jsonCall(ctx, http.MethodPost, subscriptionPath(topic, subscription)+"/leave",
		wire.LeaveRequest{Consumer: consumer}, nil)
}

// asDriver converts messages; the topic is set above the seam.
func asDriver(messages []beck.Message) []driver.Message {
	if len(messages) == 0 {
		return nil
	}
	out := make([]driver.Message, len(messages))
	for i, m := range messages {
		out[i] = driver.Message(m)
		out[i].Topic = ""
	}
	return out
}
