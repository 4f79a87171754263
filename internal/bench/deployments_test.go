package bench_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/bench"
	"github.com/beckmq/beck/internal/redistest"
	"github.com/beckmq/beck/onredis"
)

// TestDeployments runs all there is once, as short as can be.
func TestDeployments(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("redis-server"); err != nil && os.Getenv("BECK_TEST_REDIS") != "require" {
		t.Skip("redis-server is not installed")
	}
	var said []string
	o := small
	o.Messages, o.Progress = 480, func(what string) { said = append(said, what) }
	report, err := bench.RunDeployments(t.Context(), o, 1)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*bench.Comparison{"spread": report.Spread, "sentinel": report.Sentinel} {
		if len(c.Lines) < len(bench.Comparisons()) {
			t.Errorf("%s: %d lines", name, len(c.Lines))
		}
		for _, line := range c.Lines {
			for i, d := range c.Deployments {
				if line.Values[i] <= 0 || line.Ratios[i] <= 0 || d.Beside == i && line.Ratios[i] != 1 {
					t.Errorf("%s: %s of %s: %g, ratio %g", name, line.Name, d.Name, line.Values[i], line.Ratios[i])
				}
			}
		}
	}
	f := report.Failover
	if len(f.Delays) != 1 || f.Max() < 0 || f.P50() != f.Max() || f.Outages[0] < f.Delays[0] {
		t.Errorf("failover: %+v", f)
	}
	if all := strings.Join(said, " "); !strings.Contains(all, "cluster of 3") || !strings.Contains(all, "failover 1 of 1") {
		t.Errorf("progress: %s", all)
	}
}

// TestBareElsewhere measures beside the bare minimum on a cluster.
func TestBareElsewhere(t *testing.T) {
	t.Parallel()
	at := redistest.Cluster(t, 2, 0).URL()
	bus, err := onredis.Open(t.Context(), at, nil)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := bench.NewRedis(at, "beck:")
	if err != nil {
		t.Fatal(err)
	}
	measures(t, bus, bare, true)
	if _, err := bench.NewRedis("redis+shards://a,b", "beck:"); err == nil || !strings.Contains(err.Error(), beck.ErrOption.Error()) {
		t.Errorf("shards have a bare minimum: %v", err)
	}
}
