package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/beckmq/beck/internal/doctor"
	"github.com/beckmq/beck/internal/redisaddr"
	"github.com/beckmq/beck/onredis"
)

// errEndangered is what doctor ends with when it has found a danger. It has no code
// of its own: the exit code is 1.
var errEndangered = errors.New("not all is well")

func (p *program) doctorCommand() *cobra.Command {
	asJSON, strict := false, false
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Look at where messages are kept, and say what endangers them",
		Long: `Looks at the Redis at --at, every server of it: one, a primary with its replicas
and sentinels, a cluster or shards. It says line by line what is well and what
endangers messages, with the setting that mends it: version, append-only file and
sync, eviction, memory, replicas and min-replicas-to-write, output buffers, tracking
table, clocks, round-trip time, and permissions that the user lacks. It changes
nothing.

  ok          as it should be
  warn        endangers messages together with another fault
  DANGER      loses messages, or stops them
  can't tell  the user may not ask

The exit code is 1 if there is a danger, else 0; with --strict it is 1 also for a
warning and for what can't be told. Of a directory (disk:DIR) it tells the free space
and how long a sync takes, of a server (http://…) whether it is ready.`,
		Example: `  beck doctor --at redis://localhost:6379
  beck doctor --at redis+sentinel://s1,s2,s3/mymaster --strict
  beck doctor --at redis+cluster://10.0.0.1 --json | jq -r '.findings[] | select(.level=="danger").mend'`,
		Args: p.arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			ctx := c.Context()
			report, err := p.examine(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				err = p.printJSON(ctx, report)
			} else {
				err = p.out.write(ctx, []byte(report.Text()))
			}
			if err == nil && (report.Dangers > 0 || strict && report.Warnings+report.Unknown > 0) {
				err = errEndangered
			}
			return err
		},
	}
	c.Flags().BoolVar(&strict, "strict", false, "exit with 1 also for warnings and for what can't be told")
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return c
}

func (p *program) examine(ctx context.Context) (*doctor.Report, error) {
	switch p.place.kind {
	case placeDisk:
		return doctor.Disk(p.place.where)
	case placeHTTP:
		return doctor.HTTP(ctx, p.place.where)
	}
	addr, err := redisaddr.Parse(p.place.where)
	if err != nil {
		return nil, err
	}
	o := doctor.Options{Prefix: p.prefix.text}
	if !p.prefix.given {
		o.Prefix = onredis.DefaultPrefix
	}
	return doctor.Redis(ctx, addr, o)
}
