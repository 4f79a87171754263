package ondisk

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/beckmq/beck/internal/driver"
)

// faults is a file system on which operations fail from a moment on.
type faults struct {
	armed atomic.Bool
	fails func(errorfs.Op) bool
	cause error
}

func (f *faults) String() string { return "faults" }

func (f *faults) MaybeError(op errorfs.Op) error {
	if f.armed.Load() && f.fails(op) {
		return f.cause
	}
	return nil
}

func isKind(kinds ...errorfs.OpKind) func(errorfs.Op) bool {
	return func(op errorfs.Op) bool {
		for _, k := range kinds {
			if op.Kind == k {
				return true
			}
		}
		return false
	}
}

func onLog(ok func(errorfs.Op) bool) func(errorfs.Op) bool {
	return func(op errorfs.Op) bool { return strings.HasSuffix(op.Path, ".log") && ok(op) }
}

func onManifest(ok func(errorfs.Op) bool) func(errorfs.Op) bool {
	return func(op errorfs.Op) bool { return strings.Contains(op.Path, "MANIFEST") && ok(op) }
}

// After a write or sync fails, the engine must not pretend: what was asked for
// is uncertain, whatever comes later is refused, reading goes on, and what was
// acknowledged is there when the directory is opened again.
func TestFailedWrites(t *testing.T) {
	sync := isKind(errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo)
	write := isKind(errorfs.OpFileWrite, errorfs.OpFileWriteAt)
	create := isKind(errorfs.OpCreate, errorfs.OpReuseForWrite)
	cases := []struct {
		name  string
		fails func(errorfs.Op) bool
		cause error
		then  error // what later calls get
	}{
		{"log write", onLog(write), errors.New("input/output error"), driver.ErrUnavailable},
		{"log sync", onLog(sync), errors.New("input/output error"), driver.ErrUnavailable},
		{"log write, disk full", onLog(write), syscall.ENOSPC, driver.ErrFull},
		{"log sync, disk full", onLog(sync), syscall.ENOSPC, driver.ErrFull},
		{"new log", onLog(create), syscall.ENOSPC, driver.ErrFull},
		{"directory sync", func(op errorfs.Op) bool { return sync(op) && strings.HasSuffix(op.Path, storeName) }, syscall.EIO, driver.ErrUnavailable},
		{"manifest write", onManifest(write), syscall.ENOSPC, driver.ErrFull},
		{"manifest sync", onManifest(sync), errors.New("input/output error"), driver.ErrUnavailable},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			f := &faults{fails: c.fails, cause: c.cause}
			e := mustOpen(t, "db", settings{fs: errorfs.Wrap(mem, f), reserve: 1, memory: 1 << 20})
			var ids []string
			for i := range 10 {
				ids = append(ids, publish(t, e, "a", bodies(i, 1)...)...)
			}
			f.armed.Store(true)
			more, first := publishUntilError(t, e)
			ids = append(ids, more...)
			if !errors.Is(first, driver.ErrUncertain) && !errors.Is(first, c.then) {
				t.Errorf("the first error is %v", first)
			}
			if errors.Is(first, driver.ErrUncertain) && errors.Is(first, driver.ErrFull) {
				t.Errorf("uncertain and certain: %v", first)
			}
			_, err := e.Append(t.Context(), "a", bodies(0, 1))
			if !errors.Is(err, c.then) || !strings.Contains(err.Error(), c.cause.Error()) {
				t.Errorf("later calls get %v, want %v", err, c.then)
			}
			if err := e.Ping(t.Context()); !errors.Is(err, c.then) {
				t.Errorf("ping: %v, want %v", err, c.then)
			}
			checkTopic(t, e, ids)
			f.armed.Store(false)
			left := mem.CrashClone(vfs.CrashCloneCfg{})
			closeFailed(t, e)

			again := open(t, "db", settings{fs: left, reserve: 1})
			checkTopic(t, again, ids)
		})
	}
}

func publishUntilError(t *testing.T, e *engine) (ids []string, first error) {
	t.Helper()
	for range 3000 {
		m := driver.Message{Body: make([]byte, 4096)}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		id, err := e.Append(ctx, "a", []driver.Message{m})
		cancel()
		if err != nil {
			return ids, err
		}
		ids = append(ids, id...)
	}
	t.Fatal("nothing failed")
	return nil, nil
}

// checkTopic checks that the topic begins with the messages acknowledged.
func checkTopic(t *testing.T, e *engine, ids []string) {
	t.Helper()
	all := readAll(t, e, "a")
	if len(all) < len(ids) {
		t.Fatalf("%d messages are there, but %d were acknowledged", len(all), len(ids))
	}
	for i, id := range ids {
		if all[i].ID != id {
			t.Fatalf("message %d is %s, want %s", i, all[i].ID, id)
		}
	}
}

func closeFailed(t *testing.T, e *engine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	start := time.Now()
	err := e.Close(ctx)
	if err == nil {
		t.Error("closing an engine that failed returned no error")
	}
	t.Logf("close took %v: %v", time.Since(start), err)
}

// A disk that fills up stops publishers in time, and they go on once there is
// room again.
func TestReserve(t *testing.T) {
	mem := vfs.NewMem()
	clock := newClock()
	e := open(t, "db", settings{fs: mem, reserve: 100 << 20, now: clock.now})
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 200 << 20})
	ids := publish(t, e, "a", bodies(0, 1)...)
	join(t, e, "a", "s", driver.JoinConfig{})
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 99 << 20})
	clock.at = clock.at.Add(time.Second)
	if _, err := e.Append(t.Context(), "a", bodies(1, 1)); !errors.Is(err, driver.ErrFull) || !strings.Contains(err.Error(), "99 MiB") {
		t.Errorf("append to a full disk: %v", err)
	}
	fetch(t, e, "a", "s", "c", 1)
	settle(t, e, "a", "s", "c", driver.Settlement{ID: ids[0], Do: driver.Acknowledge})
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 300 << 20})
	clock.at = clock.at.Add(time.Second)
	publish(t, e, "a", bodies(1, 1)...)
	if got := text(read(t, e, "a", driver.Position{}, 10).Messages); got != "0 1 " {
		t.Errorf("stored: %q", got)
	}
}
