package onredis

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/redisaddr"
)

var _ driver.Engine = (*engine)(nil)

// engine keeps topics and subscriptions in one Redis.
type engine struct {
	addr  *redisaddr.Address
	names keys
	log   *slog.Logger

	cluster *cluster // nil if one Redis, or one primary, has everything
	work    *pool    // everything but what watcher does
	watcher *pool    // reads and fetches of topics that are being watched
	b       rueidis.Builder

	hub     *hub
	mover   *mover
	configs configs
	stop    chan struct{} // closed by Close
	sweeper sync.WaitGroup
	scripts scripts

	places places
	live   *live

	mu            sync.Mutex
	subscriptions map[subscriptionID]*subscription
}

func newEngine(a *redisaddr.Address, names keys, log *slog.Logger) (*engine, error) {
	all, err := loadScripts()
	e := &engine{
		addr: a, names: names, log: log, hub: newHub(), stop: make(chan struct{}),
		configs: configs{bounded: map[string]bool{}},
		scripts: all, subscriptions: map[subscriptionID]*subscription{},
	}
	e.mover = newMover(e)
	e.live = newLive(e)
	return e, err
}

func (e *engine) String() string { return "redis " + e.addr.String() }

// Ping tries both clients of every node.
func (e *engine) Ping(ctx context.Context) error {
	for _, p := range []*pool{e.work, e.watcher} {
		links, err := p.primaries(ctx)
		if err != nil {
			return e.explain(ctx, err, "", reading)
		}
		for _, l := range links {
			if _, err := l.do(ctx, e.b.Ping().Build()); err != nil {
				return e.explain(ctx, err, "", reading)
			}
		}
	}
	return nil
}

// Close ends the sweep and closes the connections. Calls fail from now on.
func (e *engine) Close(ctx context.Context) error {
	close(e.stop)
	e.work.stopCalls()
	e.watcher.stopCalls()
	e.mover.stop()
	e.sweeper.Wait()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		e.closeClients()
		e.live.close()
	}()
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("redis %s: closing the connections: %w", e.addr, ctx.Err())
	}
}

// closing reports whether Close was called. Connections are closed for other causes,
// too: their node has left the cluster, or is the primary no more.
func (e *engine) closing() bool {
	select {
	case <-e.stop:
		return true
	default:
		return false
	}
}

func (e *engine) closeClients() {
	for _, p := range []*pool{e.work, e.watcher} {
		if p != nil {
			p.close()
		}
	}
}

// reader is the client to read a topic with: the watcher if somebody waits for
// changes, since what it reads is what it is told about.
func (e *engine) reader(topic string) route {
	p := e.work
	if e.hub.watched(topic) {
		p = e.watcher
	}
	return p.at(e.names.stream(topic))
}

// changedIf is for when anything of the topics concerned may have changed unseen.
func (e *engine) changedIf(concerned func(topic string) bool) {
	e.configs.forgetAll()
	e.hub.hintIf(concerned)
	e.mover.lookAtAll()
}

// Watch implements driver.Log.
func (e *engine) Watch(topic string) (<-chan struct{}, func()) {
	hints, stop := e.hub.watch(topic)
	e.mover.look(topic)
	return hints, func() {
		stop()
		e.mover.forget(topic)
	}
}

// invalidated is called by rueidis, on the goroutine that reads the connection to a
// node, with the keys that changed, or with nil when any may have. It never blocks.
func (e *engine) invalidated(node string, changed []rueidis.RedisMessage) {
	if e.closing() {
		return // the connection was closed by Close
	}
	if changed == nil {
		if e.cluster == nil {
			e.changedIf(func(string) bool { return true })
			return
		}
		e.cluster.trouble(node)
		e.changedIf(func(topic string) bool { return e.cluster.owner(slotOf(e.names.stream(topic))) == node })
		return
	}
	for i := range changed {
		key, err := changed[i].ToString()
		if err != nil {
			continue
		}
		topic, part, ok := e.names.topicOf(key)
		switch {
		case !ok || part == seenPart:
		case part == configPart:
			e.configs.forget(topic)
		case part == duePart:
			e.mover.look(topic)
		default:
			e.hub.hint(topic, part == subsPart)
		}
	}
}
