package onredis

import (
	"context"
	"errors"

	"github.com/beckmq/beck/internal/driver"
)

// What is not built yet. Each method leaves this file when it is.
var errUnbuilt = errors.New("not built yet")

func (e *engine) Broadcast(context.Context, string, []byte) (int, error) { return 0, errUnbuilt }
func (e *engine) Listen(context.Context, string, driver.Listener) (func(), error) {
	return nil, errUnbuilt
}
func (e *engine) Request(context.Context, string, driver.Message) (driver.Answer, error) {
	return driver.Answer{}, errUnbuilt
}
func (e *engine) Serve(context.Context, string, func(driver.Request)) (func(), error) {
	return nil, errUnbuilt
}
