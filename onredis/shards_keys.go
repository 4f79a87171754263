package onredis

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/beckmq/beck/internal/driver"
)

// The keys of a topic on its way: at its old place they are called {K}:~moving:PART
// until they have arrived, at the new one {K}:~arriving:TOKEN:PART. Beside them is a
// note, a hash of what was known of the topic when its move began.
const (
	movingPart   = "~moving:"
	arrivingPart = "~arriving:"
	notePart     = "note"
)

// onTheWay names the topic that is being moved at present.
func (k keys) onTheWay() string { return k.prefix + "~shards:moving" }

// all are the keys that a topic with these subscriptions may have, the stream first.
func (k keys) all(topic string, subscriptions []string) []string {
	t := k.topic(topic)
	list := []string{t.stream, t.subs, t.lost, t.seen, t.config, t.counts, t.delayed, t.fields, t.due, t.once, t.ends, t.schedules}
	for _, name := range subscriptions {
		s := k.subscription(topic, name)
		list = append(list, s.waiting, s.leased, s.retry, s.dead, s.buried)
	}
	return list
}

// away is what a key of a topic is called on its way.
func (k keys) away(topic, key, kind string) string {
	base := "{" + k.stream(topic) + "}:"
	part, ok := strings.CutPrefix(key, base)
	if !ok {
		part = "stream"
	}
	return base + kind + part
}

// note is the key of the note of a topic on its way.
func (k keys) note(topic, kind string) string { return "{" + k.stream(topic) + "}:" + kind + notePart }

// arriving is the kind of keys of one move.
func arriving(token string) string { return arrivingPart + token + ":" }

// pairs are the keys of a topic, each with what it is called on its way behind it.
func (k keys) pairs(topic, kind string, subscriptions []string) []string {
	var list []string
	for _, key := range k.all(topic, subscriptions) {
		list = append(list, key, k.away(topic, key, kind))
	}
	return list
}

// packNames and unpackNames turn the names of subscriptions into a text and back. Those
// of groups that other clients made may be any bytes.
func packNames(names []string) string {
	raw := make([][]byte, len(names))
	for i, name := range names {
		raw[i] = []byte(name)
	}
	text, _ := json.Marshal(raw) // it can't fail
	return string(text)
}

func unpackNames(text string) ([]string, error) {
	var raw [][]byte
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		return nil, fmt.Errorf("%w: the note of a topic on its way: %v", driver.ErrCorrupt, err)
	}
	names := make([]string, len(raw))
	for i, name := range raw {
		names[i] = string(name)
	}
	return names, nil
}

// readNote reads the note of a topic on its way; there is false if there is none.
func (e *engine) readNote(ctx context.Context, topic, kind string) (fields map[string]string, subscriptions []string, there bool, err error) {
	key := e.names.note(topic, kind)
	reply, err := e.do(ctx, key, "HGETALL", key)
	if err == nil {
		fields, err = reply.AsStrMap()
	}
	if err != nil || len(fields) == 0 {
		return nil, nil, false, e.explain(ctx, err, key, reading)
	}
	subscriptions, err = unpackNames(fields["subs"])
	return fields, subscriptions, true, err
}

// putBack puts a topic back into use here, if its move has taken longer than it may, or
// by all means if its mover says that this is its own.
func (e *engine) putBack(ctx context.Context, topic, token, own string) error {
	_, subscriptions, there, err := e.readNote(ctx, topic, movingPart)
	if err != nil || !there {
		return err
	}
	t := e.names.topic(topic)
	keys := append([]string{t.stream, t.schedules, e.names.note(topic, movingPart)}, e.names.pairs(topic, movingPart, subscriptions)...)
	answer, err := e.runShardText(ctx, "shards_back", keys, token, own)
	if err == nil && answer == "back" && own == "" {
		e.log.Warn("a topic goes on where it was: who moved it has not gone on", "topic", topic, "redis", e.addr.String())
	}
	return err
}

// arrive puts a topic into use here whose move was decided, if nobody has yet.
func (e *engine) arrive(ctx context.Context, topic, token string) error {
	_, subscriptions, there, err := e.readNote(ctx, topic, arriving(token))
	if err != nil || !there {
		return err
	}
	t := e.names.topic(topic)
	keys := append([]string{t.stream, t.schedules, e.names.schedules(), e.names.note(topic, arriving(token))},
		e.names.pairs(topic, arriving(token), subscriptions)...)
	answer, err := e.runShardText(ctx, "shards_arrive", keys, topic)
	if err == nil && answer == "taken" {
		return fmt.Errorf("%w: redis %s has another %s, in the place of the one that moves there", driver.ErrUnavailable, e.addr, topic)
	}
	return err
}

// leaveBehind removes what is left here of a topic that has moved by now.
func (e *engine) leaveBehind(ctx context.Context, topic, token string) error {
	_, subscriptions, there, err := e.readNote(ctx, topic, movingPart)
	if err != nil || !there {
		return err
	}
	keys := []string{e.names.stream(topic), e.names.schedules(), e.names.note(topic, movingPart)}
	for _, key := range e.names.all(topic, subscriptions) {
		keys = append(keys, e.names.away(topic, key, movingPart))
	}
	_, err = e.runShardBool(ctx, "shards_clean", keys, token, topic)
	return err
}

// discard removes what has come of a topic whose move was not decided.
func (e *engine) discard(ctx context.Context, topic, token string, subscriptions []string) error {
	words := []string{"UNLINK"}
	for _, key := range e.names.all(topic, subscriptions) {
		words = append(words, e.names.away(topic, key, arriving(token)))
	}
	note := e.names.note(topic, arriving(token))
	_, err := e.do(ctx, note, append(words, note)...) // the note last: it tells of the others
	return e.explain(ctx, err, note, writing)
}
