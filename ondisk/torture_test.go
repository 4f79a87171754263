package ondisk

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// torture is how long the tests of this kind are to go on; 0 for the short form.
// `BECK_TORTURE=10m go test -timeout 1h -run Torture ./ondisk` is the long one.
func torture(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("BECK_TORTURE")
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("BECK_TORTURE: %v", err)
	}
	return d
}

// reportWrong says what is wrong, the first few of it.
func reportWrong(t *testing.T, wrong []string) {
	t.Helper()
	for _, text := range wrong[:min(3, len(wrong))] {
		t.Error(text)
	}
}

// TestTortureCuts has everything done to an engine at once, and cuts it off at
// every sync, of every file and directory, while it opens too. What each cut
// leaves must open, hold all that was answered and nothing that was not asked
// for, and go on working.
func TestTortureCuts(t *testing.T) {
	t.Parallel()
	long := torture(t)
	rounds, syncs := 3, 25
	if long > 0 {
		rounds, syncs = 6, 150
	}
	for end := time.Now().Add(long); ; {
		cutEverywhere(t, rand.Uint64()>>40, rounds, syncs, long > 0)
		if t.Failed() || !time.Now().Before(end) {
			return
		}
	}
}

func cutEverywhere(t *testing.T, seed uint64, rounds, syncs int, thorough bool) {
	w := newWorld(t, seed)
	w.thorough = thorough
	files := vfs.NewCrashableMem()
	for n := range rounds {
		r := w.start(files, nil)
		r.work()
		r.runFor(syncs)
		files = r.crash([]string{"none", "some", "all"}[n%3])
		if w.failed() {
			break
		}
	}
	reportWrong(t, w.end())
}

// Disks that lie about their syncs must be found out: these show that
// TestTortureCuts can fail.
func TestTorturePlanted(t *testing.T) {
	t.Parallel()
	is := func(kind string) func(string, bool) bool {
		return func(path string, dir bool) bool { return fileKind(path, dir) == kind }
	}
	plants := []*plant{
		{name: "the log is not synced", lies: is("log")},
		{name: "the log is synced after it was said to be", lies: is("log"), late: 3 * time.Millisecond},
		{name: "tables are not synced", lies: is("table")},
		{name: "the manifest is not synced", lies: is("MANIFEST")},
		{name: "directories are not synced", lies: func(path string, dir bool) bool { return dir && strings.HasSuffix(path, storeName) }},
	}
	for _, p := range plants {
		t.Run(p.name, func(t *testing.T) {
			w := newWorld(t, rand.Uint64()>>40)
			w.plant = p
			files := vfs.NewCrashableMem()
			for n := 0; n < 5 && !w.failed(); n++ {
				r := w.start(files, nil)
				r.work()
				r.runFor(200)
				r.crash("all")
			}
			wrong := w.end()
			if len(wrong) == 0 || strings.Contains(wrong[0], "stuck") {
				t.Fatalf("nobody has noticed: %v", wrong)
			}
			t.Logf("noticed: %.300s", wrong[0])
		})
	}
}
