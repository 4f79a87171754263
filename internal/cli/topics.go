package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/wire"
)

func (p *program) topicsCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:   "topics",
		Short: "List the topics",
		Long: `Lists all topics by name: how many messages each one holds, how many
subscriptions it has, or that it is a queue, and the id of the newest message it
ever got.`,
		Example: `  beck topics
  beck topics --at redis://localhost:6379
  beck topics --json | jq -r '.topics[].name'`,
		Args: p.arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			ctx := c.Context()
			return p.withBus(ctx, false, func(bus *beck.Bus) error {
				topics, err := bus.Topics(ctx)
				if err != nil && len(topics) == 0 {
					return err
				}
				// Of several Redis instances one may be down, and the others tell theirs.
				if asJSON {
					return errors.Join(p.printJSON(ctx, wire.TopicsOf(topics)), err)
				}
				return errors.Join(p.printText(ctx, func(text *strings.Builder) { writeTopics(text, topics) }), err)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return c
}

func writeTopics(text *strings.Builder, topics []beck.TopicSummary) {
	t := table(text)
	fmt.Fprintln(t, "NAME\tMESSAGES\tSUBSCRIPTIONS\tLAST")
	for _, topic := range topics {
		subscriptions := fmt.Sprint(topic.Subscriptions)
		if topic.Queue {
			subscriptions = "queue"
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\n", topic.Name, topic.Length, subscriptions, dashed(topic.LastID))
	}
	t.Flush()
}

// table aligns columns that are separated by tabs.
func table(text *strings.Builder) *tabwriter.Writer {
	return tabwriter.NewWriter(text, 0, 0, 2, ' ', 0)
}

func dashed(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// printText prints what write builds, at once.
func (p *program) printText(ctx context.Context, write func(*strings.Builder)) error {
	var text strings.Builder
	write(&text)
	return p.out.write(ctx, []byte(text.String()))
}

// completionTime is how long the shell waits for names of topics.
const completionTime = time.Second

// completeTopic offers the names of topics to the shell, for the first argument.
func (p *program) completeTopic(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return p.completeTopics(c, nil, "")
}

// completeTopics offers the names of topics for every argument.
func (p *program) completeTopics(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	if p.before(c, nil) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(c.Context(), completionTime)
	defer cancel()
	var names []string
	err := p.withBus(ctx, false, func(bus *beck.Bus) error {
		topics, err := bus.Topics(ctx)
		for _, t := range topics {
			names = append(names, t.Name)
		}
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
