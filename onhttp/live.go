package onhttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/wire"
)

// Broadcast hands a body to all who listen.
func (e *engine) Broadcast(ctx context.Context, subject string, body []byte) (int, error) {
	c := call{method: http.MethodPost, path: "/v1/broadcast/" + url.PathEscape(subject), kind: kindBytes, body: body}
	var answer wire.BroadcastAnswer
	err := e.json(ctx, c, nil, &answer)
	return answer.Listeners, err
}

// Listen receives what is broadcast, over a stream of its own.
func (e *engine) Listen(ctx context.Context, pattern string, l driver.Listener) (func(), error) {
	take := func(got event) error {
		switch got.name {
		case "":
			subject, body, err := wire.DecodeBroadcast(got.data)
			if err != nil {
				return fmt.Errorf("%w: %v", driver.ErrVersion, err)
			}
			l.Receive(subject, body)
		case wire.EventGap:
			l.Missed()
		}
		return nil
	}
	return e.start(ctx, "/v1/listen/"+url.PathEscape(pattern), take, l.Missed, nil)
}

func servicePath(service string) string { return "/v1/services/" + url.PathEscape(service) }

const (
	// requestTime is how long a request is waited for that has no deadline, and
	// maxRequestTime how long a server waits at the most.
	requestTime    = 30 * time.Second
	maxRequestTime = time.Hour
)

// Request asks a service. The message goes as a line of NDJSON, in which keys and
// headers may have whatever they may have.
func (e *engine) Request(ctx context.Context, service string, m driver.Message) (driver.Answer, error) {
	timeout := requestTime
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(time.Until(deadline), maxRequestTime)
	}
	if timeout <= 0 {
		return driver.Answer{}, fmt.Errorf("http %s: %w", e.name, context.DeadlineExceeded)
	}
	body, err := e.call(ctx, call{
		method: http.MethodPost, path: servicePath(service), waits: timeout,
		kind: kindNDJSON, body: wire.AppendLine(nil, (*beck.Message)(&m)),
		headers: map[string]string{"Beck-Timeout": timeout.String()},
	})
	p, ok := errors.AsType[*wire.Problem](err)
	switch {
	case err == nil:
		return driver.Answer{Body: body}, nil
	case ok && p.Code == wire.CodeAnswerError:
		return driver.Answer{Failure: p.Detail}, nil
	}
	return driver.Answer{}, err
}

// Serve takes requests from a stream of its own. While that is lost, the server
// doesn't count on it.
func (e *engine) Serve(ctx context.Context, service string, handle func(driver.Request)) (func(), error) {
	var stream atomic.Pointer[wire.Ready] // the newest one
	take := func(got event) error {
		if got.name == wire.EventReady {
			var ready wire.Ready
			if err := json.Unmarshal(got.data, &ready); err != nil {
				return fmt.Errorf("%w: %v", driver.ErrVersion, err)
			}
			stream.Store(&ready)
		}
		if got.name != "" {
			return nil
		}
		q, err := wire.DecodeRequest(got.data)
		if err != nil {
			return fmt.Errorf("%w: %v", driver.ErrVersion, err)
		}
		id := q.Message.ID
		q.Message.ID = ""
		handle(driver.Request{
			Message: driver.Message(q.Message), Deadline: time.Now().Add(q.Timeout),
			Answer: func(ctx context.Context, a driver.Answer) error { return e.answer(ctx, service, id, a) },
		})
		return nil
	}
	path := servicePath(service) + "/requests"
	// The server gives no more requests to a stream that it was asked to end; one
	// that was cut off it may take for there for a moment.
	leave := func(ctx context.Context) bool {
		ready := stream.Load()
		return ready != nil && e.jsonCall(ctx, http.MethodDelete, path+"/"+url.PathEscape(ready.ID), nil, nil) == nil
	}
	return e.start(ctx, path, take, nil, leave)
}

// answer sends an answer. It is no error if nobody waits for it any more.
func (e *engine) answer(ctx context.Context, service, id string, a driver.Answer) error {
	c := call{method: http.MethodPost, path: servicePath(service) + "/answers/" + url.PathEscape(id), kind: kindBytes, body: a.Body}
	if a.Failure != "" {
		c.kind, c.query, c.body = kindText, url.Values{"failure": {"true"}}, []byte(failure(a.Failure))
	}
	_, err := e.call(ctx, c)
	if p, ok := errors.AsType[*wire.Problem](err); ok && p.Code == wire.CodeRequestNotFound {
		return nil
	}
	return err
}

// maxFailure is the longest text of a failure that servers take.
const maxFailure = 16 << 10

// failure is a text as servers take it.
func failure(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxFailure)], "")
}
