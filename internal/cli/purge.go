package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/beckmq/beck"
)

func (p *program) purgeCommand() *cobra.Command {
	yes, asJSON := false, false
	c := &cobra.Command{
		Use:   "purge TOPIC",
		Short: "Remove all messages of a topic or queue, needed or not",
		Long: `Removes all messages of a topic or queue, stored and delayed, whether a subscription
needs them or not. Subscriptions stay, and so do their dead letters.

It asks first. Where nobody can answer, it needs --yes.`,
		Example: `  beck purge orders
  beck purge emails --yes`,
		Args: p.arguments(1, 1, "TOPIC"),
		RunE: func(c *cobra.Command, args []string) error {
			if !yes && !isTerminal(p.In) {
				return &hinted{usagef("nobody is there to confirm that"), "add --yes to purge without being asked"}
			}
			ctx := c.Context()
			return p.withBus(ctx, false, func(bus *beck.Bus) error { return p.purge(ctx, bus, args[0], yes, asJSON) })
		},
		ValidArgsFunction: p.completeTopic,
	}
	c.Flags().BoolVar(&yes, "yes", false, "don't ask")
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return c
}

func (p *program) purge(ctx context.Context, bus *beck.Bus, topic string, yes, asJSON bool) error {
	if !yes {
		info, err := bus.Topic(ctx, topic)
		if err != nil {
			return err
		}
		if yes, err := p.confirm(ctx, fmt.Sprintf("Remove %s of %s, and %s? Subscriptions lose what they have not read",
			counted(info.Length, "message"), topic, counted(info.Delayed, "delayed one"))); err != nil || !yes {
			return err
		}
	}
	removed, err := bus.Purge(ctx, topic)
	if err != nil {
		return err
	}
	if asJSON {
		return p.printJSON(ctx, deleted{Topic: topic, Removed: &removed})
	}
	return p.out.write(ctx, fmt.Appendf(nil, "removed %s of %s\n", counted(removed, "message"), topic))
}
