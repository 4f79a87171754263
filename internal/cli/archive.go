package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/archive"
)

type archiveFlags struct {
	as, dir  string
	from     string
	gzip     bool
	maxSize  bound
	maxAge   time.Duration
	untilEnd bool
}

func (p *program) archiveCommand() *cobra.Command {
	f := &archiveFlags{}
	c := &cobra.Command{
		Use:   "archive TOPIC --as NAME --dir DIR",
		Short: "Write the messages of a topic to files",
		Long: `Writes the messages of a topic to files in DIR, one JSON object a line as "beck sub
--json" prints it, through the durable subscription NAME. Messages are acknowledged
only once they are on disk, synced, so none is missing however this ends; after a
crash, some may stand there twice. No message is split over two files.

A file is complete at --max-size or --max-age, whichever comes first.`,
		Example: `  beck archive orders --as archive --dir /var/archive/orders --gzip
  beck archive orders --as archive --dir orders --until-end   # what is there, then end`,
		Args: p.arguments(1, 1, "TOPIC"),
		RunE: func(c *cobra.Command, args []string) error {
			flags := c.Flags()
			switch {
			case f.as == "":
				return usagef("archive needs --as NAME, the subscription it reads through")
			case f.dir == "":
				return usagef("archive needs --dir DIR, where the files are")
			case given(flags, "max-size") && f.maxSize < 1:
				return usagef("--max-size takes a size such as 64MiB")
			case given(flags, "max-age") && f.maxAge <= 0:
				return usagef("--max-age takes a duration such as 1h")
			case given(flags, "from") && f.from == "":
				return usagef("--from takes start, new, an id, a time or an age such as -10m")
			}
			return p.archive(c.Context(), args[0], f)
		},
		ValidArgsFunction: p.completeTopic,
	}
	f.maxSize, f.maxAge = archive.DefaultMaxSize, archive.DefaultMaxAge
	flags := c.Flags()
	flags.StringVar(&f.as, "as", "", "read through the durable subscription `NAME`")
	flags.StringVar(&f.dir, "dir", "", "`DIR` to write to; made if it isn't there")
	flags.StringVar(&f.from, "from", "", "where a new subscription begins, a `POSITION` (default start)")
	flags.BoolVar(&f.gzip, "gzip", false, "compress the files")
	flags.Var(&f.maxSize, "max-size", "size at which a file is complete")
	flags.DurationVar(&f.maxAge, "max-age", f.maxAge, "time after which a file is complete, a `DURATION`")
	flags.BoolVar(&f.untilEnd, "until-end", false, "stop where there are no more, instead of waiting")
	return c
}

func (p *program) archive(ctx context.Context, topic string, f *archiveFlags) error {
	err := p.withBus(ctx, false, func(bus *beck.Bus) error {
		return archive.Run(ctx, bus, topic, f.as, f.dir, &archive.Options{
			MaxSize: int64(f.maxSize), MaxAge: f.maxAge, Gzip: f.gzip, From: beck.Position(f.from),
			UntilEnd: f.untilEnd, Logger: p.notes(),
		})
	})
	// Without an end of its own, ctrl-C is how the command is meant to end.
	if !f.untilEnd && ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return nil
	}
	if err == nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
