package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/beckmq/beck"
)

type peekFlags struct {
	state string
	count int64
	json  bool
}

// defaultPeek is how many entries a command shows by default.
const defaultPeek = 100

func (p *program) peekCommand() *cobra.Command {
	f := &peekFlags{}
	c := &cobra.Command{
		Use:   "peek TOPIC SUBSCRIPTION",
		Short: "Look at what a subscription has before it",
		Long: `Shows messages of a subscription that are in one state, without changing anything:

  ready    stored and given to no reader yet
  held     given to a reader that has yet to acknowledge them: by whom, since when
  waiting  for another try: when, and why the last one failed
  dead     given up; "beck dead" does more

The subscription may be left out for a queue. Delayed messages belong to the topic:
see "beck delayed list".`,
		Example: `  beck peek orders billing
  beck peek orders billing --state held
  beck peek emails --state waiting --json | jq -r .reason`,
		Args: p.arguments(1, 2, "TOPIC", "SUBSCRIPTION"),
		RunE: func(c *cobra.Command, args []string) error {
			columns, ok := peekColumns[beck.State(f.state)]
			switch {
			case !ok:
				return usagef("--state takes ready, held, waiting or dead")
			case f.count < 1:
				return usagef("--count takes a number from 1 on")
			}
			ctx := c.Context()
			return p.withBus(ctx, false, func(bus *beck.Bus) error {
				to := &entryPrinter{p: p, json: f.json, columns: columns}
				return p.showEntries(ctx, bus, to, args[0], subscriptionOf(args), beck.State(f.state), f.count)
			})
		},
		ValidArgsFunction: p.completeTopic,
	}
	flags := c.Flags()
	flags.StringVar(&f.state, "state", string(beck.StateReady), "the `STATE` of the messages: ready, held, waiting or dead")
	flags.Int64Var(&f.count, "count", defaultPeek, "show the first `N`")
	flags.BoolVar(&f.json, "json", false, "print an object a line")
	return c
}

var peekColumns = map[beck.State][]column{
	beck.StateReady:   {idColumn, timeColumn, keyColumn, bodyColumn},
	beck.StateHeld:    {idColumn, consumerColumn, sinceColumn, dueColumn, attemptsColumn, bodyColumn},
	beck.StateWaiting: {idColumn, dueColumn, attemptsColumn, reasonColumn, bodyColumn},
	beck.StateDead:    {idColumn, diedColumn, attemptsColumn, reasonColumn, bodyColumn},
}

// subscriptionOf is the subscription behind a topic, or that of a queue.
func subscriptionOf(args []string) string {
	if len(args) > 1 {
		return args[1]
	}
	return beck.QueueSubscription
}

// showEntries prints the first messages that are in one state, and says whether
// there are more.
func (p *program) showEntries(ctx context.Context, bus *beck.Bus, to *entryPrinter, topic, subscription string, state beck.State, count int64) error {
	left, rest := count, false
	err := scan(ctx, bus, topic, subscription, state, func(entries []*beck.Entry) (bool, error) {
		if left == 0 {
			rest = len(entries) > 0
			return false, nil
		}
		if n := int64(len(entries)); n > left {
			entries, rest = entries[:left], true
		}
		left -= int64(len(entries))
		return !rest, to.print(ctx, entries)
	})
	if err == nil && rest {
		p.note("there are more; --count shows more than %d", count)
	}
	return err
}
