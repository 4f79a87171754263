package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/beckmq/beck"
)

func (p *program) deadCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "dead",
		Short: "List, show, requeue or drop dead letters",
		Long: `Dead letters are messages that a subscription has given up: their attempts were
used up, or their handler said so. They are kept until they are requeued or dropped.

They are named by their ids, or chosen by --reason, --key, --since and --before, of
which all that are given must hold. The subscription may be left out for a queue,
where no ids follow.`,
		Example: `  beck dead list orders billing
  beck dead show orders billing 1732176000000-0042
  beck dead requeue orders billing --reason timeout --since -1h
  beck dead drop emails --all`,
		Args: p.noSuchSubcommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(p.deadListCommand(), p.deadShowCommand(), p.deadRequeueCommand(), p.deadDropCommand())
	return c
}

// noSuchSubcommand checks what follows the name of a group of commands.
func (p *program) noSuchSubcommand(c *cobra.Command, args []string) error {
	p.verb = verbOf(c)
	if len(args) == 0 {
		return nil
	}
	err := usagef("there is no command %q", p.verb+" "+fmt.Sprintf("%.40s", args[0]))
	if like := c.SuggestionsFor(args[0]); len(like) > 0 {
		return &hinted{err, "did you mean: " + p.called + " " + p.verb + " " + like[0]}
	}
	return err
}

func (p *program) deadListCommand() *cobra.Command {
	f, asJSON, count := &deadFilter{}, false, int64(0)
	c := &cobra.Command{
		Use:   "list TOPIC SUBSCRIPTION [ID...]",
		Short: "List dead letters: id, when, attempts, reason, and the body's beginning",
		Example: `  beck dead list orders billing
  beck dead list orders billing --reason timeout --since -24h --json`,
		Args: p.arguments(1, manyIDs, "TOPIC"),
		RunE: func(c *cobra.Command, args []string) error {
			f.ids = idsOf(args)
			if err := f.check(c.Flags(), false); err != nil {
				return err
			}
			if given(c.Flags(), "count") && count < 1 {
				return usagef("--count takes a number from 1 on")
			}
			ctx := c.Context()
			return p.withBus(ctx, false, func(bus *beck.Bus) error {
				to := &entryPrinter{p: p, json: asJSON, columns: peekColumns[beck.StateDead]}
				left := count
				return f.scan(ctx, bus, args[0], subscriptionOf(args), func(entries []*beck.Entry) (bool, error) {
					if count > 0 {
						entries = entries[:min(int64(len(entries)), left)]
						left -= int64(len(entries))
					}
					return count == 0 || left > 0, to.print(ctx, entries)
				})
			})
		},
		ValidArgsFunction: p.completeTopic,
	}
	f.addTo(c, false)
	c.Flags().Int64Var(&count, "count", 0, "list no more than `N` (default: all)")
	c.Flags().BoolVar(&asJSON, "json", false, "print an object a line")
	return c
}

func (p *program) deadShowCommand() *cobra.Command {
	f, asJSON := &deadFilter{}, false
	c := &cobra.Command{
		Use:     "show TOPIC SUBSCRIPTION ID...",
		Short:   "Show dead letters whole",
		Example: `  beck dead show orders billing 1732176000000-0042`,
		Args:    p.arguments(1, manyIDs, "TOPIC"),
		RunE: func(c *cobra.Command, args []string) error {
			f.ids = idsOf(args)
			if err := f.check(c.Flags(), true); err != nil {
				return err
			}
			ctx := c.Context()
			return p.withBus(ctx, false, func(bus *beck.Bus) error {
				to, first := &entryPrinter{p: p, json: true}, true
				return f.scan(ctx, bus, args[0], subscriptionOf(args), func(entries []*beck.Entry) (bool, error) {
					if asJSON {
						return true, to.print(ctx, entries)
					}
					return true, p.printText(ctx, func(text *strings.Builder) {
						for _, e := range entries {
							if !first {
								text.WriteByte('\n')
							}
							first = false
							writeDead(text, e, subscriptionOf(args))
						}
					})
				})
			})
		},
		ValidArgsFunction: p.completeTopic,
	}
	f.addTo(c, true)
	c.Flags().BoolVar(&asJSON, "json", false, "print an object a line")
	return c
}

// writeDead writes a dead letter with all that is known of it.
func writeDead(text *strings.Builder, e *beck.Entry, subscription string) {
	m := e.Message
	t := table(text)
	fmt.Fprintf(t, "id\t%s\n", m.ID)
	fmt.Fprintf(t, "topic\t%s\n", m.Topic)
	fmt.Fprintf(t, "subscription\t%s\n", subscription)
	fmt.Fprintf(t, "published\t%s\n", moment(m.Time))
	fmt.Fprintf(t, "died\t%s\n", moment(e.Since))
	fmt.Fprintf(t, "attempts\t%d\n", m.Attempt)
	fmt.Fprintf(t, "consumer\t%s\n", dashed(e.Consumer))
	if m.Key != "" {
		fmt.Fprintf(t, "key\t%s\n", brief([]byte(m.Key), beck.MaxKey))
	}
	for _, name := range slices.Sorted(maps.Keys(m.Headers)) {
		fmt.Fprintf(t, "header\t%s=%s\n", name, m.Headers[name])
	}
	fmt.Fprintf(t, "bytes\t%d\n", len(m.Body))
	t.Flush()
	// The reason may have lines of its own, and the body is shown as it is.
	fmt.Fprintf(text, "reason        %s\n\n%s\n", strings.ReplaceAll(dashed(e.Reason), "\n", "\n              "), m.Body)
}

func (p *program) deadRequeueCommand() *cobra.Command {
	return p.deadDoCommand(&cobra.Command{
		Use:   "requeue TOPIC SUBSCRIPTION [ID...]",
		Short: "Have dead letters delivered again, to their subscription alone",
		Long: `Gives dead letters back to their subscription, and to it alone: they are delivered
again at once, and their attempts count anew.`,
		Example: `  beck dead requeue orders billing 1732176000000-0042
  beck dead requeue orders billing --reason timeout
  beck dead requeue emails --all`,
	}, "requeued", (*beck.Bus).Requeue)
}

func (p *program) deadDropCommand() *cobra.Command {
	return p.deadDoCommand(&cobra.Command{
		Use:   "drop TOPIC SUBSCRIPTION [ID...]",
		Short: "Remove dead letters",
		Long:  `Removes dead letters for good.`,
		Example: `  beck dead drop orders billing 1732176000000-0042
  beck dead drop orders billing --before -720h`,
	}, "dropped", (*beck.Bus).Drop)
}

// deadDo is what is done to dead letters.
type deadDo func(*beck.Bus, context.Context, string, string, ...string) (int, error)

// deadDoCommand is a command that does something to dead letters.
func (p *program) deadDoCommand(c *cobra.Command, done string, do deadDo) *cobra.Command {
	f, asJSON := &deadFilter{}, false
	c.Args = p.arguments(1, manyIDs, "TOPIC")
	c.RunE = func(c *cobra.Command, args []string) error {
		f.ids = idsOf(args)
		if err := f.check(c.Flags(), true); err != nil {
			return err
		}
		ctx, topic, subscription := c.Context(), args[0], subscriptionOf(args)
		return p.withBus(ctx, false, func(bus *beck.Bus) error {
			n, err := f.do(ctx, bus, topic, subscription, do)
			if err != nil && n == 0 {
				return err
			}
			told := fmt.Sprintf("%s %s of %s as %s", done, counted(int64(n), "dead letter"), topic, subscription)
			if asJSON {
				return firstError(p.printJSON(ctx, map[string]any{"topic": topic, "subscription": subscription, done: n}), err)
			}
			return firstError(p.out.write(ctx, []byte(told+"\n")), err)
		})
	}
	c.ValidArgsFunction = p.completeTopic
	f.addTo(c, true)
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return c
}
