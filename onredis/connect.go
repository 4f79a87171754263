package onredis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/redisaddr"
)

func (e *engine) dial(ctx context.Context) error {
	err := e.dialAll(ctx)
	if err != nil {
		e.closeClients()
	}
	return err
}

func (e *engine) dialAll(ctx context.Context) error {
	if e.addr.Kind == redisaddr.Cluster {
		return e.dialCluster(ctx)
	}
	line := &lineage{}
	work, err := openLink(e.addr, line, forWork())
	if err != nil {
		return e.explain(ctx, err, "", reading)
	}
	e.b = work.client.B()
	e.work = &pool{one: work, b: e.b}
	if err := e.checkVersion(ctx, work); err != nil {
		return err
	}
	watcher, err := openLink(e.addr, line, forWatching(func(changed []rueidis.RedisMessage) { e.invalidated("", changed) }))
	if err != nil {
		return e.explain(ctx, err, "", reading)
	}
	e.watcher = &pool{one: watcher, b: e.b}
	return nil
}

// dialCluster reads the map of the cluster and connects to all of its primaries. It
// is enough if some of them can be reached: the others may be failing over.
func (e *engine) dialCluster(ctx context.Context) error {
	c := newCluster(e.addr.Hosts, e.log)
	var mu sync.Mutex
	lines := map[string]*lineage{}
	open := func(node string, o rueidis.ClientOption) (*link, error) {
		addr, err := e.addr.With(node)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		line := lines[node]
		if line == nil {
			line = &lineage{lost: func() { c.newEra(node) }}
			lines[node] = line
		}
		mu.Unlock()
		return openLink(addr, line, o)
	}
	e.cluster = c
	if e.addr.TLS != nil {
		c.hint = hintNoTLS
	}
	e.work = &pool{cluster: c, links: map[string]*opening{}, open: func(node string) (*link, error) { return open(node, forWork()) }}
	e.watcher = &pool{cluster: c, watches: true, links: map[string]*opening{}, open: func(node string) (*link, error) {
		return open(node, forWatching(func(changed []rueidis.RedisMessage) { e.invalidated(node, changed) }))
	}}
	c.ask = func(ctx context.Context, node string) (rueidis.RedisMessage, error) {
		l, err := e.work.to(ctx, node)
		if err == nil {
			var reply rueidis.RedisMessage
			if reply, err = l.do(ctx, l.client.B().ClusterSlots().Build()); err == nil {
				return reply, nil
			}
		}
		if isReply(err, "ERR This instance has cluster support disabled") || isReply(err, "This instance has cluster support disabled") {
			return rueidis.RedisMessage{}, fmt.Errorf("%w: %s is no node of a Redis Cluster; write redis:// for a Redis of its own", beck.ErrOption, node)
		}
		if reply, refused := rueidis.IsRedisErr(err); refused && isUnknownCommand(reply.Error()) {
			return rueidis.RedisMessage{}, fmt.Errorf("%w: %s is no node of a Redis Cluster, but a sentinel; write redis+sentinel://", beck.ErrOption, node)
		}
		return rueidis.RedisMessage{}, e.explain(ctx, err, "", reading)
	}
	if err := c.refresh(ctx); err != nil {
		return err
	}
	if n := c.missing(); n > 0 {
		return fmt.Errorf("%w: redis %s: no node has %d of the %d slots; see `redis-cli --cluster check`", driver.ErrUnavailable, e.addr, n, slotCount)
	}
	c.onLost = func(node string) {
		time.AfterFunc(cutGrace, func() {
			e.work.cut(node)
			e.watcher.cut(node)
		})
	}
	c.onChange = func(slots func(uint16) bool) {
		e.changedIf(func(topic string) bool { return slots(slotOf(e.names.stream(topic))) })
	}
	return e.dialPrimaries(ctx)
}

func (e *engine) dialPrimaries(ctx context.Context) error {
	nodes := e.cluster.primaries()
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, node := range nodes {
		wg.Go(func() {
			l, err := e.work.to(ctx, node)
			if err == nil {
				if errs[i] = e.checkVersion(ctx, l); errs[i] != nil {
					return
				}
				_, err = e.watcher.to(ctx, node)
			}
			errs[i] = e.explain(ctx, err, "", reading)
		})
	}
	wg.Wait()
	reached := false
	for i, err := range errs {
		switch {
		case err == nil:
			reached = true
		case errors.Is(err, driver.ErrVersion) || errors.Is(err, driver.ErrDenied):
			return err
		default:
			e.log.Warn("a node of the Redis Cluster can't be reached; its topics have to wait", "node", nodes[i], "error", err)
		}
	}
	if !reached {
		return errs[0]
	}
	for _, l := range e.work.all() {
		e.b = l.client.B()
	}
	e.work.b, e.watcher.b = e.b, e.b
	return nil
}

// checkVersion asks by HELLO, which every user may call, unlike INFO.
func (e *engine) checkVersion(ctx context.Context, l *link) error {
	reply, err := l.do(ctx, l.client.B().Arbitrary("HELLO").Build())
	if err != nil {
		return e.explain(ctx, err, "", reading)
	}
	hello, err := reply.AsStrMap()
	if err != nil {
		return fmt.Errorf("%w: redis %s: HELLO is not understood: %v", driver.ErrVersion, e.addr, err)
	}
	version := hello["version"]
	if major, _, _ := strings.Cut(version, "."); len(major) == 1 && major < "7" {
		return fmt.Errorf("%w: redis %s runs version %s; beck needs Redis 7.0 or Valkey 7.2, or newer", driver.ErrVersion, e.addr, version)
	}
	return e.checkMode(hello["mode"])
}

// warnOfEviction says loudly when Redis may throw away messages. A user who may
// not ask for it is not bothered.
func (e *engine) warnOfEviction(ctx context.Context, l *link) {
	reply, err := l.do(ctx, e.b.Info().Section("memory").Build())
	if err != nil {
		return
	}
	info, err := reply.ToString()
	if err != nil {
		return
	}
	limit, policy := infoField(info, "maxmemory"), infoField(info, "maxmemory_policy")
	if limit != "" && limit != "0" && policy != "noeviction" {
		e.log.Warn("Redis may evict messages and subscriptions when its memory is full: set maxmemory-policy to noeviction",
			"redis", l.node, "maxmemory", limit, "maxmemory_policy", policy)
	}
}

func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && k == name {
			return v
		}
	}
	return ""
}
