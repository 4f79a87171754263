package drivertest

import (
	"context"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// steering is the rest of what may be replaced in a faulty engine.
type steering struct {
	configure   func(ctx context.Context, topic string, c driver.TopicConfig) error
	outstanding func(ctx context.Context, topic, s string, ids []string) (map[string]driver.State, error)
	peek        func(ctx context.Context, topic, s string, req driver.PeekRequest) (driver.Peeked, error)
	requeue     func(ctx context.Context, topic, s string, ids []string) ([]string, error)
	drop        func(ctx context.Context, topic, s string, ids []string) ([]string, error)
	cancel      func(ctx context.Context, topic string, ids []string) ([]string, error)
	seek        func(ctx context.Context, topic, s string, to driver.Position) error
	pause       func(ctx context.Context, topic, s string, paused bool) error
	purge       func(ctx context.Context, topic string) (int64, error)
	tick        func(ctx context.Context, s driver.Schedule, tick time.Time, m driver.Message) (string, bool, error)
	broadcast   func(ctx context.Context, subject string, body []byte) (int, error)
	listen      func(ctx context.Context, pattern string, l driver.Listener) (func(), error)
	request     func(ctx context.Context, service string, m driver.Message) (driver.Answer, error)
	serve       func(ctx context.Context, service string, handle func(driver.Request)) (func(), error)
}

func (f *faulty) Configure(ctx context.Context, topic string, c driver.TopicConfig) error {
	if f.configure != nil {
		return f.configure(ctx, topic, c)
	}
	return f.Engine.Configure(ctx, topic, c)
}

func (f *faulty) Outstanding(ctx context.Context, topic, s string, ids []string) (map[string]driver.State, error) {
	if f.outstanding != nil {
		return f.outstanding(ctx, topic, s, ids)
	}
	return f.Engine.Outstanding(ctx, topic, s, ids)
}

func (f *faulty) Peek(ctx context.Context, topic, s string, req driver.PeekRequest) (driver.Peeked, error) {
	if f.peek != nil {
		return f.peek(ctx, topic, s, req)
	}
	return f.Engine.Peek(ctx, topic, s, req)
}

func (f *faulty) Requeue(ctx context.Context, topic, s string, ids []string) ([]string, error) {
	if f.requeue != nil {
		return f.requeue(ctx, topic, s, ids)
	}
	return f.Engine.Requeue(ctx, topic, s, ids)
}

func (f *faulty) Drop(ctx context.Context, topic, s string, ids []string) ([]string, error) {
	if f.drop != nil {
		return f.drop(ctx, topic, s, ids)
	}
	return f.Engine.Drop(ctx, topic, s, ids)
}

func (f *faulty) Cancel(ctx context.Context, topic string, ids []string) ([]string, error) {
	if f.cancel != nil {
		return f.cancel(ctx, topic, ids)
	}
	return f.Engine.Cancel(ctx, topic, ids)
}

func (f *faulty) Seek(ctx context.Context, topic, s string, to driver.Position) error {
	if f.seek != nil {
		return f.seek(ctx, topic, s, to)
	}
	return f.Engine.Seek(ctx, topic, s, to)
}

func (f *faulty) Pause(ctx context.Context, topic, s string, paused bool) error {
	if f.pause != nil {
		return f.pause(ctx, topic, s, paused)
	}
	return f.Engine.Pause(ctx, topic, s, paused)
}

func (f *faulty) Purge(ctx context.Context, topic string) (int64, error) {
	if f.purge != nil {
		return f.purge(ctx, topic)
	}
	return f.Engine.Purge(ctx, topic)
}

func (f *faulty) Tick(ctx context.Context, s driver.Schedule, tick time.Time, m driver.Message) (string, bool, error) {
	if f.tick != nil {
		return f.tick(ctx, s, tick, m)
	}
	return f.Engine.Tick(ctx, s, tick, m)
}

func (f *faulty) Broadcast(ctx context.Context, subject string, body []byte) (int, error) {
	if f.broadcast != nil {
		return f.broadcast(ctx, subject, body)
	}
	return f.Engine.Broadcast(ctx, subject, body)
}

func (f *faulty) Listen(ctx context.Context, pattern string, l driver.Listener) (func(), error) {
	if f.listen != nil {
		return f.listen(ctx, pattern, l)
	}
	return f.Engine.Listen(ctx, pattern, l)
}

func (f *faulty) Request(ctx context.Context, service string, m driver.Message) (driver.Answer, error) {
	if f.request != nil {
		return f.request(ctx, service, m)
	}
	return f.Engine.Request(ctx, service, m)
}

func (f *faulty) Serve(ctx context.Context, service string, handle func(driver.Request)) (func(), error) {
	if f.serve != nil {
		return f.serve(ctx, service, handle)
	}
	return f.Engine.Serve(ctx, service, handle)
}
