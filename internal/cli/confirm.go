package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/beckmq/beck"
)

type confirmFlags struct {
	by      []string
	timeout time.Duration
	json    bool
}

func (p *program) confirmCommand() *cobra.Command {
	f := &confirmFlags{}
	c := &cobra.Command{
		Use:   "confirm TOPIC ID...",
		Short: "Wait until subscriptions have acknowledged messages",
		Long: `Waits until each of the subscriptions has acknowledged each of the messages, and
then ends with 0 and prints nothing.

If --timeout is over first, it prints what is open, one line for each message and
subscription, and ends with an error; so it does at once if only dead letters are
open. A subscription that isn't there, or an id that the topic has not given out,
is an error.`,
		Example: `  beck confirm orders "$(beck pub orders '{"id":42}')" --by billing --by audit --timeout 30s`,
		Args: func(c *cobra.Command, args []string) error {
			p.verb = verbOf(c)
			switch len(args) {
			case 0:
				return usagef("confirm needs a TOPIC")
			case 1:
				return usagef("confirm needs an ID")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			switch flags := c.Flags(); {
			case len(f.by) == 0:
				return usagef("confirm needs --by SUBSCRIPTION")
			case given(flags, "timeout") && f.timeout <= 0:
				return usagef("--timeout takes a duration such as 30s")
			}
			return p.confirmAll(c.Context(), args[0], args[1:], f)
		},
		ValidArgsFunction: p.completeTopic,
	}
	flags := c.Flags()
	flags.StringArrayVar(&f.by, "by", nil, "wait for this `SUBSCRIPTION`; may be repeated")
	flags.DurationVar(&f.timeout, "timeout", 0, "wait no longer than this `DURATION` (default: for ever)")
	flags.BoolVar(&f.json, "json", false, `print a JSON object: {"confirmed":…,"open":{…}}`)
	return c
}

// confirmed is what --json prints.
type confirmed struct {
	Confirmed bool                             `json:"confirmed"`
	Open      map[string]map[string]beck.State `json:"open,omitempty"`
}

func (p *program) confirmAll(ctx context.Context, topic string, ids []string, f *confirmFlags) error {
	return p.withBus(ctx, false, func(bus *beck.Bus) error {
		waiting, cancel := ctx, context.CancelFunc(func() {})
		if f.timeout > 0 {
			waiting, cancel = context.WithTimeout(ctx, f.timeout)
		}
		defer cancel()
		err := bus.Confirm(waiting, topic, ids, f.by...)
		unconfirmed, open := errors.AsType[*beck.UnconfirmedError](err)
		switch {
		case err == nil && f.json:
			return p.printJSON(ctx, confirmed{Confirmed: true})
		case err == nil || !open || ctx.Err() != nil:
			return err
		}
		if failed := p.printOpen(ctx, unconfirmed, f.json); failed != nil {
			return failed
		}
		if unconfirmed.Err != nil {
			// Who gave the time knows that it is over.
			return fmt.Errorf("confirm %s: %w within %v", topic, &beck.UnconfirmedError{Open: unconfirmed.Open}, f.timeout)
		}
		return err
	})
}

// printOpen prints what is not acknowledged.
func (p *program) printOpen(ctx context.Context, u *beck.UnconfirmedError, asJSON bool) error {
	if asJSON {
		return p.printJSON(ctx, confirmed{Open: u.Open})
	}
	return p.printText(ctx, func(text *strings.Builder) {
		t := table(text)
		for _, name := range slices.Sorted(maps.Keys(u.Open)) {
			for _, id := range slices.Sorted(maps.Keys(u.Open[name])) {
				fmt.Fprintf(t, "%s\t%s\t%s\n", id, name, u.Open[name][id])
			}
		}
		t.Flush()
	})
}
