package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/beckmq/beck"
)

func (p *program) pauseCommand() *cobra.Command {
	return p.pauseOrResume(&cobra.Command{
		Use:   "pause TOPIC SUBSCRIPTION",
		Short: "Have a subscription, or a queue's workers, get nothing for now",
		Long: `Has a subscription deliver nothing until "beck resume". What its readers hold they
may finish. The subscription may be left out for a queue: then it is its workers.`,
		Example: `  beck pause orders billing
  beck pause emails            # a queue`,
	}, "paused", (*beck.Bus).Pause)
}

func (p *program) resumeCommand() *cobra.Command {
	return p.pauseOrResume(&cobra.Command{
		Use:   "resume TOPIC SUBSCRIPTION",
		Short: "End a pause",
		Long:  `Ends what "beck pause" began.`,
		Example: `  beck resume orders billing
  beck resume emails           # a queue`,
	}, "resumed", (*beck.Bus).Resume)
}

func (p *program) pauseOrResume(c *cobra.Command, done string, do func(*beck.Bus, context.Context, string, string) error) *cobra.Command {
	asJSON := false
	c.Args = p.arguments(1, 2, "TOPIC", "SUBSCRIPTION")
	c.RunE = func(c *cobra.Command, args []string) error {
		ctx, topic, subscription := c.Context(), args[0], subscriptionOf(args)
		return p.withBus(ctx, false, func(bus *beck.Bus) error {
			err := do(bus, ctx, topic, subscription)
			switch {
			case len(args) == 1 && errors.Is(err, beck.ErrSubscriptionNotFound):
				return &hinted{
					fmt.Errorf("%w: %s is not a queue", err, topic),
					"say which subscription: " + p.command(p.verb+" "+topic+" SUBSCRIPTION"),
				}
			case err != nil:
				return err
			case asJSON:
				return p.printJSON(ctx, map[string]any{"topic": topic, "subscription": subscription, "paused": done == "paused"})
			}
			return p.out.write(ctx, fmt.Appendf(nil, "%s subscription %s of %s\n", done, subscription, topic))
		})
	}
	c.ValidArgsFunction = p.completeTopic
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return c
}
