package onredis

import (
	"context"
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
		cmds := make([]rueidis.Completed, len(portion))
		for i, name := range portion {
			cmds[i] = e.work.client.B().XinfoStream().Key(e.names.stream(name)).Build()
		}
		replies, err := e.work.doMulti(ctx, cmds...)
		if err != nil {
			return nil, e.explain(ctx, err, "", reading)
		}
		for i, r := range replies {
			stream, err := readStreamInfo(r)
			if isReply(err, noSuchKey) {
				continue // deleted since
			}
			if err != nil {
				return nil, e.explain(ctx, err, e.names.stream(portion[i]), reading)
			}
			list = append(list, driver.TopicSummary{
				Name: portion[i], Length: stream.length, LastID: stream.last, Subscriptions: int(stream.groups),
			})
		}
	}
	return list, nil
}

// topicNames scans every node for streams that can be topics.
func (e *engine) topicNames(ctx context.Context) ([]string, error) {
	found := map[string]struct{}{}
	pattern := globEscaper.Replace(e.names.prefix) + "*"
	for _, node := range e.work.client.Nodes() {
		l := &link{client: node, calls: e.work.calls}
		for cursor := uint64(0); ; {
			reply, err := l.do(ctx, node.B().Scan().Cursor(cursor).Match(pattern).Count(scanCount).Type("stream").Build())
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
	names, err := e.subscriptionNames(ctx, stream)
	if err != nil {
		return 0, e.explain(ctx, err, stream, reading)
	}
	keys := []string{stream, subsKey(stream)}
	for _, name := range names {
		keys = append(keys, e.names.subscription(topic, name).leased)
	}
	reply, err := e.work.run(ctx, e.scripts.trim, keys, bound)
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
	names, err := e.subscriptionNames(ctx, stream)
	if err != nil {
		return e.explain(ctx, err, stream, reading)
	}
	keys := []string{stream, subsKey(stream), lostKey(stream)}
	for _, name := range names {
		k := e.names.subscription(topic, name)
		keys = append(keys, k.waiting, k.leased, k.retry, k.dead, k.buried)
	}
	reply, err := e.work.run(ctx, e.scripts.deleteTopic, keys, names...)
	if err != nil {
		return e.explain(ctx, err, stream, writing)
	}
	e.forgetTopic(topic)
	wait, err := reply.ToInt64()
	if err != nil {
		return e.explain(ctx, err, stream, writing)
	}
	if wait < 0 {
		return fmt.Errorf("%w: %s", driver.ErrTopicNotFound, topic)
	}
	// Should the topic be made again at once, its ids must be new ones. Ids of a
	// clock that is far ahead are not waited for.
	time.Sleep(min(time.Duration(wait)*time.Millisecond, maxIDWait))
	return nil
}

// subscriptionNames are those of all groups, and of subscriptions whose group is
// lost or deleted.
func (e *engine) subscriptionNames(ctx context.Context, stream string) ([]string, error) {
	b := e.work.client.B()
	replies, err := e.work.doMulti(ctx, b.XinfoGroups().Key(stream).Build(), b.Hkeys().Key(subsKey(stream)).Build())
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
	k := e.names.subscription(topic, name)
	reply, err := e.work.run(ctx, e.scripts.deleteSubscription,
		[]string{k.stream, k.subs, k.waiting, k.leased, k.retry, k.dead, k.buried, k.lost}, name)
	if err != nil {
		return e.explain(ctx, err, k.stream, writing)
	}
	e.forget(subscriptionID{topic, name})
	switch answer, _ := reply.ToString(); answer {
	case "no topic":
		return fmt.Errorf("%w: %s", driver.ErrTopicNotFound, topic)
	case "no subscription":
		return fmt.Errorf("%w: %s of topic %s", driver.ErrSubscriptionNotFound, name, topic)
	}
	return nil
}
