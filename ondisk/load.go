package ondisk

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// load reads the records of all topics and subscriptions. Messages, and what is
// pending, are looked at when a topic is first used.
func (e *engine) load() error {
	e.state.topics = map[string]*topic{}
	e.visible = map[string]*topic{}
	err := e.scan(tableKey(tagGlobal), func(_, value []byte) error {
		return e.state.global.decode(value)
	})
	if err != nil {
		return err
	}
	err = e.scan(tableKey(tagTopic), func(key, value []byte) error {
		names, rest, ok := splitNames(key, 1)
		if !ok || len(rest) > 0 {
			return errRecord
		}
		var rec topicRecord
		if err := rec.decode(value); err != nil {
			return err
		}
		t := newTopic(names[0], rec)
		t.durable.Store(&rec)
		e.state.topics[t.name], e.visible[t.name] = t, t
		return nil
	})
	if err != nil {
		return err
	}
	if err := e.loadConfigs(); err != nil {
		return err
	}
	for _, t := range e.state.topics {
		// What is damaged is told when the topic is used.
		if err := e.loadDue(t); err != nil && !errors.Is(err, driver.ErrCorrupt) {
			return err
		}
	}
	return e.scan(tableKey(tagSub), func(key, value []byte) error {
		names, rest, ok := splitNames(key, 2)
		if !ok || len(rest) > 0 {
			return errRecord
		}
		t := e.state.topics[names[0]]
		if t == nil {
			return fmt.Errorf("its topic %s is missing", names[0])
		}
		var rec subscriptionRecord
		if err := rec.decode(value); err != nil {
			return err
		}
		s := newSubscription(t.name, names[1], rec)
		t.subs[s.name], t.visible[s.name] = s, s
		t.mayExpire(s)
		return nil
	})
}

func (e *engine) loadConfigs() error {
	return e.scan(tableKey(tagConfig), func(key, value []byte) error {
		names, rest, ok := splitNames(key, 1)
		if !ok || len(rest) > 0 {
			return errRecord
		}
		var rec configRecord
		if err := rec.decode(value); err != nil {
			return err
		}
		t := e.state.topics[names[0]]
		if t == nil {
			return fmt.Errorf("its topic %s is missing", names[0])
		}
		t.configure(driver.TopicConfig(rec))
		return nil
	})
}

// scan calls visit for every key that begins with prefix. An error of visit is
// taken to mean that the data is corrupt.
func (e *engine) scan(prefix []byte, visit func(key, value []byte) error) error {
	iter, err := e.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: rangeEnd(prefix)})
	if err != nil {
		return e.problem(err)
	}
	defer iter.Close()
	for ok := iter.First(); ok; ok = iter.Next() {
		value, err := iter.ValueAndErr()
		if err != nil {
			return e.problem(err)
		}
		if err := visit(iter.Key(), value); err != nil {
			return e.corrupt(iter.Key(), err)
		}
	}
	return e.problem(iter.Error())
}

// warm checks a topic's record against its messages and loads what is pending.
func (e *engine) warm(t *topic) error {
	if err := e.checkEnds(t); err != nil {
		return err
	}
	if err := e.loadDue(t); err != nil {
		return err
	}
	for _, s := range t.subs {
		if err := e.loadDelivered(t, s); err != nil {
			return err
		}
	}
	if q := t.subs[driver.QueueSubscription]; q != nil && q.rec.queue && len(t.subs) > 1 {
		return e.corruptTopic(t, "it is a queue with %d subscriptions", len(t.subs))
	}
	return nil
}

// checkEnds compares the topic's record with its oldest and newest message.
func (e *engine) checkEnds(t *topic) error {
	iter, err := e.messages(t.name, streamid.ID{}, streamid.Max)
	if err != nil {
		return err
	}
	defer iter.Close()
	if !iter.First() {
		if err := iter.Error(); err != nil {
			return e.problem(err)
		}
		if t.rec.length() > 0 {
			return e.corruptTopic(t, "all of its %d messages are missing", t.rec.length())
		}
		return nil
	}
	oldest, err := e.locate(iter)
	if err != nil {
		return err
	}
	iter.Last()
	if err := iter.Error(); err != nil {
		return e.problem(err)
	}
	t.floor.Store(&oldest.id)
	newest, err := e.locate(iter)
	switch {
	case err != nil:
		return err
	case oldest.number <= t.rec.trimmed || oldest.number > max(t.rec.trimmed, t.rec.dense)+1:
		return e.corruptTopic(t, "the oldest message is number %d instead of %d", oldest.number, t.rec.trimmed+1)
	case newest.number > t.rec.appended || newest.number < t.rec.appended && t.rec.dense < t.rec.appended,
		newest.number == t.rec.appended && newest.id != t.rec.last:
		return e.corruptTopic(t, "the newest message is number %d, %s, instead of %d, %s",
			newest.number, newest.id, t.rec.appended, t.rec.last)
	}
	return nil
}

func (e *engine) corruptTopic(t *topic, format string, args ...any) error {
	return fmt.Errorf("%w in %s: topic %s: %s", driver.ErrCorrupt, e.dir, t.name, fmt.Sprintf(format, args...))
}
