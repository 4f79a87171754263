package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/wire"
)

type subFlags struct {
	from   string
	count  int64
	noWait bool
	json   bool
	as     string
	lease  time.Duration

	expires time.Duration
}

func (p *program) subCommand() *cobra.Command {
	f := &subFlags{}
	c := &cobra.Command{
		Use:   "sub TOPIC",
		Short: "Receive the messages of a topic",
		Long: `Prints the messages of a topic, bodies only, one a line; with --json, one object
a line. It goes on until ctrl-C, --count or, with --no-wait, until there are no
more. A lost connection is taken up again where it was.

Without --as it follows: every message from a position on, each once, in order.
Where messages may be missing, because they were removed before they were read,
a line on standard error says so, and with --json an object {"gap":{…}}.

With --as NAME it reads through the durable subscription NAME, which is made if
it isn't there. All who use the same name share its messages. A message is
acknowledged once it is written to standard output; until then it is leased to
this reader, and if the reader dies, another one gets it when the lease ends. So
every message is printed at least once.

A position is "start", "new", the id of a message (reading begins behind it), a
time such as 2026-11-21T08:00:00Z, or an age such as -10m.`,
		Example: `  beck sub orders                          # what comes from now on
  beck sub orders --from start --no-wait   # all there is, then end
  beck sub orders --from -10m --json       # the last ten minutes, then live
  beck sub orders --count 1                # wait for one message
  beck sub orders --as billing --lease 2m  # a worker; run several to share the work`,
		Args: p.arguments(1, 1, "TOPIC"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.check(c); err != nil {
				return err
			}
			return p.sub(c.Context(), args[0], f)
		},
		ValidArgsFunction: p.completeTopic,
	}
	flags := c.Flags()
	flags.StringVar(&f.from, "from", "", "where to begin, a `POSITION`: start, new, an id, a time or an age (default new; start with --no-wait, or for a new subscription)")
	flags.Int64Var(&f.count, "count", 0, "stop after `N` messages (default: don't)")
	flags.BoolVar(&f.noWait, "no-wait", false, "stop where there are no more, instead of waiting")
	flags.BoolVar(&f.json, "json", false, "print an object a line, with id, key, headers, time and body")
	flags.StringVar(&f.as, "as", "", "read through the durable subscription `NAME`, and acknowledge what is printed")
	flags.DurationVar(&f.lease, "lease", 0, "with --as: how long a message may stay with a reader that died, a `DURATION` (default 30s)")
	flags.DurationVar(&f.expires, "expires", 0, "with --as: delete the subscription when nobody has read it for this `DURATION` (default never)")
	return c
}

func (f *subFlags) check(c *cobra.Command) error {
	flags := c.Flags()
	switch {
	case given(flags, "count") && f.count < 1:
		return usagef("--count takes a number from 1 on")
	case given(flags, "as") && f.as == "":
		return usagef("--as takes the name of a subscription")
	case given(flags, "lease") && f.as == "":
		return usagef("--lease goes with --as: only a subscription leases messages")
	case given(flags, "lease") && (f.lease < beck.MinLease || f.lease > beck.MaxLease):
		return usagef("--lease takes a duration from %v to %v", beck.MinLease, beck.MaxLease)
	case given(flags, "expires") && f.as == "":
		return usagef("--expires goes with --as: only a subscription can expire")
	case given(flags, "expires") && (f.expires < beck.MinExpires || f.expires > beck.MaxExpires):
		return usagef("--expires takes a duration from %v to ten years", beck.MinExpires)
	case given(flags, "from") && f.from == "":
		return usagef("--from takes start, new, an id, a time or an age such as -10m")
	}
	return nil
}

func (p *program) sub(ctx context.Context, topic string, f *subFlags) error {
	err := p.withBus(ctx, false, func(bus *beck.Bus) error {
		to := &printer{out: p.out, json: f.json, left: f.count, limited: f.count > 0}
		if f.as != "" {
			return p.consume(ctx, bus, to, topic, f)
		}
		// Following waits for a place that can't be reached. At the start, that
		// is rather a mistake in its address.
		if err := bus.Ping(ctx); err != nil {
			return err
		}
		if p.place.kind == placeDisk && !f.noWait && f.count == 0 {
			p.note("only one process can open %s, so nothing new can come while this waits; to have both, run: %s serve", p.place.shown, p.called)
		}
		f := &follower{bus: bus, to: to, topic: topic, note: p.note, from: beck.Position(f.from), noWait: f.noWait}
		if f.noWait {
			return f.readAll(ctx)
		}
		return f.follow(ctx)
	})
	// Without an end of its own, ctrl-C is how the command is meant to end.
	endless := f.count == 0 && !f.noWait
	if endless && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// printer prints messages to standard output, until there were enough.
type printer struct {
	out     *output
	json    bool
	limited bool
	left    int64 // how many more, if limited
}

// enough reports whether all that were wanted are printed.
func (t *printer) enough() bool { return t.limited && t.left <= 0 }

// want is how many of n messages are wanted.
func (t *printer) want(n int) int {
	if t.limited {
		return int(min(int64(n), t.left))
	}
	return n
}

// print prints messages, and returns once all are written.
func (t *printer) print(ctx context.Context, gap *beck.Gap, messages []*beck.Message) error {
	size := 0
	for _, m := range messages {
		size += len(m.Body) + 1
		if t.json {
			size += 200
		}
	}
	text := make([]byte, 0, size)
	if gap != nil && t.json {
		text = appendGap(text, gap)
	}
	for _, m := range messages {
		if t.json {
			text = wire.AppendMessage(text, m)
		} else {
			text = append(text, m.Body...)
		}
		text = append(text, '\n')
	}
	if err := t.out.write(ctx, text); err != nil {
		return err
	}
	t.left -= int64(len(messages))
	return nil
}

// follower prints a topic without a subscription.
type follower struct {
	bus    *beck.Bus
	to     *printer
	topic  string
	note   func(format string, args ...any)
	from   beck.Position
	noWait bool
}

// follow prints what is stored and then what comes.
func (f *follower) follow(ctx context.Context) error {
	for page, err := range f.bus.FollowPages(ctx, f.topic, cmp.Or(f.from, beck.FromNew)) {
		if err != nil {
			return err
		}
		if err := f.print(ctx, page); err != nil {
			return err
		}
		if f.to.enough() {
			return nil
		}
	}
	return context.Cause(ctx)
}

// readAll prints what is stored.
func (f *follower) readAll(ctx context.Context) error {
	era := ""
	for next := cmp.Or(f.from, beck.FromStart); ; {
		page, err := f.bus.Read(ctx, f.topic, next, beck.MaxFetch)
		if err != nil {
			if next == f.from || !errors.Is(err, beck.ErrUnavailable) {
				return err
			}
			return &hinted{err, fmt.Sprintf("go on with --from %s", next)}
		}
		if page.Gap == nil && era != "" && page.Era != "" && era != page.Era {
			page.Gap = &beck.Gap{Topic: f.topic, After: next, Resume: next}
		}
		era = cmp.Or(page.Era, era)
		if err := f.print(ctx, page); err != nil {
			return err
		}
		if !page.More || f.to.enough() {
			return nil
		}
		next = page.Next
	}
}

func (f *follower) print(ctx context.Context, page *beck.Page) error {
	if page.Gap != nil {
		f.note("%s", oneLine(page.Gap))
	}
	return f.to.print(ctx, page.Gap, page.Messages[:f.to.want(len(page.Messages))])
}
