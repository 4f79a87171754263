package cli

import "github.com/spf13/cobra"

func (p *program) pushCommand() *cobra.Command {
	f := &pubFlags{}
	c := &cobra.Command{
		Use:   "push QUEUE [BODY]",
		Short: "Add tasks to a queue",
		Long: `Adds one task to a queue: BODY, or standard input as it is; with --lines, every
line of standard input is a task. Each task goes to one worker ("beck work"), and
is gone once it is acknowledged.

The queue is made if it isn't there. It is an error if a topic of that name has
subscriptions. In all else it is "beck pub".`,
		Example: `  beck push emails '{"to":"ann@example.com"}'
  beck push emails --delay 10m < mail.json
  beck push thumbnails --lines --retry 5m < files.txt
  beck push emails '{"to":"ann@example.com"}' --dedupe welcome-ann`,
		Args: p.arguments(1, 2, "QUEUE", "BODY"),
		RunE: func(c *cobra.Command, args []string) error {
			return p.pub(c.Context(), verbPush, args, f)
		},
		ValidArgsFunction: p.completeTopic,
	}
	p.addPubFlags(c, f)
	return c
}
