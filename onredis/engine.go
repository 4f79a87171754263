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

	work    *link // everything but what watcher does
	watcher *link // reads and fetches of topics that are being watched

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

// Ping tries both clients.
func (e *engine) Ping(ctx context.Context) error {
	for _, l := range []*link{e.work, e.watcher} {
		if _, err := l.do(ctx, l.client.B().Ping().Build()); err != nil {
			return e.explain(ctx, err, "", reading)
		}
	}
	return nil
}

// Close ends the sweep and closes the connections. Calls fail from now on.
func (e *engine) Close(ctx context.Context) error {
	close(e.stop)
	e.work.closed.Store(true)
	e.watcher.closed.Store(true)
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

func (e *engine) closeClients() {
	e.work.close()
	e.watcher.close()
}

// reader is the client to read a topic with: the watcher if somebody waits for
// changes, since what it reads is what it is told about.
func (e *engine) reader(topic string) *link {
	if e.hub.watched(topic) {
		return e.watcher
	}
	return e.work
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

// invalidated is called by rueidis, on the goroutine that reads the connection,
// with the keys that changed, or with nil when any may have. It never blocks.
func (e *engine) invalidated(changed []rueidis.RedisMessage) {
	select {
	case <-e.stop:
		return // the connection was closed by Close
	default:
	}
	if changed == nil {
		e.configs.forgetAll()
		e.hub.hintAll()
		e.mover.lookAtAll()
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
