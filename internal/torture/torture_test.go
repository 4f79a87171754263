package torture

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// The environment says for how long, and with which seed; see docs/torture.md.
const (
	lengthVariable = "BECK_TORTURE_DURATION"
	seedVariable   = "BECK_TORTURE_SEED"
	dirVariable    = "BECK_TORTURE_DIR"
	keepVariable   = "BECK_TORTURE_KEEP"
	checkVariable  = "BECK_TORTURE_CHECK"
	spareVariable  = "BECK_TORTURE_SPARE"
)

// TestTorture is a run on each deployment: a short one, the same each time, or one as
// long as one likes.
func TestTorture(t *testing.T) {
	for _, c := range []struct {
		name, level string
		deploy      func(t *testing.T, long bool) deployment
		// What comes first: in the short form, little else does. Without it, there
		// is none.
		first []string
	}{
		{"redis", Synced, oneRedis, []string{"kill redis", "half-open link", "destroy a group", "flush all"}},
		{"disk", Synced, diskServer, []string{"kill server", "failing writes", "partition link", "stop consumer"}},
		{"sentinel", Replicated, sentinels, []string{"crash of the primary", "primary stands still and comes back", "kill consumer"}},
		{"cluster", Replicated, cluster, []string{"crash of a primary", "reshard", "leases jump", "kill consumer"}},
		{"sentinel-written", Written, sentinels, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := plan{seed: 1, length: 10 * time.Second, first: c.first, level: c.level, keeps: c.level == Written, calm: 800 * time.Millisecond, every: 60 * time.Millisecond}
			long := p.fromEnvironment(t)
			if !long && len(c.first) == 0 {
				t.Skipf("%s has no short form", c.name)
			}
			report := p.do(t, c.deploy(t, long))
			t.Logf("%s, level %s, seed %d, %v\n%s", c.name, p.level, p.seed, p.length, report)
			broken := report.Broken()
			p.keep(t, c.name, report, broken == "")
			if broken != "" {
				t.Errorf("seed %d: promises were broken\n%s", p.seed, broken)
			}
		})
	}
}

// TestHistory has the checker look at the histories of a former run again.
func TestHistory(t *testing.T) {
	dir := os.Getenv(checkVariable)
	if dir == "" {
		t.Skipf("%s does not name a directory with histories", checkVariable)
	}
	report, err := Check(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s\n%s", dir, report)
	if broken := report.Broken(); broken != "" {
		t.Error(broken)
	}
}

// fromEnvironment takes over what the environment says, and reports whether it asks
// for a long run.
func (p *plan) fromEnvironment(t *testing.T) (long bool) {
	p.keeps = p.keeps || os.Getenv(spareVariable) != ""
	if text := os.Getenv(lengthVariable); text != "" {
		length, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("%s: %v", lengthVariable, err)
		}
		p.length, p.calm, p.seed, long = length, 2*time.Second, 1+uint64(time.Now().UnixNano()%1_000_000), true
	}
	if text := os.Getenv(seedVariable); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil || seed == 0 {
			t.Fatalf("%s %q is no number from 1 on", seedVariable, text)
		}
		p.seed = seed
	}
	return long
}

// keep writes the report for machines, and removes the histories of a run in which
// nothing was wrong.
func (p *plan) keep(t *testing.T, name string, r *Report, well bool) {
	parent := os.Getenv(dirVariable)
	if parent == "" {
		return
	}
	text, err := json.MarshalIndent(struct {
		Deployment string        `json:"deployment"`
		Level      string        `json:"level"`
		Seed       uint64        `json:"seed"`
		Length     time.Duration `json:"length_ns"`
		*Report
	}{name, p.level, p.seed, p.length, r}, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(parent, name+".json"), append(text, '\n'), 0o600)
	}
	if err != nil {
		t.Error(err)
	}
	if well && os.Getenv(keepVariable) == "" {
		if err := os.RemoveAll(historyPath(t, parent)); err != nil {
			t.Error(err)
		}
	}
}

// Redis that keeps nothing on disk is what skipping the sync comes to: it loses what
// it acknowledged when it is killed, and the checker says so.
func TestSkippedSyncIsCaught(t *testing.T) {
	t.Parallel()
	p := plan{seed: 1, length: 2 * time.Second, level: Written, calm: time.Second, every: 60 * time.Millisecond, only: []string{"kill redis"}}
	report := p.do(t, redisWith(t, false, "--appendonly", "no"))
	if report.Lost.Count == 0 {
		t.Errorf("it is not caught\n%s", report)
	} else {
		t.Logf("caught, lost: %d, the first: %s", report.Lost.Count, report.Lost.Examples[0])
	}
}
