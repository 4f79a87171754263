package onredis

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck/internal/driver"
)

// steer runs a script that fails with NOGROUP, before it does anything, if the
// group of the subscription is gone. A group that was lost is restored first.
func (e *engine) steer(ctx context.Context, s *subscription, sc script, did effect, keys []string, args ...string) (rueidis.RedisMessage, error) {
	reply, err := e.work.at(keys[0]).run(ctx, sc, keys, args...)
	for range maxHeals {
		if !isReply(err, "NOGROUP") {
			break
		}
		if err := e.heal(ctx, s); err != nil {
			return reply, e.absent(ctx, s.keys.stream, s.id.topic, err)
		}
		reply, err = e.work.at(keys[0]).run(ctx, sc, keys, args...)
	}
	return reply, e.explain(ctx, err, s.keys.stream, did)
}

// absent says whether it is the topic that is not there, if the subscription is
// not.
func (e *engine) absent(ctx context.Context, stream, topic string, err error) error {
	if !errors.Is(err, driver.ErrSubscriptionNotFound) {
		return err
	}
	reply, failed := e.work.at(stream).do(ctx, e.b.Exists().Key(stream).Build())
	if failed != nil {
		return e.explain(ctx, failed, stream, reading)
	}
	if n, _ := reply.ToInt64(); n == 0 {
		return fmt.Errorf("%w: %s", driver.ErrTopicNotFound, topic)
	}
	return err
}

// Seek implements driver.Steerer.
func (e *engine) Seek(ctx context.Context, topic, name string, to driver.Position) error {
	begin, id, err := groupStart(to)
	if err != nil {
		return err
	}
	s := e.subscription(topic, name)
	k := &s.keys
	reply, err := e.steer(ctx, s, e.scripts.seek, writing, []string{k.stream, k.subs, k.waiting, k.leased, k.retry}, name, begin, id.Redis())
	if err != nil {
		return err
	}
	if done, err := reply.ToInt64(); err != nil || done == 1 {
		return e.explain(ctx, err, k.stream, writing)
	}
	return fmt.Errorf("%w: the topic has not given out %s yet", driver.ErrPosition, to.ID)
}

// Purge implements driver.Steerer.
func (e *engine) Purge(ctx context.Context, topic string) (removed int64, err error) {
	stream := e.names.stream(topic)
	for range maxHeals {
		names, err := e.subscriptionNames(ctx, topic)
		if err != nil {
			return 0, e.explain(ctx, err, stream, reading)
		}
		t := e.names.topic(topic)
		keys := []string{stream, t.subs, t.delayed, t.fields, t.due}
		for _, name := range names {
			k := e.names.subscription(topic, name)
			keys = append(keys, k.waiting, k.leased, k.retry)
		}
		reply, err := e.work.at(keys[0]).run(ctx, e.scripts.purge, keys, names...)
		if err == nil {
			removed, err = reply.ToInt64()
		}
		switch {
		case err != nil:
			return 0, e.explain(ctx, err, stream, writing)
		case removed == -1:
			return 0, fmt.Errorf("%w: %s", driver.ErrTopicNotFound, topic)
		case removed >= 0:
			return removed, nil
		}
	}
	return 0, e.joinedAllTheWhile(topic)
}
