package torture

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// TestRedis and its siblings torture one deployment each. The environment says for
// how long, and with which seed; see docs/torture.md.
func TestRedis(t *testing.T) { torture(t, "redis", Synced, oneRedis) }

func TestDisk(t *testing.T) { torture(t, "disk", Synced, diskServer) }

func TestSentinel(t *testing.T)        { torture(t, "sentinel", Replicated, sentinels) }
func TestCluster(t *testing.T)         { torture(t, "cluster", Replicated, cluster) }
func TestSentinelWritten(t *testing.T) { torture(t, "sentinel", Written, sentinels) }

func torture(t *testing.T, name, level string, deploy func(*testing.T, bool) deployment) {
	t.Parallel()
	p := plan{seed: uint64(time.Now().UnixNano() % 1_000_000), length: 12 * time.Second, level: level, calm: time.Second, every: 60 * time.Millisecond}
	if text := os.Getenv("BECK_TORTURE_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("BECK_TORTURE_SEED: %v", err)
		}
		p.seed = seed
	}
	long := false
	if text := os.Getenv("BECK_TORTURE_DURATION"); text != "" {
		length, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("BECK_TORTURE_DURATION: %v", err)
		}
		p.length, p.calm, long = length, 2*time.Second, true
	}
	report := p.do(t, deploy(t, long))
	t.Logf("%s, level %s, seed %d, %v\n%s", name, level, p.seed, p.length, report)
	if dir := os.Getenv("BECK_TORTURE_DIR"); dir != "" {
		file := filepath.Join(dir, name+"-"+level+".json")
		if err := os.WriteFile(file, report.JSON(), 0o600); err != nil {
			t.Error(err)
		}
	}
	if broken := report.Broken(); broken != "" {
		t.Errorf("seed %d: promises were broken\n%s", p.seed, broken)
	}
}
