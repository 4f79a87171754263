package onredis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/redisaddr"
)

// DefaultPrefix begins the keys of topics.
const DefaultPrefix = "beck:"

// openTimeout bounds how long Open tries to reach Redis.
const openTimeout = 5 * time.Second

// Options are what Open takes beside the address. The zero value works.
type Options struct {
	beck.Options

	// Prefix begins the key of every topic. It must not hold { or }. Defaults
	// to DefaultPrefix.
	Prefix string

	// NoPrefix has a topic's name be its key. Defaults to false.
	NoPrefix bool
}

// Open connects to the Redis at an address such as
//
//	redis://localhost:6379
//	redis://user:password@host:6379/2    with a database; %-encode special characters
//	rediss://host:6380?ca=ca.pem         over TLS, as all of them can be
//	redis+unix:///run/redis.sock         by a unix socket
//	redis+sentinel://h1,h2,h3/mymaster   whichever is primary
//	redis+cluster://h1,h2,h3             a Redis Cluster
//	redis+shards://a:6379,b:6379         several, among which topics are spread
//
// docs/redis.md has all forms and options, and how to keep the password elsewhere.
//
// It returns within five seconds, with ErrOption for an address or options that
// make no sense or a server of another kind than the address says, ErrUnavailable if
// nobody answers there or TLS fails, ErrDenied for a wrong user, password or client
// certificate, and ErrVersion for a server older than 7.0. No error holds a password.
func Open(ctx context.Context, url string, o *Options) (*beck.Bus, error) {
	if o == nil {
		o = &Options{}
	}
	e, err := openAny(ctx, url, o)
	if err != nil {
		return nil, &beck.Error{Op: "open", Err: err}
	}
	bus, err := beck.New(e, &o.Options)
	if err != nil {
		_ = e.Close(ctx)
		return nil, err
	}
	return bus, nil
}

// openAny opens the engine that an address asks for.
func openAny(ctx context.Context, url string, o *Options) (driver.Engine, error) {
	a, err := redisaddr.Parse(url)
	if err != nil {
		return nil, err
	}
	if a.Kind == redisaddr.Shards {
		return openSeveral(ctx, a, o)
	}
	e, err := openEngine(ctx, url, o)
	if err != nil {
		return nil, err
	}
	return e, nil
}

func openEngine(ctx context.Context, url string, o *Options) (*engine, error) {
	a, err := redisaddr.Parse(url)
	if err != nil {
		return nil, err
	}
	names, err := o.keys()
	if err != nil {
		return nil, err
	}
	e, err := startEngine(ctx, a, names, o.logger())
	if err != nil {
		return nil, err
	}
	if err := e.refuseShard(ctx); err != nil {
		return nil, errors.Join(err, e.Close(ctx))
	}
	return e, nil
}

// keys are the names of keys that the options ask for.
func (o *Options) keys() (keys, error) {
	switch {
	case strings.ContainsAny(o.Prefix, "{}"):
		return keys{}, fmt.Errorf("%w: the prefix %q holds a brace, which Redis Cluster gives a meaning", beck.ErrOption, o.Prefix)
	case o.NoPrefix && o.Prefix != "":
		return keys{}, fmt.Errorf("%w: both the prefix %q and NoPrefix are given", beck.ErrOption, o.Prefix)
	case !o.NoPrefix && o.Prefix == "":
		return keys{prefix: DefaultPrefix}, nil
	}
	return keys{prefix: o.Prefix}, nil
}

func (o *Options) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.Default()
	}
	return o.Logger
}

// startEngine opens the engine of one Redis, Sentinel's primary, or cluster.
func startEngine(ctx context.Context, a *redisaddr.Address, names keys, log *slog.Logger) (*engine, error) {
	e, err := newEngine(a, names, log)
	if err != nil {
		return nil, err
	}
	if err := e.connect(ctx); err != nil {
		return nil, err
	}
	for _, l := range e.work.all() {
		e.warnOfEviction(ctx, l)
	}
	e.sweeper.Go(func() { e.hub.sweep(e.stop, e.mover.look) })
	e.sweeper.Go(e.mover.run)
	if a.Kind == redisaddr.Sentinel {
		e.sweeper.Go(func() { (&sentinels{e: e}).run(e.mover.ctx) })
	}
	if e.cluster != nil {
		e.sweeper.Go(func() {
			e.cluster.run(e.mover.ctx, func(nodes map[string]bool) {
				e.work.keep(nodes)
				e.watcher.keep(nodes)
			})
		})
	}
	e.sweeper.Go(func() { e.clean(e.mover.ctx, janitorInterval) })
	return e, nil
}

// connect opens both clients. It returns when ctx ends or openTimeout has
// passed, at the latest; clients that are opened later than that are closed.
func (e *engine) connect(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- e.dial(limited) }()
	select {
	case err := <-done:
		return err
	case <-limited.Done():
	}
	go func() {
		if err := <-done; err == nil {
			e.closeClients()
		}
	}()
	if ctx.Err() != nil {
		return fmt.Errorf("redis %s: %w", e.addr, ctx.Err())
	}
	hint := ""
	if e.addr.TLS != nil {
		hint = hintNoTLS
	}
	return fmt.Errorf("%w: redis %s has not answered for %v%s", driver.ErrUnavailable, e.addr, openTimeout, hint)
}
