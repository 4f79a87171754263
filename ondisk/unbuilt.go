package ondisk

import (
	"context"
	"errors"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// What is not built yet. Each method leaves this file when it is.
var errUnbuilt = errors.New("not built yet")

func (e *engine) Configure(context.Context, string, driver.TopicConfig) error { return errUnbuilt }
func (e *engine) Cancel(context.Context, string, []string) ([]string, error)  { return nil, errUnbuilt }
func (e *engine) Schedules(context.Context) ([]driver.Schedule, error)        { return nil, errUnbuilt }
func (e *engine) PutSchedule(context.Context, driver.Schedule) error          { return errUnbuilt }
func (e *engine) DeleteSchedule(context.Context, string) error                { return errUnbuilt }
func (e *engine) Tick(context.Context, driver.Schedule, time.Time, driver.Message) (string, bool, error) {
	return "", false, errUnbuilt
}
