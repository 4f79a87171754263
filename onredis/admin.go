package onredis

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

const (
	scanCount   = 1000 // keys looked at in one step of listing topics
	listPortion = 100  // topics described in one pipeline

	maxIDWait = 20 * time.Millisecond
)

// Topics implements driver.Admin.
func (e *engine) Topics(ctx context.Context) ([]driver.TopicSummary, error) {
	names, err := e.topicNames(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]driver.TopicSummary, 0, len(names))
	for portion := range slices.Chunk(names, listPortion) {
		streams := make([]string, len(portion))
		for i, name := range portion {
			streams[i] = e.names.stream(name)
		}
		replies, err := e.work.each(ctx, streams, func(i int) []rueidis.Completed {
			k := e.names.topic(portion[i])
			return []rueidis.Completed{e.b.XinfoStream().Key(k.stream).Build(), e.b.Hget().Key(k.subs).Field(driver.QueueSubscription).Build()}
		})
		if err != nil {
			return nil, e.explain(ctx, err, "", reading)
		}
		for i, name := range portion {
			stream, err := readStreamInfo(replies[i][0])
			if isReply(err, noSuchKey) || isReply(err, "WRONGTYPE") {
				continue // deleted since, or on its way to another instance
			}
			var config subscriptionConfig
			if err == nil {
				config, err = readSubscription(replies[i][1])
			}
			if err != nil {
				return nil, e.explain(ctx, err, e.names.stream(name), reading)
			}
			t := driver.TopicSummary{
				Name: name, Length: stream.length, LastID: stream.last, Subscriptions: int(stream.groups), Queue: config.Queue,
			}
			if t.Queue {
				copies, err := e.copies(ctx, name, driver.QueueSubscription)
				if err != nil {
					return nil, err
				}
				t.Length += copies
			}
			list = append(list, t)
		}
	}
	return list, nil
}

// readSubscription reads what the hash subs has of one subscription, if anything.
func readSubscription(reply rueidis.RedisResult) (c subscriptionConfig, err error) {
	text, err := reply.AsBytes()
	if rueidis.IsRedisNil(err) {
		return c, nil
	}
	if err == nil {
		_ = json.Unmarshal(text, &c) // what can't be read is as good as not there
	}
	return c, err
}

// topicNames scans every node for streams that can be topics.
func (e *engine) topicNames(ctx context.Context) ([]string, error) {
	found := map[string]struct{}{}
	pattern := globEscaper.Replace(e.names.prefix) + "*"
	nodes, err := e.work.primaries(ctx)
	if err != nil {
		return nil, e.explain(ctx, err, "", reading)
	}
	for _, l := range nodes {
		for cursor := uint64(0); ; {
			reply, err := l.do(ctx, e.b.Scan().Cursor(cursor).Match(pattern).Count(scanCount).Type("stream").Build())
			if err != nil {
				return nil, e.explain(ctx, err, "", reading)
			}
			page, err := reply.AsScanEntry()
			if err != nil {
				return nil, e.explain(ctx, err, "", reading)
			}
			for _, key := range page.Elements {
				name, ok := strings.CutPrefix(key, e.names.prefix)
				if ok && beck.CheckName(name) == nil {
					found[name] = struct{}{}
				}
			}
			if cursor = page.Cursor; cursor == 0 {
				break
			}
		}
	}
	names := make([]string, 0, len(found))
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

var globEscaper = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)

// streamInfo is what XINFO STREAM tells.
type streamInfo struct {
	length, groups int64
	first, last    string
}

func readStreamInfo(reply rueidis.RedisResult) (streamInfo, error) {
	info, err := reply.AsMap()
	if err != nil {
		return streamInfo{}, err
	}
	s := streamInfo{length: number(info, "length"), groups: number(info, "groups")}
	if first, ok := info["first-entry"]; ok && !first.IsNil() {
		if pair, err := first.ToArray(); err == nil && len(pair) > 0 {
			s.first, _ = textID(&pair[0])
		}
	}
	last := info["last-generated-id"]
	s.last, err = textID(&last)
	return s, err
}

func number(info map[string]rueidis.RedisMessage, name string) int64 {
	m, ok := info[name]
	if !ok {
		return 0
	}
	n, _ := m.AsInt64()
	return n
}

// Trim implements driver.Admin.
func (e *engine) Trim(ctx context.Context, topic string, before driver.Position) (int64, error) {
	bound := "end"
	switch before.Kind {
	case driver.Start:
		bound = streamid.ID{}.Redis()
	case driver.AtID:
		id, err := parseID(before.ID)
		if err != nil {
			return 0, err
		}
		bound = id.Redis()
	case driver.AtTime:
		bound = streamid.At(before.Time).Redis()
	}
	stream := e.names.stream(topic)
	names, err := e.subscriptionNames(ctx, topic)
	if err != nil {
		return 0, e.explain(ctx, err, stream, reading)
	}
	keys := []string{stream, e.names.topic(topic).subs}
	for _, name := range names {
		keys = append(keys, e.names.subscription(topic, name).leased)
	}
	reply, err := e.work.at(keys[0]).run(ctx, e.scripts.trim, keys, bound)
	if err != nil {
		return 0, e.explain(ctx, err, stream, writing)
	}
	removed, err := reply.ToInt64()
	if err == nil && removed < 0 {
		return 0, fmt.Errorf("%w: %s", driver.ErrTopicNotFound, topic)
	}
	return removed, err
}

// DeleteTopic implements driver.Admin.
func (e *engine) DeleteTopic(ctx context.Context, topic string) error {
	stream := e.names.stream(topic)
	for range maxHeals {
		names, err := e.subscriptionNames(ctx, topic)
		if err != nil {
			return e.explain(ctx, err, stream, reading)
		}
		wait, err := e.deleteTopic(ctx, topic, names)
		switch {
		case err != nil:
			return e.explain(ctx, err, stream, writing)
		case wait == -1:
			e.forgetTopic(topic)
			return fmt.Errorf("%w: %s", driver.ErrTopicNotFound, topic)
		case wait >= 0:
			e.forgetTopic(topic)
			// Should the topic be made again at once, its ids must be new ones. Ids of
			// a clock that is far ahead are not waited for.
			time.Sleep(min(time.Duration(wait)*time.Millisecond, maxIDWait))
			return nil
		}
	}
	return e.joinedAllTheWhile(topic)
}

// deleteTopic runs the script delete_topic for a topic with these subscriptions.
func (e *engine) deleteTopic(ctx context.Context, topic string, names []string) (wait int64, err error) {
	t := e.names.topic(topic)
	keys := []string{t.stream, t.subs, t.lost, t.seen, t.config, t.counts, t.delayed, t.fields, t.due, t.once, t.ends}
	for _, name := range names {
		k := e.names.subscription(topic, name)
		keys = append(keys, k.waiting, k.leased, k.retry, k.dead, k.buried)
	}
	return e.runInt(ctx, e.scripts.deleteTopic, keys, names...)
}

func (e *engine) joinedAllTheWhile(topic string) error {
	return fmt.Errorf("%w: redis %s: subscriptions of %s are made all the while", driver.ErrUnavailable, e.addr, topic)
}

// subscriptionNames are those of all groups, and of subscriptions whose group is
// lost or deleted.
func (e *engine) subscriptionNames(ctx context.Context, topic string) ([]string, error) {
	b, t := e.b, e.names.topic(topic)
	replies, err := e.work.at(t.stream).doMulti(ctx, b.XinfoGroups().Key(t.stream).Build(), b.Hkeys().Key(t.subs).Build())
	if err != nil {
		return nil, err
	}
	groups, err := readGroups(replies[0])
	if err != nil {
		return nil, err
	}
	names, err := replies[1].AsStrSlice()
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		names = append(names, g.Name)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// DeleteSubscription implements driver.Admin.
func (e *engine) DeleteSubscription(ctx context.Context, topic, name string) error {
	_, err := e.deleteSubscription(ctx, topic, name, "")
	return err
}

// deleteSubscription deletes a subscription, if need be only when it has expired,
// and reports whether it did.
func (e *engine) deleteSubscription(ctx context.Context, topic, name, condition string) (done bool, err error) {
	k := e.names.subscription(topic, name)
	reply, err := e.work.at(k.stream).run(ctx, e.scripts.deleteSubscription,
		[]string{k.stream, k.subs, k.waiting, k.leased, k.retry, k.dead, k.buried, k.lost, k.seen}, name, condition)
	if err != nil {
		return false, e.explain(ctx, err, k.stream, writing)
	}
	answer, _ := reply.ToString()
	if answer == "in use" {
		return false, nil
	}
	e.forget(subscriptionID{topic, name})
	switch answer {
	case "no topic":
		return false, fmt.Errorf("%w: %s", driver.ErrTopicNotFound, topic)
	case "no subscription":
		return false, fmt.Errorf("%w: %s of topic %s", driver.ErrSubscriptionNotFound, name, topic)
	}
	return true, nil
}
