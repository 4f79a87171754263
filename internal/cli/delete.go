package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/beckmq/beck"
)

type deleteFlags struct {
	as, before string
	yes        bool
	json       bool
}

func (p *program) deleteCommand() *cobra.Command {
	f := &deleteFlags{}
	c := &cobra.Command{
		Use:   "delete TOPIC",
		Short: "Delete a topic, a subscription, or old messages",
		Long: `Deletes a topic with all its messages and subscriptions; with --as, only that
subscription; with --before, only the messages before a position, and of those
none that a subscription still needs.

It asks first. Where nobody can answer, it needs --yes.`,
		Example: `  beck delete orders                        # the topic and everything in it
  beck delete orders --as billing           # a subscription; the messages stay
  beck delete orders --before -168h --yes   # messages older than a week`,
		Args: p.arguments(1, 1, "TOPIC"),
		RunE: func(c *cobra.Command, args []string) error {
			flags := c.Flags()
			switch {
			case given(flags, "as") && given(flags, "before"):
				return usagef("--as deletes a subscription and --before deletes messages; give one of them")
			case given(flags, "as") && f.as == "":
				return usagef("--as takes the name of a subscription")
			case given(flags, "before") && f.before == "":
				return usagef("--before takes an id, a time such as 2026-11-21T08:00:00Z, or an age such as -24h")
			}
			if !f.yes && !isTerminal(p.In) {
				return &hinted{usagef("nobody is there to confirm that"), "add --yes to delete without being asked"}
			}
			ctx := c.Context()
			return p.withBus(ctx, false, func(bus *beck.Bus) error { return p.delete(ctx, bus, args[0], f) })
		},
		ValidArgsFunction: p.completeTopic,
	}
	flags := c.Flags()
	flags.StringVar(&f.as, "as", "", "delete only the subscription `NAME`")
	flags.StringVar(&f.before, "before", "", "delete only messages before this `POSITION`: an id, a time or an age")
	flags.BoolVar(&f.yes, "yes", false, "don't ask")
	flags.BoolVar(&f.json, "json", false, "print a JSON object")
	return c
}

// deleted is what was deleted, as --json prints it.
type deleted struct {
	Topic        string `json:"topic"`
	Subscription string `json:"subscription,omitempty"`
	// Removed is the number of messages removed by --before.
	Removed *int64 `json:"removed,omitempty"`
}

func (p *program) delete(ctx context.Context, bus *beck.Bus, topic string, f *deleteFlags) error {
	if !f.yes {
		question, err := deleteQuestion(ctx, bus, topic, f)
		if err != nil {
			return err
		}
		if yes, err := p.confirm(ctx, question); err != nil || !yes {
			return err
		}
	}
	done := deleted{Topic: topic, Subscription: f.as}
	var told string
	var err error
	switch {
	case f.as != "":
		err = bus.DeleteSubscription(ctx, topic, f.as)
		told = fmt.Sprintf("deleted subscription %s of %s", f.as, topic)
	case f.before != "":
		var removed int64
		removed, err = bus.Trim(ctx, topic, beck.Position(f.before))
		done.Removed = &removed
		told = fmt.Sprintf("deleted %s of %s", counted(removed, "message"), topic)
	default:
		err = bus.DeleteTopic(ctx, topic)
		told = "deleted topic " + topic
	}
	if err != nil {
		return err
	}
	if f.json {
		return p.printJSON(ctx, done)
	}
	return p.out.write(ctx, []byte(told+"\n"))
}

// deleteQuestion says what would be deleted.
func deleteQuestion(ctx context.Context, bus *beck.Bus, topic string, f *deleteFlags) (string, error) {
	info, err := bus.Topic(ctx, topic)
	if err != nil {
		return "", err
	}
	switch {
	case f.as != "":
		return fmt.Sprintf("Delete subscription %s of %s? Its position is lost", f.as, topic), nil
	case f.before != "":
		return fmt.Sprintf("Delete those of the %s of %s that come before %s and no subscription needs?",
			counted(info.Length, "message"), topic, f.before), nil
	}
	return fmt.Sprintf("Delete topic %s with %s and %s?", topic,
		counted(info.Length, "message"), counted(int64(len(info.Subscriptions)), "subscription")), nil
}

func counted(n int64, what string) string {
	if n != 1 {
		what += "s"
	}
	return grouped(n) + " " + what
}

// confirm asks on the terminal; anything but yes means no.
func (p *program) confirm(ctx context.Context, question string) (bool, error) {
	fmt.Fprintf(p.Err, "%s [y/N] ", question)
	type result struct {
		text string
		err  error
	}
	answered := make(chan result, 1)
	// A read of the terminal can't be called back: after ctrl-C it is left
	// alone, and ends with the process.
	go func() {
		text, err := bufio.NewReader(p.In).ReadString('\n')
		answered <- result{text, err}
	}()
	select {
	case a := <-answered:
		if a.err != nil && !errors.Is(a.err, io.EOF) {
			return false, a.err
		}
		answer := strings.ToLower(strings.TrimSpace(a.text))
		if answer == "y" || answer == "yes" {
			return true, nil
		}
		return false, errors.New("nothing was deleted")
	case <-ctx.Done():
		fmt.Fprintln(p.Err)
		return false, context.Cause(ctx)
	}
}
