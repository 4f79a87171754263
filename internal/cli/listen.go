package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/wire"
)

func (p *program) listenCommand() *cobra.Command {
	asJSON, count := false, int64(0)
	c := &cobra.Command{
		Use:   "listen PATTERN",
		Short: "Hear what is broadcast",
		Long: `Prints what is broadcast from now on ("beck broadcast"), bodies only, one a line;
with --json, an object a line. PATTERN is a subject, or "prefix.*" for all that begin
with "prefix.", or "*" for all.

What is broadcast while nobody listens is gone. Where something may be missing,
because the connection was lost or standard output is too slow, a line on standard
error says so, and with --json an object {"gap":{…}}.`,
		Example: `  beck listen typing.room1
  beck listen 'typing.*' --json
  beck listen prices --count 1`,
		Args: p.arguments(1, 1, "PATTERN"),
		RunE: func(c *cobra.Command, args []string) error {
			if given(c.Flags(), "count") && count < 1 {
				return usagef("--count takes a number from 1 on")
			}
			return p.listenTo(c.Context(), args[0], count, asJSON)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	c.Flags().Int64Var(&count, "count", 0, "stop after `N` messages (default: don't)")
	c.Flags().BoolVar(&asJSON, "json", false, "print an object a line, with topic (its subject), time and body")
	return c
}

func (p *program) listenTo(ctx context.Context, pattern string, count int64, asJSON bool) error {
	if err := beck.CheckPattern(pattern); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	err := p.withBus(ctx, false, func(bus *beck.Bus) error {
		// Listening waits for a place that can't be reached. At the start, that is
		// rather a mistake in its address.
		if err := bus.Ping(ctx); err != nil {
			return err
		}
		if p.place.kind == placeDisk {
			p.note("only one process can open %s, so nothing can come while this listens; to have both, run: %s serve", p.place.shown, p.called)
		}
		printed := int64(0)
		for m, err := range bus.Listen(ctx, pattern) {
			gap, isGap := errors.AsType[*beck.Gap](err)
			switch {
			case isGap:
				p.note("%s: something may be missing here", gap.Topic)
			case err != nil:
				return err
			default:
				printed++
			}
			if err := p.out.write(ctx, heard(m, gap, asJSON)); err != nil {
				return err
			}
			if count > 0 && printed >= count {
				return nil
			}
		}
		return context.Cause(ctx)
	})
	// Without an end of its own, ctrl-C is how the command is meant to end.
	if count == 0 && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// missedLine is what stands between broadcasts where some may be missing.
type missedLine struct {
	Gap missed `json:"gap"`
}

type missed struct {
	Pattern string `json:"pattern"`
}

// heard is what is printed for a message, or for a gap.
func heard(m *beck.Message, gap *beck.Gap, asJSON bool) []byte {
	switch {
	case gap != nil && !asJSON:
		return nil
	case gap != nil:
		text, err := json.Marshal(missedLine{missed{gap.Topic}})
		if err != nil {
			return nil // strings always marshal
		}
		return append(text, '\n')
	case asJSON:
		// What is broadcast has no id.
		text := wire.AppendMessage(nil, m)
		return append(append([]byte{'{'}, bytes.TrimPrefix(text, []byte(`{"id":"",`))...), '\n')
	}
	return append(bytes.Clone(m.Body), '\n')
}
