package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/beckmq/beck"
)

func (p *program) broadcastCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:   "broadcast SUBJECT [BODY]",
		Short: "Send a message to whoever listens now",
		Long: `Sends BODY, or standard input as it is, to all who listen to the subject now ("beck
listen"): at most once, and nothing is stored. It prints how many got it as far as
that is known: listeners on disk, processes with listeners on Redis.`,
		Example: `  beck broadcast typing.room1 ann
  beck broadcast prices < prices.json`,
		Args: p.arguments(1, 2, "SUBJECT", "BODY"),
		RunE: func(c *cobra.Command, args []string) error {
			return p.broadcast(c.Context(), args, asJSON)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return c
}

func (p *program) broadcast(ctx context.Context, args []string, asJSON bool) error {
	if err := beck.CheckName(args[0]); err != nil {
		return fmt.Errorf("broadcast: %w", err)
	}
	body, err := p.bodyOf(ctx, args[1:])
	if err != nil {
		return err
	}
	return p.withBus(ctx, false, func(bus *beck.Bus) error {
		n, err := bus.Broadcast(ctx, args[0], body)
		switch {
		case err != nil:
			return err
		case asJSON:
			return p.printJSON(ctx, struct {
				Listeners int `json:"listeners"`
			}{n})
		case n < 0:
			return p.out.write(ctx, []byte("unknown\n"))
		}
		return p.out.write(ctx, fmt.Appendln(nil, n))
	})
}
