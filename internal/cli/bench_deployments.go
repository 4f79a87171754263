package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/beckmq/beck/internal/bench"
)

// benchDeployments measures on servers that it starts.
func (p *program) benchDeployments(ctx context.Context, f *benchFlags) error {
	for _, name := range f.Only {
		if all := bench.DeploymentNames(); !slices.Contains(all, name) {
			return usagef("there is no workload %.40q; with --deployments choose from %s", name, strings.Join(all, ", "))
		}
	}
	if f.failovers < 0 {
		return usagef("--failovers takes a number from 0")
	}
	show := newBenchProgress(p)
	defer show.clear()
	f.Progress = show.say
	report, err := bench.RunDeployments(ctx, f.Options, f.failovers)
	show.clear()
	if report == nil || report.Spread == nil && report.Sentinel == nil && report.Failover == nil {
		return err
	}
	if f.json {
		return errors.Join(p.printJSON(ctx, report), err)
	}
	return errors.Join(p.out.write(ctx, []byte(deploymentsTable(report))), err)
}

func deploymentsTable(report *bench.Deployments) string {
	var b strings.Builder
	for _, c := range []*bench.Comparison{report.Spread, report.Sentinel} {
		if c != nil && len(c.Lines) > 0 {
			comparisonTable(&b, c)
			b.WriteString("\n")
		}
	}
	if f := report.Failover; f != nil && len(f.Delays) > 0 {
		fmt.Fprintf(&b, "Sentinel failover, %d times: delivered again %.0f ms (p50) and %.0f ms (max) after the new primary\n"+
			"could be written to; %.0f ms (max) after the crash\n", len(f.Delays), f.P50(), f.Max(), slices.Max(f.Outages))
	}
	return b.String()
}

func comparisonTable(b *strings.Builder, c *bench.Comparison) {
	fmt.Fprintf(b, "bodies of %d bytes\n\n", c.Size)
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, d := range c.Deployments {
		fmt.Fprintf(w, "\t%s", d.Name)
	}
	fmt.Fprintln(w, "\t")
	for _, line := range c.Lines {
		fmt.Fprint(w, line.What)
		for _, value := range line.Values {
			text := grouped(int64(value + 0.5))
			if value < 100 {
				text = fmt.Sprintf("%.2f", value)
			}
			fmt.Fprintf(w, "\t%s %s", text, line.Unit)
		}
		fmt.Fprint(w, "\t\nratio")
		for i, d := range c.Deployments {
			if d.Beside == i {
				fmt.Fprint(w, "\t-")
				continue
			}
			fmt.Fprintf(w, "\t%.2f of %s", line.Ratios[i], c.Deployments[d.Beside].Name)
		}
		fmt.Fprintln(w, "\t")
	}
	w.Flush()
}
