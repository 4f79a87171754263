package onhttp

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/wire"
)

// Configure sets what a topic keeps.
func (e *engine) Configure(ctx context.Context, topic string, config driver.TopicConfig) error {
	c := beck.TopicConfig(config)
	if c.MaxAge == 0 {
		c.MaxAge = beck.Forever
	}
	return e.jsonCall(ctx, http.MethodPut, topicPath(topic), wire.TopicConfigOf(c), nil)
}

func driverConfig(c wire.TopicConfig) driver.TopicConfig {
	config := driver.TopicConfig(c.Beck())
	config.MaxAge = max(0, config.MaxAge) // which is beck.Forever below zero
	return config
}

// Peek looks at messages in one state.
func (e *engine) Peek(ctx context.Context, topic, subscription string, req driver.PeekRequest) (driver.Peeked, error) {
	c := call{method: http.MethodGet, query: url.Values{"limit": {strconv.Itoa(min(req.Max, beck.MaxFetch))}}}
	if req.After != "" {
		c.query.Set("after", req.After)
	}
	if req.State == driver.Delayed {
		c.path = topicPath(topic) + "/delayed"
	} else {
		c.path = subscriptionPath(topic, subscription) + "/messages"
		c.query.Set("state", string(req.State))
	}
	body, err := e.call(ctx, c)
	if err != nil {
		return driver.Peeked{}, err
	}
	entries, more, err := wire.DecodeEntries(body)
	if err != nil {
		return driver.Peeked{}, e.unreadable(c, err)
	}
	peeked := driver.Peeked{More: more}
	for _, entry := range entries {
		m := driver.Message(*entry.Message)
		m.Topic = ""
		peeked.Entries = append(peeked.Entries, driver.Entry{
			Message: m, State: driver.State(entry.State), Consumer: entry.Consumer,
			Since: entry.Since, Due: entry.Due, Reason: entry.Reason,
		})
	}
	return peeked, nil
}

// Requeue gives dead letters back to their subscription.
func (e *engine) Requeue(ctx context.Context, topic, subscription string, ids []string) ([]string, error) {
	return e.each(ctx, subscriptionPath(topic, subscription)+"/dead/requeue", ids)
}

// Drop removes dead letters.
func (e *engine) Drop(ctx context.Context, topic, subscription string, ids []string) ([]string, error) {
	return e.each(ctx, subscriptionPath(topic, subscription)+"/dead/drop", ids)
}

// Cancel removes delayed messages.
func (e *engine) Cancel(ctx context.Context, topic string, ids []string) ([]string, error) {
	return e.each(ctx, topicPath(topic)+"/delayed/cancel", ids)
}

// each sends ids, in one request unless they are very many, and returns those
// that the server hasn't found.
func (e *engine) each(ctx context.Context, path string, ids []string) (missing []string, err error) {
	for {
		n := min(len(ids), beck.MaxFetch)
		err := e.jsonCall(ctx, http.MethodPost, path, wire.IDsRequest{IDs: ids[:n]}, nil)
		if p, ok := errors.AsType[*wire.Problem](err); ok && p.Code == wire.CodeMessageNotFound && len(p.Missing) > 0 {
			missing, err = append(missing, p.Missing...), nil
		}
		if ids = ids[n:]; err != nil || len(ids) == 0 {
			return missing, err
		}
	}
}

// Outstanding asks which messages a subscription is not done with.
func (e *engine) Outstanding(ctx context.Context, topic, subscription string, ids []string) (map[string]driver.State, error) {
	open := map[string]driver.State{}
	for {
		n := min(len(ids), beck.MaxFetch)
		var answer wire.OutstandingAnswer
		c := call{method: http.MethodPost, path: subscriptionPath(topic, subscription) + "/outstanding", looks: true}
		if err := e.json(ctx, c, wire.IDsRequest{IDs: ids[:n]}, &answer); err != nil {
			return nil, err
		}
		for id, state := range answer.Open {
			open[id] = driver.State(state)
		}
		if ids = ids[n:]; len(ids) == 0 {
			return open, nil
		}
	}
}

// Seek has a subscription go on from a position.
func (e *engine) Seek(ctx context.Context, topic, subscription string, to driver.Position) error {
	at, err := position(to)
	if err != nil {
		return err
	}
	if to.Kind == driver.AtTime && to.Time.After(time.Now()) {
		at = beck.FromNew // the API refuses a time to come, of which there is nothing
	}
	return e.jsonCall(ctx, http.MethodPost, subscriptionPath(topic, subscription)+"/seek", wire.SeekRequest{To: at}, nil)
}

// Pause has a subscription deliver nothing, or go on.
func (e *engine) Pause(ctx context.Context, topic, subscription string, paused bool) error {
	path := subscriptionPath(topic, subscription) + "/resume"
	if paused {
		path = subscriptionPath(topic, subscription) + "/pause"
	}
	return e.jsonCall(ctx, http.MethodPost, path, nil, nil)
}

// Purge removes all messages of a topic.
func (e *engine) Purge(ctx context.Context, topic string) (int64, error) {
	var answer wire.TrimAnswer
	err := e.jsonCall(ctx, http.MethodPost, topicPath(topic)+"/purge", nil, &answer)
	return answer.Removed, err
}
