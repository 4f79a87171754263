package onhttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/wire"
)

func schedulePath(name string) string { return "/v1/schedules/" + url.PathEscape(name) }

// Schedules lists all schedules.
func (e *engine) Schedules(ctx context.Context) ([]driver.Schedule, error) {
	c := call{method: http.MethodGet, path: "/v1/schedules"}
	var answer wire.Schedules
	if err := e.json(ctx, c, nil, &answer); err != nil {
		return nil, err
	}
	list := make([]driver.Schedule, len(answer.Schedules))
	for i, w := range answer.Schedules {
		s, err := w.Beck()
		if err != nil {
			return nil, e.unreadable(c, err)
		}
		config, err := json.Marshal(driver.ScheduleConfig{
			Spec: s.Spec, Zone: s.Zone, Missed: s.Missed,
			Key: s.Message.Key, Headers: s.Message.Headers, Body: s.Message.Body,
		})
		if err != nil {
			return nil, fmt.Errorf("encoding a schedule: %w", err)
		}
		list[i] = driver.Schedule{Name: s.Name, Topic: s.Topic, Version: s.Version, Config: config, Last: s.Last}
	}
	return list, nil
}

// PutSchedule makes or replaces a schedule. The API has the fields of its Config
// one by one.
func (e *engine) PutSchedule(ctx context.Context, s driver.Schedule) error {
	var config driver.ScheduleConfig
	d := json.NewDecoder(bytes.NewReader(s.Config))
	d.DisallowUnknownFields()
	if err := d.Decode(&config); err != nil {
		return fmt.Errorf("a schedule that can't be read: %w", err)
	}
	if config.Body == nil {
		config.Body = []byte{}
	}
	return e.jsonCall(ctx, http.MethodPut, schedulePath(s.Name), wire.Schedule{
		Topic: s.Topic, Spec: config.Spec, Zone: config.Zone, Missed: config.Missed, Last: s.Last, Version: s.Version,
		Message: wire.ScheduledMessageOf(beck.Message{Key: config.Key, Headers: config.Headers, Body: config.Body}),
	}, nil)
}

// DeleteSchedule removes a schedule.
func (e *engine) DeleteSchedule(ctx context.Context, name string) error {
	return e.jsonCall(ctx, http.MethodDelete, schedulePath(name), nil, nil)
}

// Tick publishes one tick of a schedule.
func (e *engine) Tick(ctx context.Context, s driver.Schedule, tick time.Time, m driver.Message) (id string, done bool, err error) {
	req := wire.TickRequest{
		Topic: s.Topic, Version: s.Version, Tick: tick, Message: wire.ScheduledMessageOf(beck.Message(m)),
	}
	if m.Durability != nil {
		req.Durability = wire.FormatDurability(*m.Durability)
	}
	var answer wire.TickAnswer
	c := call{method: http.MethodPost, path: schedulePath(s.Name) + "/tick", waits: waitOf(m)}
	err = e.json(ctx, c, req, &answer)
	if p, ok := errors.AsType[*wire.Problem](err); ok && p.Code == wire.CodeDurability && len(p.IDs) == 1 {
		return p.IDs[0], true, err
	}
	return answer.ID, answer.Done, err
}
