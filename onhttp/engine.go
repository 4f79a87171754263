package onhttp

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// engine is a driver.Engine over the HTTP API.
type engine struct {
	base string // the server's URL, without user and without a slash at its end
	name string // for people
	log  *slog.Logger

	client         *http.Client
	user, password string
	signed         bool
	patience       time.Duration

	watches watches
	streams streams
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
}

var _ driver.Engine = (*engine)(nil)

// Ping asks the server whether its engine can be used.
func (e *engine) Ping(ctx context.Context) error {
	_, err := e.call(ctx, call{method: http.MethodGet, path: "/readyz"})
	return err
}

// Close ends the streams.
func (e *engine) Close(ctx context.Context) error {
	e.cancel()
	err := errors.Join(e.watches.wait(ctx), e.streams.wait(ctx))
	e.client.CloseIdleConnections()
	return err
}

// String says where the server is, without user and password.
func (e *engine) String() string { return "http " + e.name }

func topicPath(topic string) string { return "/v1/topics/" + url.PathEscape(topic) }

func subscriptionPath(topic, subscription string) string {
	return topicPath(topic) + "/subscriptions/" + url.PathEscape(subscription)
}
