package onredis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

const (
	// A script publishes at most so many messages, and about so many bytes, to keep
	// it short.
	maxScripted      = 500
	maxScriptedBytes = 1 << 20
	// maxScriptedFields is about what a Lua function can be called with.
	maxScriptedFields = 7000

	// delayedHeader has, in a message that was delayed, the id it had meanwhile.
	delayedHeader = "beck-delayed-id"
)

// isPlain reports whether a message is published by XADD alone.
func isPlain(m *driver.Message) bool {
	return m.Delay <= 0 && m.At.IsZero() && m.DedupeID == ""
}

// appendScripted publishes by the script publish, some messages at a time.
func (e *engine) appendScripted(ctx context.Context, w *durably, topic string, messages []driver.Message) ([]string, error) {
	keys := e.names.publishing(topic)
	ids := make([]string, 0, len(messages))
	var notReached error
	for len(messages) > 0 {
		args := []string{millis(driver.DefaultTopicConfig.DedupeWindow)}
		n, size := 0, 0
		for n < len(messages) && n < maxScripted && (n == 0 || size < maxScriptedBytes) {
			m := &messages[n]
			fields := fieldsOf(m)
			if len(fields) > maxScriptedFields {
				if n > 0 {
					break
				}
				return ids, tooManyHeaders()
			}
			args = append(append(args, enters(m), m.DedupeID, strconv.Itoa(len(fields))), fields...)
			size += weight(m)
			n++
		}
		reply, less, err := e.work.at(keys[0]).runDurably(ctx, w, e.scripts.publish, keys, args...)
		if less != nil {
			notReached = less
		}
		if err != nil {
			return ids, e.explain(ctx, err, keys[0], writing)
		}
		before := len(ids)
		if ids, err = e.readPublished(ctx, topic, ids, n, reply); err != nil {
			return ids, err
		}
		messages = messages[len(ids)-before:]
	}
	return ids, notReached
}

// readPublished adds the ids that the script publish returned, fewer than n if the
// rest is to be tried again, and turns its answer into an error.
func (e *engine) readPublished(ctx context.Context, topic string, ids []string, n int, reply rueidis.RedisMessage) ([]string, error) {
	parts, err := reply.AsStrSlice()
	if err != nil || len(parts) == 0 {
		return ids, fmt.Errorf("%w: the script publish returned %d parts: %v", driver.ErrCorrupt, len(parts), err)
	}
	for _, text := range parts[1:] {
		if !strings.HasPrefix(text, "d") {
			id, err := streamid.Parse(text)
			if err != nil {
				return ids, fmt.Errorf("%w: the script publish returned %q", driver.ErrCorrupt, text)
			}
			text = id.String()
		}
		ids = append(ids, text)
	}
	switch answer := parts[0]; {
	case answer == "ok" && len(parts) == 1+n, answer == "again" && len(parts) <= n:
		return ids, nil
	case answer == "full":
		return ids, full(topic)
	case answer == "ok", answer == "again":
		return ids, fmt.Errorf("%w: the script publish returned %d ids for %d messages", driver.ErrCorrupt, len(parts)-1, n)
	default:
		return ids, e.explainReply(ctx, strings.TrimPrefix(answer, "ERR "), e.names.stream(topic))
	}
}

func tooManyHeaders() error {
	return fmt.Errorf("%w: a message that is delayed, deduplicated, recurring or for a topic with bounds has %d headers at most", driver.ErrTooLarge, maxScriptedFields/2-2)
}

func full(topic string) error {
	return fmt.Errorf("%w: %s; its subscriptions still need what it has", driver.ErrTopicFull, topic)
}

// enters says when a message enters its topic, as the script publish takes it.
// Parts of a millisecond count as a whole one.
func enters(m *driver.Message) string {
	switch {
	case m.Delay > 0:
		return "+" + millis(m.Delay+time.Millisecond-1)
	case !m.At.IsZero():
		return "@" + strconv.FormatInt(m.At.Add(time.Millisecond-1).UnixMilli(), 10)
	}
	return ""
}

// fieldsOf are the fields of a message's entry, each with its value behind it. One
// that may be delayed gets no header of the name that it will need.
func fieldsOf(m *driver.Message) []string {
	fields := make([]string, 0, 4+2*len(m.Headers))
	fields = append(fields, bodyField, rueidis.BinaryString(m.Body))
	if m.Key != "" {
		fields = append(fields, keyField, m.Key)
	}
	for name, value := range m.Headers {
		if name != delayedHeader || isPlain(m) {
			fields = append(fields, headerPrefix+name, value)
		}
	}
	return fields
}

// weight is about how many bytes a message has.
func weight(m *driver.Message) int {
	size := perEntry + len(m.Body) + len(m.Key)
	for name, value := range m.Headers {
		size += len(name) + len(value)
	}
	return size
}

// Cancel implements driver.Steerer.
func (e *engine) Cancel(ctx context.Context, topic string, ids []string) (missing []string, err error) {
	keys := e.names.publishing(topic)
	reply, err := e.work.at(keys[0]).run(ctx, e.scripts.cancel, keys, ids...)
	if rueidis.IsRedisNil(err) {
		return nil, fmt.Errorf("%w: %s", driver.ErrTopicNotFound, topic)
	}
	var numbers []int64
	if err == nil {
		numbers, err = reply.AsIntSlice()
	}
	if err != nil {
		return nil, e.explain(ctx, err, keys[0], writing)
	}
	for _, n := range numbers {
		if n < 1 || int(n) > len(ids) {
			return nil, errors.New("the script cancel returned a number that it was not given")
		}
		missing = append(missing, ids[n-1])
	}
	return missing, nil
}
