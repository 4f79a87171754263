package onredis

import (
	"context"
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
//	rediss://host:6380                   over TLS
//
// It returns within five seconds, with ErrOption for an address or options that
// make no sense, ErrUnavailable if nobody answers there, ErrDenied for a wrong
// user or password, and ErrVersion for a server older than 7.0. No error holds
// the password.
func Open(ctx context.Context, url string, o *Options) (*beck.Bus, error) {
	if o == nil {
		o = &Options{}
	}
	e, err := openEngine(ctx, url, o)
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

func openEngine(ctx context.Context, url string, o *Options) (*engine, error) {
	a, err := redisaddr.Parse(url)
	if err != nil {
		return nil, err
	}
	if a.Kind != redisaddr.Single {
		return nil, fmt.Errorf("%w: redis+%v:// is not there yet", beck.ErrOption, a.Kind)
	}
	names := keys{prefix: o.Prefix}
	switch {
	case strings.ContainsAny(o.Prefix, "{}"):
		return nil, fmt.Errorf("%w: the prefix %q holds a brace, which Redis Cluster gives a meaning", beck.ErrOption, o.Prefix)
	case o.NoPrefix && o.Prefix != "":
		return nil, fmt.Errorf("%w: both the prefix %q and NoPrefix are given", beck.ErrOption, o.Prefix)
	case !o.NoPrefix && o.Prefix == "":
		names.prefix = DefaultPrefix
	}
	log := o.Logger
	if log == nil {
		log = slog.Default()
	}
	e, err := newEngine(a, names, log)
	if err != nil {
		return nil, err
	}
	if err := e.connect(ctx); err != nil {
		return nil, err
	}
	e.warnOfEviction(ctx)
	e.sweeper.Go(func() { e.hub.sweep(e.stop, e.mover.look) })
	e.sweeper.Go(e.mover.run)
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
	return fmt.Errorf("%w: redis %s has not answered for %v", driver.ErrUnavailable, e.addr, openTimeout)
}

func (e *engine) dial(ctx context.Context) (err error) {
	if e.work, err = openLink(e.addr, forWork()); err != nil {
		return e.explain(ctx, err, "", reading)
	}
	if err = e.checkVersion(ctx); err == nil {
		if e.watcher, err = openLink(e.addr, forWatching(e.invalidated)); err != nil {
			err = e.explain(ctx, err, "", reading)
		}
	}
	if err != nil {
		e.work.client.Close()
	}
	return err
}

// checkVersion asks by HELLO, which every user may call, unlike INFO.
func (e *engine) checkVersion(ctx context.Context) error {
	reply, err := e.work.do(ctx, e.work.client.B().Arbitrary("HELLO").Build())
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
	return nil
}

// warnOfEviction says loudly when Redis may throw away messages. A user who may
// not ask for it is not bothered.
func (e *engine) warnOfEviction(ctx context.Context) {
	reply, err := e.work.do(ctx, e.work.client.B().Info().Section("memory").Build())
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
			"redis", e.addr.String(), "maxmemory", limit, "maxmemory_policy", policy)
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
