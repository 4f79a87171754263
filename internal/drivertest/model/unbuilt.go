package model

import (
	"context"
	"errors"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// What is not built yet. Each method leaves this file when it is.
var errUnbuilt = errors.New("not built yet")

func (e *Engine) Outstanding(context.Context, string, string, []string) (map[string]driver.State, error) {
	return nil, errUnbuilt
}
func (e *Engine) Configure(context.Context, string, driver.TopicConfig) error { return errUnbuilt }
func (e *Engine) Peek(context.Context, string, string, driver.PeekRequest) (driver.Peeked, error) {
	return driver.Peeked{}, errUnbuilt
}
func (e *Engine) Requeue(context.Context, string, string, []string) ([]string, error) {
	return nil, errUnbuilt
}
func (e *Engine) Drop(context.Context, string, string, []string) ([]string, error) {
	return nil, errUnbuilt
}
func (e *Engine) Cancel(context.Context, string, []string) ([]string, error)  { return nil, errUnbuilt }
func (e *Engine) Seek(context.Context, string, string, driver.Position) error { return errUnbuilt }
func (e *Engine) Pause(context.Context, string, string, bool) error           { return errUnbuilt }
func (e *Engine) Purge(context.Context, string) (int64, error)                { return 0, errUnbuilt }
func (e *Engine) Schedules(context.Context) ([]driver.Schedule, error)        { return nil, errUnbuilt }
func (e *Engine) PutSchedule(context.Context, driver.Schedule) error          { return errUnbuilt }
func (e *Engine) DeleteSchedule(context.Context, string) error                { return errUnbuilt }
func (e *Engine) Tick(context.Context, driver.Schedule, time.Time, driver.Message) (string, bool, error) {
	return "", false, errUnbuilt
}
func (e *Engine) Broadcast(context.Context, string, []byte) (int, error) { return 0, errUnbuilt }
func (e *Engine) Listen(context.Context, string, driver.Listener) (func(), error) {
	return nil, errUnbuilt
}
func (e *Engine) Request(context.Context, string, driver.Message) (driver.Answer, error) {
	return driver.Answer{}, errUnbuilt
}
func (e *Engine) Serve(context.Context, string, func(driver.Request)) (func(), error) {
	return nil, errUnbuilt
}
