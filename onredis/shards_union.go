package onredis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// each calls a function for all instances side by side, and returns the errors of
// those where it failed, as one.
func (s *shards) each(ctx context.Context, call func(n int, e *engine) error) error {
	if s.ctx.Err() != nil {
		return fmt.Errorf("%w: %v", driver.ErrClosed, s)
	}
	all := s.set.Load().all()
	errs := make([]error, len(all))
	var calls sync.WaitGroup
	for n, name := range all {
		calls.Go(func() {
			e, err := s.engineOf(ctx, name)
			if err == nil {
				err = call(n, e)
			}
			if err != nil {
				errs[n] = fmt.Errorf("instance %s: %w", name, err)
			}
		})
	}
	calls.Wait()
	return errors.Join(errs...)
}

// Topics implements driver.Admin. With an error it returns the topics of those
// instances that did answer.
func (s *shards) Topics(ctx context.Context) ([]driver.TopicSummary, error) {
	byName := map[string]driver.TopicSummary{}
	list := func() error {
		return s.collect(ctx, func(ctx context.Context, e *engine, mu *sync.Mutex) error {
			list, err := e.Topics(ctx)
			mu.Lock()
			defer mu.Unlock()
			for _, t := range list {
				byName[t.Name] = t
			}
			return err
		})
	}
	set := s.set.Load()
	err := list()
	if set.moving() || s.set.Load() != set {
		// One that went from a place not looked at yet to one looked at before was not
		// seen, but it goes only once.
		s.addMoving(ctx, byName)
		err = list()
	}
	all := make([]driver.TopicSummary, 0, len(byName))
	for _, t := range byName {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b driver.TopicSummary) int { return strings.Compare(a.Name, b.Name) })
	return all, err
}

// collect is each for what is put together under a mutex.
func (s *shards) collect(ctx context.Context, call func(context.Context, *engine, *sync.Mutex) error) error {
	var mu sync.Mutex
	return s.each(ctx, func(_ int, e *engine) error { return call(ctx, e, &mu) })
}

// addMoving adds the topic that is on its way just now, and so at neither place, unless
// that takes long.
func (s *shards) addMoving(ctx context.Context, byName map[string]driver.TopicSummary) {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	for _, e := range s.up() {
		key := s.names.onTheWay()
		reply, err := e.do(ctx, key, "GET", key)
		if err != nil {
			continue
		}
		topic, _ := reply.ToString()
		if _, there := byName[topic]; topic == "" || there {
			continue
		}
		info, err := s.Topic(ctx, topic) // which waits for it
		if err != nil {
			continue
		}
		byName[topic] = driver.TopicSummary{
			Name: topic, Length: info.Length, LastID: info.LastID, Subscriptions: len(info.Subscriptions), Queue: info.Queue,
		}
	}
}

// movedVersion is the version of a schedule whose topic is on its way, or has gone.
const movedVersion = "~moved"

// Schedules implements driver.Scheduler. Those of instances that can't be reached are
// left out, so that the others go on; an error comes only if none can.
func (s *shards) Schedules(ctx context.Context) ([]driver.Schedule, error) {
	set := s.set.Load()
	for began := time.Now(); ; {
		list, missing, err := s.schedules(ctx)
		over := err != nil || time.Since(began) > time.Second
		if over || !missing && !set.moving() && s.set.Load() == set {
			return list, err
		}
		if !missing { // one that went meanwhile may have been seen at neither place, see Topics
			more, _, err := s.schedules(ctx)
			return union(list, more), err
		}
		select {
		case <-time.After(10 * moveLook):
		case <-ctx.Done():
			return nil, fmt.Errorf("%v: %w", s, ctx.Err())
		}
	}
}

// union are the schedules of two lists, one behind the other; what is in both is as in
// the second one.
func union(list, more []driver.Schedule) []driver.Schedule {
	there := map[string]bool{}
	for _, one := range more {
		there[one.Name] = true
	}
	for _, one := range list {
		if !there[one.Name] {
			more = append(more, one)
		}
	}
	slices.SortFunc(more, func(a, b driver.Schedule) int { return strings.Compare(a.Name, b.Name) })
	return more
}

// schedules lists them once. missing says that the topic of one is on its way.
func (s *shards) schedules(ctx context.Context) (all []driver.Schedule, missing bool, err error) {
	byName := map[string]driver.Schedule{}
	gone := map[string]bool{}
	answered := false
	err = s.collect(ctx, func(ctx context.Context, e *engine, mu *sync.Mutex) error {
		list, err := e.Schedules(ctx)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		answered = true
		for _, one := range list {
			if one.Version == movedVersion {
				gone[one.Name] = true
				continue
			}
			// Of two with one name, which two have put at the same time, one counts.
			if other, there := byName[one.Name]; !there || newer(one, other) {
				byName[one.Name] = one
			}
		}
		return nil
	})
	if !answered {
		return nil, false, err
	}
	for name := range gone {
		if _, there := byName[name]; !there {
			missing = true
		}
	}
	for _, one := range byName {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b driver.Schedule) int { return strings.Compare(a.Name, b.Name) })
	return all, missing, nil
}

func newer(a, b driver.Schedule) bool {
	return cmp.Or(a.Last.Compare(b.Last), strings.Compare(a.Version, b.Version)) > 0
}

// PutSchedule implements driver.Scheduler. One of that name at another instance is
// removed behind it.
func (s *shards) PutSchedule(ctx context.Context, schedule driver.Schedule) error {
	type old struct {
		e            *engine
		topic, entry string
	}
	var olds []old
	// An instance that can't be reached may have one, which is left out by Schedules
	// then, since its Last is older.
	_ = s.collect(ctx, func(ctx context.Context, e *engine, mu *sync.Mutex) error {
		topic, entry, err := e.findSchedule(ctx, schedule.Name)
		mu.Lock()
		defer mu.Unlock()
		if err == nil && topic != "" && topic != schedule.Topic {
			olds = append(olds, old{e, topic, entry})
		}
		return err
	})
	var at *engine
	var left []*engine
	err := s.on(ctx, schedule.Topic, makesMaybe, func(e *engine) error {
		if at != nil && at != e {
			left = append(left, at)
		}
		at = e
		if err := e.PutSchedule(ctx, schedule); err != nil {
			return err
		}
		return e.keptSchedule(ctx, schedule)
	})
	if err != nil {
		return err
	}
	for _, e := range left { // it may still point at the topic that has gone
		if e == at {
			continue
		}
		if err := e.removeSchedule(ctx, schedule.Name, schedule.Topic, ""); err != nil {
			return err
		}
	}
	for _, o := range olds {
		if o.e == at {
			continue // removed there already
		}
		err := o.e.removeSchedule(ctx, schedule.Name, o.topic, o.entry)
		if _, marked := errors.AsType[*notAStream](err); marked {
			err = s.on(ctx, o.topic, makesNone, func(e *engine) error {
				return e.removeSchedule(ctx, schedule.Name, o.topic, o.entry)
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// keptSchedule fails if the topic of a schedule was taken out of use while it was put:
// then the index may have told of it too late for it to go along with its topic.
func (e *engine) keptSchedule(ctx context.Context, schedule driver.Schedule) error {
	key := e.names.topic(schedule.Topic).schedules
	_, err := e.do(ctx, key, "HGET", key, schedule.Name)
	return e.explain(ctx, err, key, writing)
}

// removeSchedule removes a schedule and what points at it, if they have not changed.
func (e *engine) removeSchedule(ctx context.Context, name, topic, entry string) error {
	if entry != "" {
		if _, err := e.unschedule(ctx, topic, name, entry); err != nil {
			return err
		}
	}
	index := e.names.schedules()
	_, err := e.runInt(ctx, e.scripts.unschedule, []string{index}, name, topic)
	return e.explain(ctx, err, index, writing)
}

// DeleteSchedule implements driver.Scheduler.
func (s *shards) DeleteSchedule(ctx context.Context, name string) error {
	// While topics move it may be seen at neither place, but it goes only once.
	again := s.set.Load().moving()
	for began := time.Now(); ; {
		found, moving := false, false
		err := s.collect(ctx, func(ctx context.Context, e *engine, mu *sync.Mutex) error {
			err := e.DeleteSchedule(ctx, name)
			_, marked := errors.AsType[*notAStream](err)
			mu.Lock()
			defer mu.Unlock()
			found, moving = found || err == nil, moving || marked
			if marked || errors.Is(err, driver.ErrScheduleNotFound) {
				return nil
			}
			return err
		})
		switch {
		case found:
			return nil
		case err != nil:
			return err
		case !moving && again:
			again = false
			continue
		case !moving:
			return fmt.Errorf("%w: %s", driver.ErrScheduleNotFound, name)
		case time.Since(began) > time.Second:
			return fmt.Errorf("%w: the topic of schedule %s is being moved", driver.ErrUnavailable, name)
		}
		select {
		case <-time.After(10 * moveLook):
		case <-ctx.Done():
			return fmt.Errorf("%v: %w", s, ctx.Err())
		}
	}
}
