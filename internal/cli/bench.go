package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/bench"
	"github.com/spf13/cobra"
)

func (p *program) benchCommand() *cobra.Command {
	var f benchFlags
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure how fast this is here, beside the bare engine",
		Long: `Measures publishing (in batches, and one by one by 512 publishers), following,
subscribing with acknowledgement, and the delay from publish to delivery.

Beside each figure stands the bare minimum measured in the same run, in turn:
the same work sent to Redis by bare pipelines, or to Pebble by bare synced
batches. The ratio says what beck costs; it means the same on every machine.
Through a beck server there is no bare minimum.

With --deployments it starts Redis servers on this machine, and puts the same load
on one instance, three instances, a cluster of three and shards of three, in turn;
then on a primary with a replica, by its address and by Sentinel; and it kills that
primary several times to see how soon messages are delivered again. The ratios are
to what is named with them.

Without --at it measures the disk engine in a directory that it makes here and
removes again. Elsewhere it uses topics of its own, and deletes them.`,
		Example: `  beck bench
  beck bench --at redis://localhost:6379
  beck bench --at http://127.0.0.1:8080 --only publish,delay --time 5s
  beck bench --deployments
  beck bench --deployments --only failover --failovers 10
  beck bench --json > bench.json`,
		Args: p.arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			if f.deployments && given(c.Flags(), "at") {
				return &hinted{usagef("--deployments starts its own servers; it takes no --at"), "leave one of them out"}
			}
			return p.bench(c.Context(), &f)
		},
	}
	flags := c.Flags()
	flags.IntVar(&f.Size, "size", 100, "bytes in a body, from 8")
	flags.DurationVar(&f.Time, "time", 2*time.Second, "how long to publish for in each round")
	flags.IntVar(&f.Messages, "messages", 200_000, "messages to follow and to subscribe to")
	flags.IntVar(&f.Rounds, "rounds", 3, "how often to measure each; the median is shown")
	flags.IntVar(&f.Rate, "rate", 1000, "messages a second when the delay is measured")
	flags.StringSliceVar(&f.Only, "only", nil, "workloads: "+strings.Join(bench.Workloads(), ", ")+"; with --deployments: "+strings.Join(bench.DeploymentNames(), ", "))
	flags.BoolVar(&f.deployments, "deployments", false, "start Redis servers here, and compare one, several, a cluster, shards and Sentinel")
	flags.IntVar(&f.failovers, "failovers", 5, "with --deployments: how often to kill a primary")
	flags.BoolVar(&f.json, "json", false, "print a JSON object")
	return c
}

// benchFlags are those of bench.
type benchFlags struct {
	bench.Options
	deployments bool
	failovers   int
	json        bool
}

func (p *program) bench(ctx context.Context, f *benchFlags) error {
	o := f.Options
	if o.Size < 8 || o.Size > int(p.maxBody) || o.Time <= 0 || o.Messages < 1 || o.Rounds < 1 || o.Rate < 1 || o.Rate > 1_000_000 {
		return usagef("--size takes 8 to --max-body bytes, and --time, --messages, --rounds and --rate more than nothing")
	}
	if f.deployments {
		return p.benchDeployments(ctx, f)
	}
	remove, err := p.benchPlace()
	if err != nil {
		return err
	}
	defer remove()
	show := newBenchProgress(p)
	defer show.clear()
	o.Progress = show.say
	var report *bench.Report
	err = p.withBus(ctx, true, func(bus *beck.Bus) error {
		bare, err := p.bare()
		if err != nil {
			return err
		}
		if bare != nil {
			defer bare.Close()
		}
		report, err = bench.Run(ctx, bus, bare, o)
		return err
	})
	show.clear()
	if report == nil || len(report.Rows) == 0 {
		return err
	}
	if f.json {
		return errors.Join(p.printJSON(ctx, report), err)
	}
	return errors.Join(p.out.write(ctx, []byte(benchTable(report))), err)
}

// benchPlace makes a directory to measure in, if no place was named.
func (p *program) benchPlace() (remove func(), err error) {
	if !p.atFromEnv || p.Getenv("BECK_AT") != "" {
		return func() {}, nil
	}
	dir, err := os.MkdirTemp(".", ".beck-bench-")
	if err != nil {
		return nil, err
	}
	p.place = place{kind: placeDisk, where: filepath.Join(dir, "data"), shown: "disk:" + dir}
	return func() { os.RemoveAll(dir) }, nil
}

// bare connects to the bare engine; a server has none.
func (p *program) bare() (bench.Bare, error) {
	switch p.place.kind {
	case placeDisk:
		return bench.NewDisk(p.place.where)
	case placeRedis:
		prefix := p.prefix.text
		if !p.prefix.given {
			prefix = "beck:"
		}
		if strings.Contains(p.place.where, "+shards://") {
			return nil, nil
		}
		return bench.NewRedis(p.place.where, prefix)
	}
	return nil, nil
}

func benchTable(report *bench.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, bodies of %d bytes\n\n", report.Engine, report.Size)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tbeck\tbare\tratio\tcommands/msg\t")
	for _, row := range report.Rows {
		fmt.Fprintf(w, "%s\t%s %s\t%s\t%s\t%s\t\n", row.What, grouped(int64(row.Beck+0.5)), row.Unit,
			orDash(row.Bare > 0, grouped(int64(row.Bare+0.5))),
			orDash(row.Ratio > 0, fmt.Sprintf("%.2f", row.Ratio)),
			orDash(row.Commands > 0, fmt.Sprintf("%.3f", row.Commands)))
	}
	w.Flush()
	return b.String()
}

func orDash(known bool, s string) string {
	if known {
		return s
	}
	return "-"
}

// benchProgress shows on a terminal what is being measured.
type benchProgress struct{ p *program }

func newBenchProgress(p *program) *benchProgress {
	if !isTerminal(p.Err) {
		return &benchProgress{}
	}
	return &benchProgress{p}
}

func (b *benchProgress) say(what string) {
	if b.p != nil {
		fmt.Fprintf(b.p.Err, "\r\x1b[K%s …", what)
	}
}

func (b *benchProgress) clear() {
	if b.p != nil {
		fmt.Fprint(b.p.Err, "\r\x1b[K")
	}
}
