package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/redisaddr"
	"github.com/beckmq/beck/ondisk"
	"github.com/beckmq/beck/onhttp"
	"github.com/beckmq/beck/onredis"
)

// defaultAt is where a server listens by default.
const defaultAt = "http://127.0.0.1:8080"

// closeGrace is how long a command waits for its bus to close.
const closeGrace = 10 * time.Second

// place is where messages are: a server, a Redis or a directory.
type place struct {
	kind string
	// where is what the engine's Open takes; it may hold a password.
	where string
	// shown is the same for people, without the password: the command line
	// that led here, unless it held one.
	shown string
}

const (
	placeHTTP  = "http"
	placeRedis = "redis"
	placeDisk  = "disk"
)

// parsePlace reads what --at takes. Its errors never repeat the URL, since it
// may hold a password.
func parsePlace(at, redisPassword string) (place, error) {
	scheme, rest, found := strings.Cut(at, ":")
	switch {
	case found && scheme == "disk":
		if rest == "" {
			return place{}, usagef("disk: needs a directory, such as disk:beck-data")
		}
		return place{kind: placeDisk, where: rest, shown: at}, nil
	case found && (scheme == "http" || scheme == "https"):
		u, err := parseURL(at)
		if err != nil {
			return place{}, err
		}
		return place{kind: placeHTTP, where: at, shown: u.Redacted()}, nil
	case found && (redisaddr.IsScheme(scheme) || strings.HasPrefix(scheme, "redis")):
		where := redisaddr.WithPassword(at, redisPassword)
		if _, err := redisaddr.Parse(where); err != nil {
			return place{}, &hinted{err, redisHint}
		}
		return place{kind: placeRedis, where: where, shown: redisaddr.Redacted(at)}, nil
	}
	return place{}, &hinted{usagef("--at takes http://…, https://…, redis://… or disk:DIR"), redisHint}
}

// redisHint says how addresses of Redis look.
const redisHint = "a Redis is redis://user:password@host:6379/0, redis+unix:///path, redis+sentinel://h1,h2,h3/name, redis+cluster://h1,h2 or redis+shards://h1,h2, with rediss for TLS; special characters in a password are written as %XX, or give it in BECK_REDIS_PASSWORD"

func parseURL(at string) (*url.URL, error) {
	u, err := url.Parse(at)
	if err != nil || u.Host == "" {
		return nil, &hinted{
			usagef("the address is not a valid URL"),
			"it looks like http://127.0.0.1:8080",
		}
	}
	return u, nil
}

// open opens the bus at the place that --at or BECK_AT names. A directory is
// made only if create says so: reading from one that isn't there is a mistake.
func (p *program) open(ctx context.Context, create bool) (*beck.Bus, error) {
	return p.openPlace(ctx, p.place, beck.Options{Logger: p.notes()}, create)
}

func (p *program) openPlace(ctx context.Context, at place, options beck.Options, create bool) (*beck.Bus, error) {
	options.MaxBody = int(p.maxBody)
	switch at.kind {
	case placeDisk:
		if _, err := os.Stat(at.where); !create && errors.Is(err, os.ErrNotExist) {
			return nil, &hinted{
				fmt.Errorf("%w: there is no directory %s", beck.ErrOption, at.where),
				"beck pub and beck serve make one",
			}
		}
		return ondisk.Open(at.where, &ondisk.Options{Options: options})
	case placeRedis:
		return onredis.Open(ctx, at.where, &onredis.Options{Options: options, Prefix: p.prefix.text, NoPrefix: p.prefix.none()})
	default:
		return onhttp.Open(at.where, &onhttp.Options{Options: options})
	}
}

// withBus runs do on an open bus, and closes it afterwards.
func (p *program) withBus(ctx context.Context, create bool, do func(*beck.Bus) error) error {
	bus, err := p.open(ctx, create)
	if err != nil {
		return err
	}
	return errors.Join(do(bus), closeBus(ctx, bus))
}

func closeBus(ctx context.Context, bus *beck.Bus) error {
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeGrace)
	defer cancel()
	return bus.Close(closing)
}

// prefix begins the name of every key in Redis. Whether it was given matters,
// since an empty one means none at all.
type prefix struct {
	text  string
	given bool
}

func (p *prefix) none() bool     { return p.given && p.text == "" }
func (p *prefix) String() string { return p.text }
func (p *prefix) Type() string   { return "PREFIX" }

// Set implements pflag.Value.
func (p *prefix) Set(text string) error {
	p.text, p.given = text, true
	return nil
}
