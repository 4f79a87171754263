package onredis

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// maxPipeline is how many commands, or ids in a command, are sent at once.
const maxPipeline = 1000

// Append implements driver.Log: one XADD a message, in one pipeline, or the script
// publish for what more is to be known about.
func (e *engine) Append(ctx context.Context, topic string, messages []driver.Message) ([]string, error) {
	scripted, err := e.bounded(ctx, topic)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		scripted = scripted || !isPlain(&messages[i])
	}
	var w *durably // nil to write is enough
	if d, more := asked(messages); more {
		if w, err = e.durably(ctx, e.names.stream(topic), d); err != nil {
			return nil, err
		}
	}
	if scripted {
		return e.appendScripted(ctx, w, topic, messages)
	}
	return e.appendPlain(ctx, w, topic, messages)
}

func (e *engine) appendPlain(ctx context.Context, w *durably, topic string, messages []driver.Message) ([]string, error) {
	stream := e.names.stream(topic)
	ids := make([]string, 0, len(messages))
	if len(messages) == 1 && w == nil {
		reply, err := e.work.at(stream).do(ctx, add(e.b, stream, &messages[0]))
		if err == nil {
			ids, err = appendID(ids, reply)
		}
		return ids, e.explain(ctx, err, stream, writing)
	}
	var notReached error
	for len(messages) > 0 {
		portion := messages[:min(len(messages), maxPipeline)]
		messages = messages[len(portion):]
		build := func() []rueidis.Completed {
			cmds := make([]rueidis.Completed, len(portion))
			for i := range portion {
				cmds[i] = add(e.b, stream, &portion[i])
			}
			return cmds
		}
		var replies []rueidis.RedisResult
		var less, err error
		if w == nil {
			replies, err = e.work.at(stream).doBuilt(ctx, build)
		} else {
			replies, less, err = e.work.at(stream).doDurably(ctx, w, build()...)
		}
		if less != nil {
			notReached = less
		}
		if err == nil {
			ids, err = e.appendIDs(ctx, stream, ids, replies)
		} else {
			err = e.explain(ctx, err, stream, writing)
		}
		if err != nil {
			return ids, err
		}
	}
	return ids, notReached
}

// appendIDs collects the ids up to the first error. If something was stored
// behind a message that was not, nothing can be said about that one's place.
func (e *engine) appendIDs(ctx context.Context, stream string, ids []string, replies []rueidis.RedisResult) ([]string, error) {
	for i, r := range replies {
		reply, err := r.ToMessage()
		if err == nil {
			ids, err = appendID(ids, reply)
		}
		if err == nil {
			continue
		}
		err = e.explain(ctx, err, stream, writing)
		if errors.Is(err, driver.ErrUncertain) {
			return ids, err
		}
		for _, later := range replies[i+1:] {
			if e.mayBeDone(ctx, later.Error(), stream) {
				return ids, fmt.Errorf("%w: a message behind the first that failed may be stored: %v", driver.ErrUncertain, err)
			}
		}
		return ids, err
	}
	return ids, nil
}

// mayBeDone reports whether a command that got an error, or none, may have been
// done.
func (e *engine) mayBeDone(ctx context.Context, err error, stream string) bool {
	if _, refused := rueidis.IsRedisErr(err); refused {
		return false
	}
	return err == nil || errors.Is(e.explain(ctx, err, stream, writing), driver.ErrUncertain)
}

func appendID(ids []string, reply rueidis.RedisMessage) ([]string, error) {
	text, err := reply.ToString()
	if err != nil {
		return ids, err
	}
	id, err := streamid.Parse(text)
	if err != nil {
		return ids, fmt.Errorf("%w: XADD returned %q", driver.ErrCorrupt, text)
	}
	return append(ids, id.String()), nil
}
