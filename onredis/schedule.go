package onredis

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// A schedule is kept with its topic, so that a script can publish and note the
// tick at once. Where it is, an index says, which may be in another slot. What the
// index doesn't point at is not there: putting a schedule writes it before the
// index, and removes one that it replaces elsewhere after it.

// putAttempts is how often a schedule that others change meanwhile is deleted.
const putAttempts = 3

// scheduleEntry is what the hash schedules of a topic has of a schedule. Beside it
// is the field "NAME last", the newest tick in ms.
type scheduleEntry struct {
	Version string `json:"version"`
	Config  []byte `json:"config"`
}

func lastField(name string) string { return name + " last" }

// Schedules implements driver.Scheduler.
func (e *engine) Schedules(ctx context.Context) ([]driver.Schedule, error) {
	b, index := e.b, e.names.schedules()
	reply, err := e.work.at(index).do(ctx, b.Hgetall().Key(index).Build())
	var topics map[string]string
	if err == nil {
		topics, err = reply.AsStrMap()
	}
	if err != nil {
		return nil, e.explain(ctx, err, index, reading)
	}
	names := make([]string, 0, len(topics))
	for name := range topics {
		names = append(names, name)
	}
	slices.Sort(names)
	var list []driver.Schedule
	for portion := range slices.Chunk(names, listPortion) {
		keys := make([]string, len(portion))
		for i, name := range portion {
			keys[i] = e.names.topic(topics[name]).schedules
		}
		replies, err := e.work.each(ctx, keys, func(i int) []rueidis.Completed {
			return []rueidis.Completed{b.Hmget().Key(keys[i]).Field(portion[i], lastField(portion[i])).Build()}
		})
		if err != nil {
			return nil, e.explain(ctx, err, index, reading)
		}
		for i, name := range portion {
			s, err := readSchedule(replies[i][0])
			if isReply(err, "WRONGTYPE") {
				s, err = driver.Schedule{Version: movedVersion}, nil
			}
			if err != nil {
				return nil, e.explain(ctx, err, index, reading)
			}
			if s.Version == "" {
				continue // it is just being deleted, or was lost
			}
			s.Name, s.Topic = name, topics[name]
			list = append(list, s)
		}
	}
	return list, nil
}

func readSchedule(reply rueidis.RedisResult) (s driver.Schedule, err error) {
	parts, err := reply.ToArray()
	if err != nil || len(parts) != 2 {
		return s, err
	}
	text, err := parts[0].AsBytes()
	if rueidis.IsRedisNil(err) {
		return s, nil
	}
	var entry scheduleEntry
	if err == nil {
		err = json.Unmarshal(text, &entry)
	}
	if err != nil {
		return s, fmt.Errorf("%w: a schedule: %v", driver.ErrCorrupt, err)
	}
	last, err := orZero(parts[1].AsInt64())
	s.Version, s.Config, s.Last = entry.Version, entry.Config, time.UnixMilli(last).UTC()
	return s, err
}

// PutSchedule implements driver.Scheduler.
func (e *engine) PutSchedule(ctx context.Context, s driver.Schedule) error {
	b, index := e.b, e.names.schedules()
	old, replaced, err := e.findSchedule(ctx, s.Name)
	if err != nil {
		return err
	}
	entry, err := json.Marshal(scheduleEntry{Version: s.Version, Config: s.Config})
	if err != nil {
		return err
	}
	key := e.names.topic(s.Topic).schedules
	for _, put := range []struct {
		key string
		cmd rueidis.Completed
	}{
		{key, b.Hset().Key(key).FieldValue().FieldValue(s.Name, string(entry)).
			FieldValue(lastField(s.Name), strconv.FormatInt(s.Last.UnixMilli(), 10)).Build()},
		{index, b.Hset().Key(index).FieldValue().FieldValue(s.Name, s.Topic).Build()},
	} {
		if _, err := e.work.at(put.key).do(ctx, put.cmd); err != nil {
			return e.explain(ctx, err, key, writing)
		}
	}
	if old != s.Topic && replaced != "" {
		_, err = e.unschedule(ctx, old, s.Name, replaced)
	}
	return err
}

// findSchedule returns the topic of a schedule and what is stored there, both
// empty if it isn't there.
func (e *engine) findSchedule(ctx context.Context, name string) (topic, entry string, err error) {
	b, index := e.b, e.names.schedules()
	reply, err := e.work.at(index).do(ctx, b.Hget().Key(index).Field(name).Build())
	if err == nil {
		topic, err = reply.ToString()
	}
	if err == nil {
		key := e.names.topic(topic).schedules
		if reply, err = e.work.at(key).do(ctx, b.Hget().Key(key).Field(name).Build()); err == nil {
			entry, err = reply.ToString()
		}
	}
	if rueidis.IsRedisNil(err) {
		return topic, "", nil
	}
	return topic, entry, e.explain(ctx, err, index, reading)
}

// unschedule removes what a topic has of a schedule, unless it has changed.
func (e *engine) unschedule(ctx context.Context, topic, name, entry string) (done bool, err error) {
	key := e.names.topic(topic).schedules
	n, err := e.runInt(ctx, e.scripts.unschedule, []string{key}, name, entry, lastField(name))
	return n == 1, e.explain(ctx, err, key, writing)
}

// DeleteSchedule implements driver.Scheduler.
func (e *engine) DeleteSchedule(ctx context.Context, name string) error {
	index := e.names.schedules()
	for range putAttempts {
		topic, entry, err := e.findSchedule(ctx, name)
		if err != nil {
			return err
		}
		if topic == "" {
			return fmt.Errorf("%w: %s", driver.ErrScheduleNotFound, name)
		}
		if entry != "" {
			if done, err := e.unschedule(ctx, topic, name, entry); err != nil {
				return err
			} else if !done {
				continue // put anew just now
			}
		}
		n, err := e.runInt(ctx, e.scripts.unschedule, []string{index}, name, topic)
		if err != nil {
			return e.explain(ctx, err, index, writing)
		}
		switch {
		case n == 0:
			continue
		case entry == "":
			return fmt.Errorf("%w: %s", driver.ErrScheduleNotFound, name)
		}
		return nil
	}
	return fmt.Errorf("%w: schedule %s is being put anew by others", driver.ErrUncertain, name)
}

// Tick implements driver.Scheduler.
func (e *engine) Tick(ctx context.Context, s driver.Schedule, tick time.Time, m driver.Message) (string, bool, error) {
	keys := e.names.publishing(s.Topic)
	fields := fieldsOf(&m)
	if len(fields) > maxScriptedFields {
		return "", false, tooManyHeaders()
	}
	args := append([]string{s.Name, s.Version, strconv.FormatInt(tick.UnixMilli(), 10)}, fields...)
	var w *durably
	if d, more := asked([]driver.Message{m}); more {
		var err error
		if w, err = e.durably(ctx, keys[0], d); err != nil {
			return "", false, err
		}
	}
	var notReached error
	parts := []string{"again"}
	for parts[0] == "again" {
		var reply rueidis.RedisMessage
		var err error
		reply, notReached, err = e.work.at(keys[0]).runDurably(ctx, w, e.scripts.tick, keys, args...)
		if err != nil {
			return "", false, e.explain(ctx, err, keys[0], writing)
		}
		parts, err = reply.AsStrSlice()
		if err != nil || len(parts) == 0 {
			return "", false, fmt.Errorf("%w: the script tick returned %d parts: %v", driver.ErrCorrupt, len(parts), err)
		}
	}
	switch answer := parts[0]; {
	case answer == "not now":
		return "", false, nil
	case answer == "full":
		return "", false, full(s.Topic)
	case answer != "done" || len(parts) != 2:
		return "", false, e.explainReply(ctx, strings.TrimPrefix(answer, "ERR "), keys[0])
	}
	id, err := streamid.Parse(parts[1])
	if err != nil {
		return "", false, fmt.Errorf("%w: the script tick returned %q", driver.ErrCorrupt, parts[1])
	}
	return id.String(), true, notReached
}
