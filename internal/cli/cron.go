package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // a machine need not know the time zones

	"github.com/spf13/cobra"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/cron"
	"github.com/beckmq/beck/internal/wire"
)

func (p *program) cronCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "cron",
		Short: "Recurring messages: add, list, remove, run",
		Long: `A schedule says when, to which topic, and what is published. Servers ("beck serve")
and "beck cron run" publish what is due: each tick once, however many of them run.`,
		Example: `  beck cron add nightly '30 2 * * *' reports all --zone Europe/Berlin
  beck cron list
  beck cron remove nightly`,
		Args: p.noSuchSubcommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(p.cronAddCommand(), p.cronListCommand(), p.cronRemoveCommand(), p.cronRunCommand())
	return c
}

type cronFlags struct {
	zone, missed string
	key          string
	headers      []string
}

func (p *program) cronAddCommand() *cobra.Command {
	f := &cronFlags{}
	c := &cobra.Command{
		Use:   "add NAME SPEC TOPIC [BODY]",
		Short: "Have a message published again and again",
		Long: `Stores a schedule, in place of the one with its name if there is one, and prints
when the next message is due. One with the same SPEC and zone goes on from its
last tick; to begin anew, remove it first. SPEC is one of

  */5 * * * *      minute, hour, day of the month, month, day of the week
  */10 * * * * *   the same with seconds in front
  @hourly @daily @weekly @monthly @yearly
  @every 90s

Each message carries the headers beck-schedule (NAME) and beck-tick (the time it
was due).

Ticks that nobody was there to publish for more than 30 seconds are missed: with
--missed once the newest of them is published, with skip none, with all all, up to
the newest 1,000.`,
		Example: `  beck cron add poll '*/5 * * * *' jobs '{"do":"poll"}'
  beck cron add nightly '30 2 * * *' reports all --zone Europe/Berlin --missed all
  beck cron add beat '@every 10s' heartbeats tick --missed skip`,
		Args: func(c *cobra.Command, args []string) error {
			p.verb = verbOf(c)
			names := []string{"NAME", "SPEC", "TOPIC"}
			switch {
			case len(args) < len(names):
				return usagef("cron add needs a %s", names[len(args)])
			case len(args) > 4:
				return &hinted{usagef("cron add takes NAME, SPEC, TOPIC and BODY, but got %.40q as well", args[4]), "quote the SPEC and the BODY"}
			}
			return nil
		},
		RunE:              func(c *cobra.Command, args []string) error { return p.cronAdd(c.Context(), args, f) },
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := c.Flags()
	flags.StringVar(&f.zone, "zone", "", "time `ZONE` of the spec, such as Europe/Berlin (default UTC)")
	flags.StringVar(&f.missed, "missed", cron.Once, "what becomes of missed ticks: once, skip or all")
	flags.StringVar(&f.key, "key", "", "`KEY` of the messages")
	flags.StringArrayVar(&f.headers, "header", nil, "a header, as `NAME=VALUE`; may be repeated")
	return c
}

func (p *program) cronAdd(ctx context.Context, args []string, f *cronFlags) error {
	headers, err := parseHeaders(f.headers)
	if err != nil {
		return err
	}
	s := beck.Schedule{
		Name: args[0], Spec: args[1], Topic: args[2], Zone: f.zone, Missed: f.missed,
		Message: beck.Message{Key: f.key, Headers: headers},
	}
	if s.Message.Body, err = p.bodyOf(ctx, args[3:]); err != nil {
		return err
	}
	return p.withBus(ctx, true, func(bus *beck.Bus) error {
		if err := cron.Add(ctx, bus, s); err != nil {
			return err
		}
		// One that was there may go on from its last tick.
		list, err := bus.Schedules(ctx)
		if err != nil {
			return err
		}
		for _, there := range list {
			if there.Name == s.Name {
				s.Last = there.Last
			}
		}
		return p.out.write(ctx, []byte(nextTick(&s)+"\n"))
	})
}

// nextTick is when a schedule is due next, in its zone.
func nextTick(s *beck.Schedule) string {
	next := cron.Next(s, time.Now())
	if next.IsZero() {
		return "-"
	}
	return next.Format(time.RFC3339)
}

func (p *program) cronListCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:   "list",
		Short: "List the schedules",
		Args:  p.arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			ctx := c.Context()
			return p.withBus(ctx, false, func(bus *beck.Bus) error {
				list, err := bus.Schedules(ctx)
				if err != nil {
					return err
				}
				if asJSON {
					return p.printJSON(ctx, wire.SchedulesOf(list))
				}
				return p.printText(ctx, func(text *strings.Builder) { writeSchedules(text, list) })
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return c
}

func writeSchedules(text *strings.Builder, list []*beck.Schedule) {
	t := table(text)
	fmt.Fprintln(t, "NAME\tSPEC\tZONE\tTOPIC\tLAST\tNEXT\tMISSED\tBODY")
	for _, s := range list {
		zone, missed := s.Zone, s.Missed
		if zone == "" {
			zone = "UTC"
		}
		if missed == "" {
			missed = cron.Once
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.Name, brief([]byte(s.Spec), 60), brief([]byte(zone), 60), s.Topic,
			moment(s.Last), nextTick(s), brief([]byte(missed), 10), brief(s.Message.Body, 40))
	}
	t.Flush()
}

func (p *program) cronRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a schedule",
		Args:  p.arguments(1, 1, "NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			return p.withBus(ctx, false, func(bus *beck.Bus) error {
				if err := bus.DeleteSchedule(ctx, args[0]); err != nil {
					return err
				}
				return p.out.write(ctx, []byte("removed schedule "+args[0]+"\n"))
			})
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
}

func (p *program) cronRunCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Publish what is due, until ctrl-C",
		Long: `Publishes the messages of all schedules when they are due, until ctrl-C. A server
does so by itself; this is for a Redis without one. Any number may run, and each
tick is published once: have more than one, so that none is late.`,
		Example: `  beck cron run --at redis://localhost:6379`,
		Args:    p.arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			ctx := c.Context()
			err := p.withBus(ctx, false, func(bus *beck.Bus) error {
				return cron.Run(ctx, bus, &cron.Options{Logger: p.notes()})
			})
			if ctx.Err() != nil && errors.Is(err, context.Canceled) {
				return nil // that is how it is meant to end
			}
			return err
		},
	}
}
