package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/cron"
	"github.com/beckmq/beck/internal/server"
)

const (
	defaultListen = "127.0.0.1:8080"
	defaultData   = "beck-data"
)

type serveFlags struct {
	listen       string
	data         string
	redis        string
	insecure     bool
	hosts        []string
	writeTimeout time.Duration
	drain        time.Duration
	noCron       bool
	logLevel     string
	logJSON      bool
	durable      durability
}

func (p *program) serveCommand() *cobra.Command {
	f := &serveFlags{}
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run a server: the HTTP API over a directory or a Redis",
		Long: `Runs a server. It keeps messages in a directory of this machine, or with --redis
in Redis, and lets anyone who reaches its address publish and receive: by beck,
by the Go library, or by plain HTTP. Several servers may share one Redis.

There is no authentication yet, so it listens on loopback only; any other
address needs --insecure.

Ctrl-C or SIGTERM ends it: it takes no new requests, gives those that run --drain
to finish, and closes its data. A second ctrl-C ends it at once. Nothing that got
an id is lost either way.

It publishes the messages of schedules ("beck cron") when they are due, unless
--no-cron says otherwise.

The address and two commands to try go to standard output; its log goes to
standard error.`,
		Example: `  beck serve
  beck serve --data /var/lib/beck --listen 127.0.0.1:9000
  beck serve --redis redis://localhost:6379/0
  BECK_REDIS_PASSWORD=… beck serve --redis rediss://beck@redis.example.com:6380
  beck serve --redis 'redis+sentinel://beck@h1,h2,h3/mymaster?password_file=/run/secrets/redis'
  curl -d hello http://127.0.0.1:8080/v1/topics/greetings/messages`,
		Args: p.arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			flags := c.Flags()
			if f.redis == "" && !given(flags, "data") {
				f.redis = p.Getenv("BECK_REDIS")
			}
			switch {
			case given(flags, "at"):
				return &hinted{usagef("serve takes no --at"), "give --data DIR or --redis URL"}
			case given(flags, "data") && given(flags, "redis"):
				return usagef("--data and --redis are two places to keep messages; give one of them")
			case p.prefix.given && f.redis == "":
				return usagef("--prefix is about keys in Redis; it goes with --redis")
			case f.data == "":
				return usagef("--data takes a directory")
			case f.writeTimeout <= 0:
				return usagef("--write-timeout takes a duration such as 1m")
			case f.drain < 0:
				return usagef("--drain takes a duration such as 10s")
			}
			return p.serve(c.Context(), f)
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.listen, "listen", defaultListen, "`ADDRESS` to listen on; port 0 takes a free one")
	flags.StringVar(&f.data, "data", defaultData, "`DIR` to keep messages in; made if it isn't there")
	flags.StringVar(&f.redis, "redis", "", "keep messages in the Redis at this `URL` instead, in any form that --at takes; also BECK_REDIS")
	flags.BoolVar(&f.insecure, "insecure", false, "allow addresses other than loopback: anyone who reaches them may do anything; give --host as well, against web pages")
	flags.StringSliceVar(&f.hosts, "host", nil, "`NAME` by which a proxy in front of this server is called; may be repeated")
	flags.DurationVar(&f.writeTimeout, "write-timeout", time.Minute, "cut off a client that doesn't take one write, up to about a page, within this `DURATION`")
	flags.DurationVar(&f.drain, "drain", 10*time.Second, "`DURATION` that running requests may take to finish at the end")
	flags.Var(&f.durable, "durability", "what must hold of messages before their ids are told, where publishers don't say, such as `LEVEL` replicas=1,synced,within=2s; also the variable BECK_DURABILITY (default: written)")
	flags.BoolVar(&f.noCron, "no-cron", false, "leave the messages of schedules to others")
	flags.StringVar(&f.logLevel, "log-level", "info", "least `LEVEL` to log: debug, info, warn or error")
	flags.BoolVar(&f.logJSON, "log-json", false, "log JSON lines")
	return c
}

// logger logs for operators, unlike notes.
func (p *program) logger(f *serveFlags) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return nil, usagef("--log-level takes debug, info, warn or error")
	}
	o := &slog.HandlerOptions{Level: level}
	if f.logJSON {
		return slog.New(slog.NewJSONHandler(p.Err, o)), nil
	}
	return slog.New(slog.NewTextHandler(p.Err, o)), nil
}

func (p *program) serve(ctx context.Context, f *serveFlags) error {
	log, err := p.logger(f)
	if err != nil {
		return err
	}
	durable, err := p.serverDurability(f)
	if err != nil {
		return err
	}
	keep := place{kind: placeDisk, where: f.data, shown: f.data}
	if f.redis != "" {
		if keep, err = parsePlace(f.redis, p.Getenv("BECK_REDIS_PASSWORD")); err != nil {
			return err
		}
		if keep.kind != placeRedis {
			return &hinted{usagef("--redis takes the address of a Redis"), redisHint}
		}
	}
	p.place = keep

	// First the address: it is the likeliest to fail, and fails fastest.
	listener, err := p.listen(ctx, f)
	if err != nil {
		return err
	}
	defer listener.Close()
	bus, err := p.openPlace(ctx, keep, beck.Options{Logger: log, Durability: durable}, true)
	if err != nil {
		return err
	}
	err = p.runServer(ctx, bus, listener, f, log)
	return firstError(err, closeBus(ctx, bus))
}

func (p *program) listen(ctx context.Context, f *serveFlags) (net.Listener, error) {
	listener, err := server.Listen(ctx, f.listen, f.insecure)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, &hinted{
			fmt.Errorf("can't listen on %s: the address is in use", f.listen),
			"perhaps a server runs there already; another address: " + p.called + " serve --listen 127.0.0.1:8081",
		}
	}
	return listener, err
}

// runServer serves until ctx ends, and then lets running requests finish.
func (p *program) runServer(ctx context.Context, bus *beck.Bus, listener net.Listener, f *serveFlags, log *slog.Logger) error {
	s, err := server.New(bus, &server.Options{Logger: log, Insecure: f.insecure, Hosts: f.hosts, WriteTimeout: f.writeTimeout})
	if err != nil {
		return err
	}
	if !f.noCron {
		defer runCron(ctx, bus, log)()
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	// A server goes on although nobody reads what it says about itself.
	if err := p.out.write(ctx, []byte(p.banner(bus.String(), listener.Addr()))); err != nil && !errors.Is(err, errOutputClosed) {
		log.Warn("the address could not be printed", "error", err)
	}
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	log.Info("ending", "drain", f.drain, endedBy(ctx))
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.drain)
	defer cancel()
	if err := s.Shutdown(ending); err != nil {
		// Those clients know that they have no answer. That is not a failure.
		log.Warn("requests were cut off", "error", err)
	}
	return <-served
}

// runCron publishes the messages of schedules until stop is called, or ctx ends.
func runCron(ctx context.Context, bus *beck.Bus, log *slog.Logger) (stop func()) {
	running, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for pause := cronPause; ; pause = min(2*pause, lastCronPause) {
			err := cron.Run(running, bus, &cron.Options{Logger: log})
			if running.Err() != nil || errors.Is(err, beck.ErrClosed) {
				return
			}
			// A server is of use without schedules, too.
			log.Warn("schedules can't be run; trying again", "error", err, "in", pause)
			select {
			case <-time.After(pause):
			case <-running.Done():
				return
			}
		}
	}()
	return func() { cancel(); <-done }
}

// A server whose schedules can't be run tries again after a while that grows.
const (
	cronPause     = time.Second
	lastCronPause = time.Minute
)

// endedBy says in the log why a server ends.
func endedBy(ctx context.Context) slog.Attr {
	if cut, ok := errors.AsType[*interrupted](context.Cause(ctx)); ok {
		return slog.String("signal", cut.signal.String())
	}
	return slog.String("cause", context.Cause(ctx).Error())
}

// banner says what runs where, and how to try it.
func (p *program) banner(engine string, listener net.Addr) string {
	address := listener.String()
	if host, port, err := net.SplitHostPort(address); err == nil {
		if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
			address = net.JoinHostPort("127.0.0.1", port)
		}
	}
	at := ""
	if p.Getenv("BECK_AT") != "" || address != defaultListen {
		at = " --at http://" + address
	}
	var b strings.Builder
	fmt.Fprintf(&b, "beck serves %s on http://%s\n\n", engine, address)
	fmt.Fprintf(&b, "Publish:    %s pub greetings \"hello\"%s\n", p.called, at)
	fmt.Fprintf(&b, "Subscribe:  %s sub greetings --from start%s\n\n", p.called, at)
	return b.String()
}
