package onredis

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/redisaddr"
)

// effect says whether a command that got no answer may have changed something.
type effect bool

const (
	reading effect = false
	writing effect = true
)

// explain turns an error of Redis or of the connection into one of the seam's.
// key is what the command was about, empty if nothing in particular.
func (e *engine) explain(ctx context.Context, err error, key string, did effect) error {
	if err == nil || errors.Is(err, driver.ErrCorrupt) {
		return err
	}
	if reply, ok := rueidis.IsRedisErr(err); ok {
		return e.explainReply(ctx, reply.Error(), key)
	}
	if refused, ok := errors.AsType[*bySentinels](err); ok {
		return e.explainSentinels(refused.text)
	}
	var before *notSent
	unsent := errors.As(err, &before)
	switch {
	case ctx.Err() != nil && (unsent || did == reading):
		return fmt.Errorf("redis %s: %w", e.addr, ctx.Err())
	case ctx.Err() != nil:
		return fmt.Errorf("%w: redis %s: %w", driver.ErrUncertain, e.addr, ctx.Err())
	case errors.Is(err, rueidis.ErrNoCache):
		// Client tracking was refused when connecting.
		return e.explainReply(ctx, err.Error(), key)
	case unsent && before.cause == driver.ErrClosed, did == reading && errors.Is(err, rueidis.ErrClosing):
		if !e.closing() {
			return fmt.Errorf("%w: redis %s: the server that was asked is not in use any more", driver.ErrUnavailable, e.addr)
		}
		return fmt.Errorf("%w: redis %s", driver.ErrClosed, e.addr)
	case unsent && before.cause != nil:
		hint, is := explainConnection(before.cause)
		return fmt.Errorf("%w: redis %s: %v%s", is, e.addr, err, hint)
	case unsent || did == reading:
		return fmt.Errorf("%w: redis %s: %v", driver.ErrUnavailable, e.addr, err)
	default:
		return fmt.Errorf("%w: redis %s: %v", driver.ErrUncertain, e.addr, err)
	}
}

// replies are the words by which Redis's errors begin, and what they mean.
var replies = map[string]error{
	"NOAUTH": driver.ErrDenied, "WRONGPASS": driver.ErrDenied, "NOPERM": driver.ErrDenied,
	"OOM": driver.ErrFull, "MISCONF": driver.ErrFull,
	"LOADING": driver.ErrUnavailable, "READONLY": driver.ErrUnavailable, "MASTERDOWN": driver.ErrUnavailable,
	"CLUSTERDOWN": driver.ErrUnavailable, "TRYAGAIN": driver.ErrUnavailable, "NOREPLICAS": driver.ErrUnavailable,
	"BUSY": driver.ErrUnavailable, "MOVED": driver.ErrUnavailable, "ASK": driver.ErrUnavailable,
}

// hints say what to do about an error.
var hints = map[string]string{
	"NOAUTH":    "; give user and password in the address",
	"NOPERM":    "; give the user that permission: docs/redis-acl.md has all that beck needs",
	"READONLY":  "; this is a replica: give the address of its primary, or redis+sentinel://",
	"OOM":       "; trim topics or raise maxmemory",
	"MISCONF":   "; Redis can't write its data to disk, see its log",
	"WRONGPASS": "; check user and password in the address",
}

func (e *engine) explainReply(ctx context.Context, text, key string) error {
	word, _, _ := strings.Cut(text, " ")
	text, _, _ = strings.Cut(text, "\n")
	text = strings.TrimSuffix(text, ".")
	if word == "NOAUTH" { // Redis has advice for those who write clients
		text = "NOAUTH Authentication required"
	}
	switch {
	case word == "WRONGTYPE":
		return &notAStream{fmt.Errorf("%w: the key %s holds a %s, where a stream belongs; move it away, or use another prefix",
			driver.ErrWrongType, key, e.typeOf(ctx, key))}
	case word == "READONLY" && e.addr.Kind != redisaddr.Single: // until the failover is over
		return fmt.Errorf("%w: redis %s: %s", driver.ErrUnavailable, e.addr, text)
	case (word == "MOVED" || word == "ASK") && e.cluster == nil:
		return fmt.Errorf("%w: redis %s is a node of a Redis Cluster; write redis+cluster:// for redis://", beck.ErrOption, e.addr)
	case replies[word] != nil:
		return fmt.Errorf("%w: redis %s: %s%s", replies[word], e.addr, text, hints[word])
	case strings.HasPrefix(text, "max number of clients"):
		return fmt.Errorf("%w: redis %s: %s", driver.ErrUnavailable, e.addr, text)
	case strings.HasPrefix(text, "DB index"):
		return fmt.Errorf("%w: redis %s: %s", beck.ErrOption, e.addr, text)
	case isUnknownCommand(text):
		return fmt.Errorf("%w: redis %s: %s", driver.ErrVersion, e.addr, text)
	case word == "NOGROUP": // lost again since it was healed
		return fmt.Errorf("%w: redis %s: %s", driver.ErrUnavailable, e.addr, text)
	}
	return fmt.Errorf("redis %s: %s", e.addr, text)
}

// notAStream says that Redis found a value of another type: somebody else's, or the
// mark of a topic that moves to another instance.
type notAStream struct{ error }

func (e *notAStream) Unwrap() error { return e.error }

// typeOf asks what a key holds, for an error text.
func (e *engine) typeOf(ctx context.Context, key string) string {
	reply, err := e.work.at(key).do(ctx, e.b.Type().Key(key).Build())
	if err == nil {
		if name, err := reply.ToString(); err == nil && name != "none" {
			return name
		}
	}
	return "value of another type"
}

// noSuchKey is how Redis refuses to tell about a stream that doesn't exist;
// rueidis takes off the ERR before it.
const noSuchKey = "no such key"

// isReply reports whether err is an answer of Redis that begins with a word.
func isReply(err error, word string) bool {
	reply, ok := rueidis.IsRedisErr(err)
	return ok && strings.HasPrefix(reply.Error(), word)
}
