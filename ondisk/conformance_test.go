package ondisk

import (
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
		Durability: drivertest.Durabilities{
			Gives: []driver.Durability{{Synced: true}, {Synced: true, Within: time.Second}},
			Never: &driver.Durability{Replicas: 1},
		},
	})
}
