package onredis

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

const (
	// Where Redis can't tell the lag of a group, so many messages are counted, or
	// about so many bytes of them, at most: they come with their bodies. The first
	// page is small, since their size is not known.
	countMessages  = 10_000
	countBytes     = 8 << 20
	countPage      = 1000
	firstCountPage = 16
)

// subscriptionConfig is what the hash subs has of a subscription.
type subscriptionConfig struct {
	From      string `json:"from"`
	Pos       string `json:"pos"`
	LeaseMS   int64  `json:"lease_ms"`
	ExpiresMS int64  `json:"expires_ms"`
	Created   int64  `json:"created"`
	Queue     bool   `json:"queue"`
	Deleted   int64  `json:"deleted"`
	Paused    bool   `json:"paused"`
}

// Topic implements driver.Admin. It is put together from many commands, and not
// of one moment.
func (e *engine) Topic(ctx context.Context, topic string) (driver.TopicInfo, error) {
	k := e.names.topic(topic)
	b := e.b
	replies, err := e.work.at(k.stream).doMulti(ctx,
		b.XinfoStream().Key(k.stream).Build(), b.XinfoGroups().Key(k.stream).Build(),
		b.Hgetall().Key(k.subs).Build(), b.Hgetall().Key(k.lost).Build(), b.Hgetall().Key(k.seen).Build(),
		b.Get().Key(k.config).Build(), b.Hget().Key(k.counts).Field("dropped").Build(), b.Zcard().Key(k.delayed).Build(),
		b.MemoryUsage().Key(k.stream).Build(), b.Time().Build())
	if err != nil {
		return driver.TopicInfo{}, e.explain(ctx, err, k.stream, reading)
	}
	info, err := readStreamInfo(replies[0])
	if isReply(err, noSuchKey) {
		return driver.TopicInfo{}, fmt.Errorf("%w: %s", driver.ErrTopicNotFound, topic)
	}
	t := driver.TopicInfo{Name: topic, Length: info.length, FirstID: info.first, LastID: info.last}
	var groups []driver.SubscriptionInfo
	var configs map[string]string
	var lost, seen map[string]int64
	var now time.Time
	for _, read := range []func() error{
		func() error { return err },
		func() error { groups, err = readGroups(replies[1]); return err },
		func() error { configs, err = replies[2].AsStrMap(); return err },
		func() error { lost, err = replies[3].AsIntMap(); return err },
		func() error { seen, err = replies[4].AsIntMap(); return err },
		func() error { t.Config, _, err = readConfig(replies[5].ToMessage()); return err },
		func() error { t.Dropped, err = orZero(replies[6].AsInt64()); return err },
		func() error { t.Delayed, err = replies[7].ToInt64(); return err },
		func() error { t.Bytes, err = replies[8].ToInt64(); return err },
		func() error { now, err = readTime(replies[9]); return err },
	} {
		if err := read(); err != nil {
			return driver.TopicInfo{}, e.explain(ctx, err, k.stream, reading)
		}
	}
	for _, s := range addMissing(groups, configs) {
		s.Lost, s.Lag = lost[s.Name], min(s.Lag, t.Length)
		var config subscriptionConfig
		if json.Unmarshal([]byte(configs[s.Name]), &config) == nil {
			s.Expires = time.Duration(config.ExpiresMS) * time.Millisecond
			if last := max(config.Created, seen[s.Name]); last > 0 {
				s.Unread = max(0, now.Sub(time.UnixMilli(last)))
			}
		}
		there, err := e.describe(ctx, topic, &s)
		if err != nil {
			return driver.TopicInfo{}, err
		}
		if there {
			t.Subscriptions = append(t.Subscriptions, s)
		}
		if there && config.Queue {
			// What is retried has left the stream, and is copies.
			copies, err := e.copies(ctx, topic, s.Name)
			if err != nil {
				return driver.TopicInfo{}, err
			}
			t.Queue = true
			t.Length += copies
		}
	}
	return t, nil
}

// orZero is the number that a key or field has that may not be there.
func orZero(n int64, err error) (int64, error) {
	if rueidis.IsRedisNil(err) {
		return 0, nil
	}
	return n, err
}

// readTime reads what TIME tells.
func readTime(reply rueidis.RedisResult) (time.Time, error) {
	parts, err := reply.AsIntSlice()
	if err != nil || len(parts) != 2 {
		return time.Time{}, fmt.Errorf("%w: TIME returned %d parts: %v", driver.ErrCorrupt, len(parts), err)
	}
	return time.Unix(parts[0], parts[1]*1000), nil
}

// copies counts the messages of a subscription that are retried, waiting or held.
func (e *engine) copies(ctx context.Context, topic, name string) (int64, error) {
	k, b := e.names.subscription(topic, name), e.b
	replies, err := e.work.at(k.stream).doMulti(ctx, b.Zcard().Key(k.waiting).Build(), b.Zcard().Key(k.leased).Build())
	if err != nil {
		return 0, e.explain(ctx, err, k.stream, reading)
	}
	var sum int64
	for _, r := range replies {
		n, err := r.ToInt64()
		if err != nil {
			return 0, e.explain(ctx, err, k.stream, reading)
		}
		sum += n
	}
	return sum, nil
}

// addMissing gives each subscription its lease, and adds those whose group was
// lost: they are restored when someone fetches from them.
func addMissing(groups []driver.SubscriptionInfo, configs map[string]string) []driver.SubscriptionInfo {
	there := map[string]*driver.SubscriptionInfo{}
	for i := range groups {
		groups[i].Lease = driver.DefaultLease
		there[groups[i].Name] = &groups[i]
	}
	var missing []driver.SubscriptionInfo
	for name, text := range configs {
		var config subscriptionConfig
		if json.Unmarshal([]byte(text), &config) != nil || config.Deleted != 0 {
			continue
		}
		s := there[name]
		if s == nil {
			id, _ := streamid.Parse(config.From)
			if pos, err := streamid.Parse(config.Pos); err == nil {
				id = pos
			}
			s = &driver.SubscriptionInfo{Name: name, Lag: -1, Lease: driver.DefaultLease}
			if !id.IsZero() {
				s.LastDelivered = id.String()
			}
		}
		s.Paused = config.Paused
		if config.LeaseMS > 0 {
			s.Lease = time.Duration(config.LeaseMS) * time.Millisecond
		}
		if there[name] == nil {
			missing = append(missing, *s)
		}
	}
	all := append(groups, missing...)
	slices.SortFunc(all, func(a, b driver.SubscriptionInfo) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// describe adds what the group's own line does not tell. there is false if the
// subscription was deleted meanwhile.
func (e *engine) describe(ctx context.Context, topic string, s *driver.SubscriptionInfo) (there bool, err error) {
	k := e.names.subscription(topic, s.Name)
	b := e.b
	replies, err := e.work.at(k.stream).doMulti(ctx,
		b.XinfoConsumers().Key(k.stream).Group(s.Name).Build(),
		b.Zcard().Key(k.waiting).Build(), b.Zcard().Key(k.leased).Build(), b.Xlen().Key(k.dead).Build())
	if err != nil {
		return false, e.explain(ctx, err, k.stream, reading)
	}
	consumers, err := readConsumers(replies[0])
	if isReply(err, "NOGROUP") {
		// Lost or deleted; only a lost one was listed without a lag.
		consumers, err, there = nil, nil, s.Lag == -1
	} else {
		there = true
	}
	if isReply(err, noSuchKey) {
		return false, nil
	}
	for i, count := range []*int64{&s.Waiting, nil, &s.Dead} {
		if err == nil && count != nil {
			*count, err = replies[i+1].ToInt64()
		}
	}
	var leased int64
	if err == nil {
		leased, err = replies[2].ToInt64()
	}
	if err == nil && leased > 0 {
		s.Pending += leased
		consumers, err = e.addOwners(ctx, k, consumers)
	}
	if err != nil {
		return false, e.explain(ctx, err, k.stream, reading)
	}
	s.Consumers = consumers
	if there && s.Lag != 0 {
		// Even where Redis tells: the counter of which it makes the lag is not the
		// same on replicas (7.0), and so is wrong after a failover, for good.
		limit := int64(countMessages)
		if s.Lag > 0 {
			limit = countPage
		}
		var counted int64
		if counted, err = e.countBehind(ctx, k.stream, s.LastDelivered, limit); counted >= 0 || s.Lag < 0 {
			s.Lag = counted
		}
	}
	return there, err
}

// addOwners adds retries that consumers hold to what they have pending.
func (e *engine) addOwners(ctx context.Context, k subscriptionKeys, consumers []driver.ConsumerInfo) ([]driver.ConsumerInfo, error) {
	reply, err := e.work.at(k.leased).run(ctx, e.scripts.owners, []string{k.leased, k.retry})
	if err != nil {
		return nil, err
	}
	list, err := reply.ToArray()
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(list); i += 2 {
		name, err := list[i].ToString()
		if err != nil {
			return nil, err
		}
		held, err := list[i+1].AsInt64()
		if err != nil {
			return nil, err
		}
		at := slices.IndexFunc(consumers, func(c driver.ConsumerInfo) bool { return c.Name == name })
		if at < 0 {
			consumers = append(consumers, driver.ConsumerInfo{Name: name})
			at = len(consumers) - 1
		}
		consumers[at].Pending += held
	}
	slices.SortFunc(consumers, func(a, b driver.ConsumerInfo) int { return strings.Compare(a.Name, b.Name) })
	return consumers, nil
}

// countBehind counts the messages behind an id, or returns -1 if they are many: more
// than a limit, or large.
func (e *engine) countBehind(ctx context.Context, stream, id string, limit int64) (int64, error) {
	start := "-"
	if id != "" {
		start = "(" + redisID(id)
	}
	var count, bytes int64
	for page := int64(firstCountPage); count < limit && bytes < countBytes; {
		reply, err := e.work.at(stream).do(ctx, e.b.Xrange().Key(stream).Start(start).End("+").Count(page).Build())
		if err != nil {
			return -1, e.explain(ctx, err, stream, reading)
		}
		list, err := reply.ToArray()
		if err != nil {
			return -1, err
		}
		if count += int64(len(list)); int64(len(list)) < page {
			return count, nil
		}
		for i := range list {
			bytes += sizeOf(&list[i])
		}
		page = min(max(1, (countBytes-bytes)*count/max(1, bytes)), countPage)
		pair, err := list[len(list)-1].ToArray()
		if err != nil || len(pair) == 0 {
			return -1, err
		}
		last, err := pair[0].ToString()
		if err != nil {
			return -1, err
		}
		start = "(" + last
	}
	return -1, nil
}

// sizeOf is about how many bytes a reply has.
func sizeOf(m *rueidis.RedisMessage) int64 {
	if parts, err := m.ToArray(); err == nil {
		size := int64(0)
		for i := range parts {
			size += sizeOf(&parts[i])
		}
		return size
	}
	text, _ := m.ToString()
	return int64(len(text))
}

// readGroups reads what XINFO GROUPS tells; a topic that isn't there has none.
func readGroups(reply rueidis.RedisResult) ([]driver.SubscriptionInfo, error) {
	list, err := reply.ToArray()
	if isReply(err, noSuchKey) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	groups := make([]driver.SubscriptionInfo, len(list))
	for i := range list {
		info, err := list[i].AsMap()
		if err != nil {
			return nil, err
		}
		name := info["name"]
		if groups[i].Name, err = name.ToString(); err != nil {
			return nil, err
		}
		delivered := info["last-delivered-id"]
		if groups[i].LastDelivered, err = textID(&delivered); err != nil {
			return nil, err
		}
		groups[i].Pending = number(info, "pending")
		groups[i].Lag = -1
		if lag, ok := info["lag"]; ok && !lag.IsNil() {
			groups[i].Lag = number(info, "lag")
		}
	}
	return groups, nil
}

func readConsumers(reply rueidis.RedisResult) ([]driver.ConsumerInfo, error) {
	list, err := reply.ToArray()
	if err != nil {
		return nil, err
	}
	consumers := make([]driver.ConsumerInfo, len(list))
	for i := range list {
		info, err := list[i].AsMap()
		if err != nil {
			return nil, err
		}
		name := info["name"]
		if consumers[i].Name, err = name.ToString(); err != nil {
			return nil, err
		}
		consumers[i].Pending = number(info, "pending")
		consumers[i].Idle = time.Duration(number(info, "idle")) * time.Millisecond
	}
	slices.SortFunc(consumers, func(a, b driver.ConsumerInfo) int { return strings.Compare(a.Name, b.Name) })
	return consumers, nil
}
