package ondisk

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/beckmq/beck/internal/driver"
)

// scheduleRecord is a recurring message.
type scheduleRecord struct {
	last           int64 // newest tick, ms since 1970
	topic, version string
	config         []byte
}

func (r *scheduleRecord) encode() []byte {
	b := make([]byte, 0, 32+len(r.topic)+len(r.version)+len(r.config))
	b = binary.AppendUvarint(append(b, format1), uint64(max(0, r.last)))
	b = appendString(b, r.topic)
	b = appendString(b, r.version)
	return append(b, r.config...)
}

// decode leaves the config in b.
func (r *scheduleRecord) decode(b []byte) error {
	d := decode(b)
	*r = scheduleRecord{last: int64(d.number()), topic: d.string(), version: d.string(), config: d.rest()}
	return d.finish()
}

// Schedules lists what the disk holds.
func (e *engine) Schedules(ctx context.Context) ([]driver.Schedule, error) {
	var list []driver.Schedule // belongs to the committer until it has answered
	err := e.submit(ctx, &request{alone: true, decide: func(*transaction) error {
		list = nil
		return e.scan(tableKey(tagSchedule), func(key, value []byte) error {
			names, rest, ok := splitNames(key, 1)
			if !ok || len(rest) > 0 {
				return errRecord
			}
			var rec scheduleRecord
			if err := rec.decode(value); err != nil {
				return err
			}
			list = append(list, driver.Schedule{
				Name: names[0], Topic: rec.topic, Version: rec.version,
				Config: append([]byte{}, rec.config...), Last: time.UnixMilli(rec.last).UTC(),
			})
			return nil
		})
	}})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b driver.Schedule) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// PutSchedule writes one record.
func (e *engine) PutSchedule(ctx context.Context, s driver.Schedule) error {
	rec := scheduleRecord{last: s.Last.UnixMilli(), topic: s.Topic, version: s.Version, config: s.Config}
	key, value := tableKey(tagSchedule, s.Name), rec.encode()
	return e.submit(ctx, &request{alone: true, size: len(value), decide: func(tx *transaction) error {
		if err := e.room.check(len(value)); err != nil {
			return err
		}
		tx.set(key, value)
		return nil
	}})
}

// DeleteSchedule removes it.
func (e *engine) DeleteSchedule(ctx context.Context, name string) error {
	return e.submit(ctx, &request{alone: true, decide: func(tx *transaction) error {
		_, found, err := e.schedule(name)
		if err == nil && !found {
			err = driver.ErrScheduleNotFound
		}
		if err == nil {
			tx.delete(tableKey(tagSchedule, name))
		}
		return err
	}})
}

func (e *engine) schedule(name string) (rec scheduleRecord, found bool, err error) {
	key := tableKey(tagSchedule, name)
	value, err := e.get(key)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return rec, false, nil
	case err != nil:
		return rec, false, e.problem(err)
	}
	if err := rec.decode(value); err != nil {
		return rec, false, e.corrupt(key, err)
	}
	return rec, true, nil
}

// Tick publishes and writes the tick down in one batch.
func (e *engine) Tick(ctx context.Context, s driver.Schedule, tick time.Time, m driver.Message) (id string, done bool, err error) {
	if err := checkDurability(m); err != nil {
		return "", false, err
	}
	size := messageSize(&m, 0) + len(s.Config) + 256
	for {
		k := &ticking{engine: e, schedule: s, tick: tick.UnixMilli(), message: m}
		if err := e.submit(ctx, &request{alone: true, size: size, decide: k.decide}); err != nil {
			return "", false, err
		}
		if !k.again {
			return k.id, k.done, nil
		}
	}
}

// ticking is one Tick.
type ticking struct {
	engine   *engine
	schedule driver.Schedule
	tick     int64
	message  driver.Message
	id       string
	done     bool
	again    bool // some room was made, but not enough
}

func (k *ticking) decide(tx *transaction) error {
	e := k.engine
	rec, found, err := e.schedule(k.schedule.Name)
	if err != nil || !found || rec.version != k.schedule.Version || rec.last >= k.tick {
		return err
	}
	if err := e.room.check(len(k.message.Body) + len(rec.config)); err != nil {
		return err
	}
	now := e.now()
	t, err := e.topic(rec.topic)
	if err != nil {
		return err
	}
	if t != nil {
		room, err := e.findRoom(tx, t, []*driver.Message{&k.message})
		if err == nil && room.full != nil {
			err = room.full
		}
		if err == nil {
			err = e.makeRoom(tx, t, room, now)
		}
		if k.again = room.count == 0; err != nil || k.again {
			return err
		}
	} else if t, err = e.makeTopic(tx, rec.topic); err != nil {
		return err
	}
	id := newID(t.rec.last, now)
	tx.store(t, &k.message, id)
	tx.touch(t)
	tx.hint(t.name)
	rec.last = k.tick
	tx.set(tableKey(tagSchedule, k.schedule.Name), rec.encode())
	k.id, k.done = id.String(), true
	return nil
}
