package ondisk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/beckmq/beck/internal/driver"
)

// failing is a disk on which some operations fail, after so many that don't, for
// so many.
type failing struct {
	armed        atomic.Bool
	kind         string // of file
	fails        func(errorfs.Op) bool
	cause        error
	after, times int64
	met, hit     atomic.Int64
}

func (f *failing) String() string { return "failing" }

func (f *failing) MaybeError(op errorfs.Op) error {
	if !f.armed.Load() || !f.fails(op) {
		return nil
	}
	dir := f.kind == "directory" && fs.ValidPath(op.Path) && op.Path == "db/store"
	if f.kind != "" && fileKind(op.Path, dir) != f.kind {
		return nil
	}
	if n := f.met.Add(1); n <= f.after || n > f.after+f.times {
		return nil
	}
	f.hit.Add(1)
	return &fs.PathError{Op: "test", Path: op.Path, Err: f.cause}
}

var (
	creating = isKind(errorfs.OpCreate, errorfs.OpReuseForWrite)
	writing  = isKind(errorfs.OpFileWrite, errorfs.OpFileWriteAt)
	syncing  = isKind(errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo)
	reading  = isKind(errorfs.OpFileRead, errorfs.OpFileReadAt, errorfs.OpOpen)
	removing = isKind(errorfs.OpRemove)
)

const always = 1 << 40

// TestTortureErrors has a disk fail in one way while everything is done at once.
// Callers get documented errors; what was answered stays, at syncs from then
// on too; and the engine goes on, or refuses until it is opened again.
func TestTortureErrors(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name  string
		kind  string
		fails func(errorfs.Op) bool
		// ends says that nothing is written after the first failure.
		ends bool
	}{
		{"creating a log", "log", creating, true},
		{"writing to the log", "log", writing, true},
		{"syncing the log", "log", syncing, true},
		{"syncing the directory", "directory", syncing, true},
		{"creating a table", "table", creating, false},
		{"writing a table", "table", writing, false},
		{"syncing a table", "table", syncing, false},
		{"reading a table", "table", reading, false},
		{"removing a table", "table", removing, false},
		{"writing the manifest", "MANIFEST", writing, true},
		{"syncing the manifest", "MANIFEST", syncing, true},
	}
	for n, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			long := torture(t)
			if long == 0 && n%2 == 0 {
				t.Skip("left to the long form, see torture")
			}
			for end := time.Now().Add(long / time.Duration(len(cases))); ; {
				cause := []error{syscall.EIO, syscall.ENOSPC}[n/2%2]
				times := []int64{1, always}[n/4%2]
				failWhileWorking(t, &failing{kind: c.kind, fails: c.fails, cause: cause, times: times}, c.ends)
				n++
				if t.Failed() || !time.Now().Before(end) {
					return
				}
			}
		})
	}
}

func failWhileWorking(t *testing.T, f *failing, ends bool) {
	t.Helper()
	seed := rand.Uint64() >> 40
	w := newWorld(t, seed)
	w.sparing, w.pace = 10, 10*time.Millisecond
	f.after = int64(w.random.IntN(4))
	what := fmt.Sprintf("%v, %d times after %d", f.cause, f.times, f.after)
	r := w.start(vfs.NewCrashableMem(), f)
	r.work()
	r.runFor(5)
	f.armed.Store(true)
	for n := range 3000 { // three seconds at least
		if n%20 == 0 && f.hit.Load() == 0 && w.real.failed() == nil {
			_, _ = w.real.db.AsyncFlush() // so that all sorts of files are written
		}
		if f.hit.Load() > 0 && (!ends || w.real.failed() != nil) || w.failed() {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if f.hit.Load() == 0 {
		t.Errorf("seed %d: %s: nothing failed", seed, what)
	}
	time.Sleep(5 * time.Millisecond)
	if ends {
		checkRefuses(t, w.real, f.cause)
		f.armed.Store(false)
		checkRefuses(t, w.real, f.cause) // though the disk is well
	} else {
		f.armed.Store(false)
		checkGoesOn(t, w.real)
	}
	files := r.crash([]string{"none", "all"}[w.random.IntN(2)])
	r = w.start(files, nil)
	r.work()
	r.runFor(5)
	r.crash("none")
	for _, wrong := range w.end() {
		t.Errorf("%s: %s", what, wrong)
	}
}

// checkRefuses makes sure that an engine which could not write refuses changes with
// the error that is documented, and can be read from.
func checkRefuses(t *testing.T, e *engine, cause error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), opTime)
	defer cancel()
	want := driver.ErrUnavailable
	if cause == syscall.ENOSPC {
		want = driver.ErrFull
	}
	_, err := e.Append(ctx, "fresh", bodies(0, 1))
	if !errors.Is(err, want) || errors.Is(err, driver.ErrUncertain) {
		t.Errorf("append: %v, want %v", err, want)
	}
	if err := e.Ping(ctx); !errors.Is(err, want) {
		t.Errorf("ping: %v, want %v", err, want)
	}
	if _, err := readWhole(ctx, e, "feed"); err != nil {
		t.Errorf("read: %v", err)
	}
}

// checkGoesOn makes sure that an engine which could write all the same, or again,
// takes messages and delivers them.
func checkGoesOn(t *testing.T, e *engine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), opTime)
	defer cancel()
	if _, err := e.Join(ctx, "fresh", "s", driver.JoinConfig{}); err != nil {
		t.Errorf("join: %v", err)
		return
	}
	for i := range 15 {
		m := driver.Message{Body: append(make([]byte, 20_000), byte(i))} // several memtables
		ids, err := e.Append(ctx, "fresh", []driver.Message{m})
		if err != nil {
			t.Errorf("append: %v", err)
			return
		}
		f, err := e.Fetch(ctx, "fresh", "s", driver.FetchRequest{Consumer: "c", Max: 10})
		if err != nil || len(f.Messages) != 1 || f.Messages[0].ID != ids[0] {
			t.Errorf("fetched %v, %v, want %v", f.Messages, err, ids)
			return
		}
		if not, err := e.Settle(ctx, "fresh", "s", "c", each(driver.Acknowledge, ids...)); err != nil || len(not) > 0 {
			t.Errorf("settle: %v, %v", not, err)
			return
		}
	}
}
