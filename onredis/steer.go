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
func (e *engine) steer(ctx context.Context, s *subscription, sc script, keys []string, args ...string) (rueidis.RedisMessage, error) {
	reply, err := e.work.run(ctx, sc, keys, args...)
	for range maxHeals {
		if !isReply(err, "NOGROUP") {
			break
		}
		if err := e.heal(ctx, s); err != nil {
			return reply, e.absent(ctx, s.keys.stream, s.id.topic, err)
		}
		reply, err = e.work.run(ctx, sc, keys, args...)
	}
	return reply, e.explain(ctx, err, s.keys.stream, writing)
}

// absent says whether it is the topic that is not there, if the subscription is
// not.
func (e *engine) absent(ctx context.Context, stream, topic string, err error) error {
	if !errors.Is(err, driver.ErrSubscriptionNotFound) {
		return err
	}
	reply, failed := e.work.do(ctx, e.work.client.B().Exists().Key(stream).Build())
	if failed != nil {
		return e.explain(ctx, failed, stream, reading)
	}
	if n, _ := reply.ToInt64(); n == 0 {
		return fmt.Errorf("%w: %s", driver.ErrTopicNotFound, topic)
	}
	return err
}
