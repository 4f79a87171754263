package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/beckmq/beck"
)

func (p *program) seekCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:   "seek TOPIC SUBSCRIPTION POSITION",
		Short: "Have a subscription go on from another place",
		Long: `Has a subscription go on from a position: "start", "new", the id of a message (it
goes on behind it), a time such as 2026-11-21T08:00:00Z, or an age such as -10m.

What its readers hold, or what waits for another try, is forgotten; dead letters
stay.`,
		Example: `  beck seek orders billing start
  beck seek orders billing -1h
  beck seek orders billing 1732176000000-0042`,
		Args: func(c *cobra.Command, args []string) error {
			p.verb = verbOf(c)
			if names := []string{"TOPIC", "SUBSCRIPTION", "POSITION"}; len(args) < len(names) {
				return usagef("seek needs a %s", names[len(args)])
			} else if len(args) > len(names) {
				return usagef("seek takes no more than TOPIC, SUBSCRIPTION and POSITION, but got %.40q as well", args[3])
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			ctx, topic, subscription, to := c.Context(), args[0], args[1], args[2]
			return p.withBus(ctx, false, func(bus *beck.Bus) error {
				if err := bus.Seek(ctx, topic, subscription, beck.Position(to)); err != nil {
					return err
				}
				if asJSON {
					return p.printJSON(ctx, map[string]string{"topic": topic, "subscription": subscription, "position": to})
				}
				return p.out.write(ctx, fmt.Appendf(nil, "subscription %s of %s goes on from %s\n", subscription, topic, to))
			})
		},
		ValidArgsFunction: p.completeTopic,
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return c
}

// positionsLast moves an argument such as -10m, which would be taken for a flag,
// behind a "--".
func positionsLast(args []string) []string {
	if len(args) == 0 || args[0] != "seek" {
		return args
	}
	var first, last []string
	for i, arg := range args {
		if arg == "--" {
			return append(append(first, args[i:]...), last...)
		}
		if len(arg) > 1 && arg[0] == '-' && (arg[1] >= '0' && arg[1] <= '9' || arg[1] == '.') {
			last = append(last, arg)
		} else {
			first = append(first, arg)
		}
	}
	if len(last) == 0 {
		return args
	}
	return append(append(first, "--"), last...)
}
