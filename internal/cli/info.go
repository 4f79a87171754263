package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/wire"
)

func (p *program) infoCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:   "info TOPIC",
		Short: "Show a topic, its subscriptions and who reads them",
		Long: `Shows a topic and, for each of its subscriptions, how far it is:

  last delivered  the newest message that was given to a reader
  lag             messages stored that no reader was given yet
  pending         messages given to readers and not yet acknowledged
  waiting         messages that wait for another try
  dead            messages given up, kept as dead letters
  lost            messages removed before they were acknowledged: dropped by the
                  topic's bounds, or removed by others
  expires         after what time without a reader it is deleted
  consumers       its readers, what each one holds, and how long ago it asked`,
		Example: `  beck info orders
  beck info orders --json | jq '.subscriptions[] | {name, lag}'`,
		Args: p.arguments(1, 1, "TOPIC"),
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			return p.withBus(ctx, false, func(bus *beck.Bus) error {
				info, err := bus.Topic(ctx, args[0])
				if err != nil {
					return err
				}
				if asJSON {
					return p.printJSON(ctx, wire.TopicInfoOf(info))
				}
				return p.printText(ctx, func(text *strings.Builder) { writeInfo(text, info) })
			})
		},
		ValidArgsFunction: p.completeTopic,
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return c
}

func writeInfo(text *strings.Builder, info *beck.TopicInfo) {
	t := table(text)
	fmt.Fprintf(t, "topic\t%s\n", info.Name)
	if info.Queue {
		fmt.Fprintf(t, "kind\tqueue\n")
	}
	fmt.Fprintf(t, "messages\t%d\n", info.Length)
	fmt.Fprintf(t, "first\t%s\n", dashed(info.FirstID))
	fmt.Fprintf(t, "last\t%s\n", dashed(info.LastID))
	if info.Bytes >= 0 {
		fmt.Fprintf(t, "bytes\t%d\n", info.Bytes)
	}
	fmt.Fprintf(t, "delayed\t%d\n", info.Delayed)
	if info.Dropped > 0 {
		fmt.Fprintf(t, "dropped\t%d\n", info.Dropped)
	}
	writeConfig(t, info.Config)
	fmt.Fprintf(t, "subscriptions\t%d\n", len(info.Subscriptions))
	t.Flush()
	for _, s := range info.Subscriptions {
		fmt.Fprintf(text, "\nsubscription %s\n", s.Name)
		writeSubscription(text, &s)
	}
}

func writeSubscription(text *strings.Builder, s *beck.SubscriptionInfo) {
	lag := "unknown"
	if s.Lag >= 0 {
		lag = fmt.Sprint(s.Lag)
	}
	delivered := s.LastDelivered
	if delivered == "" {
		delivered = "start"
	}
	t := table(text)
	if s.Paused {
		fmt.Fprintf(t, "  paused\tyes\n")
	}
	fmt.Fprintf(t, "  last delivered\t%s\n", delivered)
	fmt.Fprintf(t, "  lag\t%s\n", lag)
	fmt.Fprintf(t, "  pending\t%d\n", s.Pending)
	fmt.Fprintf(t, "  waiting\t%d\n", s.Waiting)
	fmt.Fprintf(t, "  dead\t%d\n", s.Dead)
	if s.Lost > 0 {
		fmt.Fprintf(t, "  lost\t%d\n", s.Lost)
	}
	fmt.Fprintf(t, "  lease\t%s\n", s.Lease)
	if s.Expires > 0 {
		fmt.Fprintf(t, "  expires\tafter %s unread; unread for %s\n", plain(s.Expires), plain(s.Unread.Round(time.Second)))
	}
	fmt.Fprintf(t, "  consumers\t%d\n", len(s.Consumers))
	t.Flush()
	if len(s.Consumers) == 0 {
		return
	}
	t = table(text)
	for _, c := range s.Consumers {
		fmt.Fprintf(t, "    %s\tholds %d\tidle %s\n", c.Name, c.Pending, c.Idle.Round(time.Millisecond))
	}
	t.Flush()
}
