package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/beckmq/beck"
)

func (p *program) delayedCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "delayed",
		Short: "List or cancel messages whose time has not come",
		Long: `Messages published with --delay or --due wait beside their topic until their time
comes. Their ids begin with "d", and are what publishing printed.`,
		Example: `  beck delayed list reminders
  beck delayed cancel reminders d1732176000000-0000000001`,
		Args: p.noSuchSubcommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(p.delayedListCommand(), p.delayedCancelCommand())
	return c
}

func (p *program) delayedListCommand() *cobra.Command {
	asJSON, count := false, int64(0)
	c := &cobra.Command{
		Use:   "list TOPIC",
		Short: "List delayed messages, the next one first",
		Example: `  beck delayed list reminders
  beck delayed list reminders --json | jq -r .due`,
		Args: p.arguments(1, 1, "TOPIC"),
		RunE: func(c *cobra.Command, args []string) error {
			if count < 1 {
				return usagef("--count takes a number from 1 on")
			}
			ctx := c.Context()
			return p.withBus(ctx, false, func(bus *beck.Bus) error {
				to := &entryPrinter{p: p, json: asJSON, columns: []column{idColumn, dueColumn, keyColumn, bodyColumn}}
				return p.showEntries(ctx, bus, to, args[0], "", beck.StateDelayed, count)
			})
		},
		ValidArgsFunction: p.completeTopic,
	}
	c.Flags().Int64Var(&count, "count", defaultPeek, "show the first `N`")
	c.Flags().BoolVar(&asJSON, "json", false, "print an object a line")
	return c
}

func (p *program) delayedCancelCommand() *cobra.Command {
	all, asJSON := false, false
	c := &cobra.Command{
		Use:   "cancel TOPIC [ID...]",
		Short: "Remove delayed messages before their time comes",
		Example: `  beck delayed cancel reminders d1732176000000-0000000001
  beck delayed cancel reminders --all`,
		Args: p.arguments(1, manyIDs, "TOPIC"),
		RunE: func(c *cobra.Command, args []string) error {
			topic, ids := args[0], args[1:]
			switch {
			case all && len(ids) > 0:
				return usagef("give ids or --all")
			case !all && len(ids) == 0:
				return &hinted{usagef("which delayed messages?"), "give their ids, or --all"}
			}
			for _, id := range ids {
				if err := checkID(id); err != nil {
					return err
				}
			}
			ctx := c.Context()
			return p.withBus(ctx, false, func(bus *beck.Bus) error {
				n, err := cancelDelayed(ctx, bus, topic, ids)
				switch {
				case err != nil && n == 0:
					return err
				case asJSON:
					return firstError(p.printJSON(ctx, map[string]any{"topic": topic, "cancelled": n}), err)
				}
				told := fmt.Sprintf("cancelled %s of %s\n", counted(int64(n), "delayed message"), topic)
				return firstError(p.out.write(ctx, []byte(told)), err)
			})
		},
		ValidArgsFunction: p.completeTopic,
	}
	c.Flags().BoolVar(&all, "all", false, "all that are there now")
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return c
}

// cancelDelayed cancels some delayed messages, or all if no ids are given.
func cancelDelayed(ctx context.Context, bus *beck.Bus, topic string, ids []string) (n int, err error) {
	cancel := func(ids []string) error {
		done, err := bus.Cancel(ctx, topic, ids...)
		n += done
		return err
	}
	if len(ids) > 0 {
		var missing error
		for some := range slices.Chunk(ids, beck.MaxFetch) {
			err := cancel(some)
			if err != nil && !errors.Is(err, beck.ErrMessageNotFound) {
				return n, err
			}
			missing = firstError(missing, err)
		}
		return n, missing
	}
	info, err := bus.Topic(ctx, topic)
	if err != nil {
		return 0, err
	}
	// No more than there were, though others may be published meanwhile.
	left := info.Delayed
	err = scan(ctx, bus, topic, "", beck.StateDelayed, func(entries []*beck.Entry) (bool, error) {
		entries = entries[:min(int64(len(entries)), left)]
		left -= int64(len(entries))
		if len(entries) == 0 {
			return false, nil
		}
		found := make([]string, len(entries))
		for i, e := range entries {
			found[i] = e.Message.ID
		}
		err := cancel(found)
		if errors.Is(err, beck.ErrMessageNotFound) {
			err = nil // its time has come
		}
		return left > 0, err
	})
	return n, err
}
