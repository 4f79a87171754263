package ondisk

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/drivertest"
)

func TestConformance(t *testing.T) {
	drivertest.Run(t, drivertest.Harness{
		Open: func(t testing.TB) driver.Engine {
			return mustOpen(t, "db", settings{fs: vfs.NewCrashableMem(), reserve: 1})
		},
		Reopen: func(t testing.TB, old driver.Engine) driver.Engine {
			e := old.(*engine)
			shut(t, e)
			return mustOpen(t, "db", settings{fs: e.stamps.fs, reserve: 1})
		},
		Crash: func(t testing.TB, old driver.Engine) driver.Engine {
			return crash(t, old.(*engine))
		},
	})
}

var errCrashed = errors.New("crashed")

// crash opens what a crash of the whole machine would leave of an engine on a
// crashable file system: what was synced, and by chance some of the rest.
func crash(t testing.TB, e *engine) *engine {
	t.Helper()
	// From now on nothing is answered as done; all that was has been synced.
	e.fail(errCrashed)
	left := e.stamps.fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: rand.IntN(101),
		RNG:                 rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0)),
	})
	t.Cleanup(func() { abandon(t, e) })
	return mustOpen(t, "db", settings{fs: left, reserve: 1, now: e.now})
}

// abandon closes an engine that has failed.
func abandon(t testing.TB, e *engine) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := e.Close(ctx); err == nil {
		t.Error("closing an engine that failed returned no error")
	}
}
