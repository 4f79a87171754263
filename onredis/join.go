package onredis

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// Join implements driver.Subscriber.
func (e *engine) Join(ctx context.Context, topic, name string, config driver.JoinConfig) (existed bool, err error) {
	s := e.subscription(topic, name)
	defer e.forgetUnknown(s)
	begin, id, err := groupStart(config.From)
	if err != nil {
		return false, err
	}
	fresh := config.Lease
	if fresh == 0 {
		fresh = driver.DefaultLease
	}
	queue := ""
	if config.Queue {
		queue = "queue"
	}
	reply, err := e.work.at(s.keys.stream).run(ctx, e.scripts.join, []string{s.keys.stream, s.keys.subs, s.keys.lost, s.keys.seen},
		name, begin, id.Redis(), millis(config.Lease), millis(fresh), millis(config.Expires), queue)
	if err != nil {
		return false, e.explain(ctx, err, s.keys.stream, writing)
	}
	parts, err := reply.ToArray()
	if err != nil || len(parts) == 0 {
		return false, fmt.Errorf("%w: the script join returned %d parts: %v", driver.ErrCorrupt, len(parts), err)
	}
	answer, err := parts[0].ToString()
	switch {
	case err != nil:
		return false, e.explain(ctx, err, s.keys.stream, writing)
	case answer == "ahead":
		return false, fmt.Errorf("%w: the topic has not given out %s yet", driver.ErrPosition, config.From.ID)
	case answer == "queue":
		return false, fmt.Errorf("%w: %s is a queue, and has no subscription but %s", driver.ErrWrongType, topic, driver.QueueSubscription)
	case answer == "others":
		return false, fmt.Errorf("%w: %s has other subscriptions, which a queue can't have", driver.ErrWrongType, topic)
	case len(parts) < 3:
		return false, fmt.Errorf("%w: the script join returned %d parts", driver.ErrCorrupt, len(parts))
	}
	if err := s.readQueue(&parts[2]); err != nil {
		return false, err
	}
	return answer == "existed", s.readLease(&parts[1])
}

// groupStart says how the script join is to place a group, which begins behind
// an id.
func groupStart(from driver.Position) (begin string, id streamid.ID, err error) {
	switch from.Kind {
	case driver.End:
		return "end", id, nil
	case driver.AtID:
		id, err = parseID(from.ID)
		return "known", id, err
	case driver.AtTime:
		first := streamid.At(from.Time)
		if first.Millis > 0 {
			id = streamid.ID{Millis: first.Millis - 1, Seq: math.MaxUint64}
		}
	}
	return "after", id, nil
}

// Leave implements driver.Subscriber.
func (e *engine) Leave(ctx context.Context, topic, name, consumer string) error {
	k := e.names.subscription(topic, name)
	_, err := e.work.at(k.stream).run(ctx, e.scripts.leave, []string{k.stream, k.leased, k.retry}, name, consumer)
	return e.explain(ctx, err, k.stream, writing)
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// redisID is the form in which Redis has an id that came from it.
func redisID(text string) string {
	id, err := streamid.Parse(text)
	if err != nil {
		return text
	}
	return id.Redis()
}
