package ondisk

import (
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beckmq/beck/internal/driver"
)

// reserve is how much of the disk is left free: publishers are refused while it
// is whole, so that what follows from their messages (deliveries, settlements,
// Pebble's own work of rewriting tables) still has room. A disk that is really
// full would stop the engine for good.
const reserve = 128 << 20

// How often the free space is looked up.
const (
	roomInterval = 100 * time.Millisecond
	roomBytes    = 16 << 20
)

var errNoRoom = errors.New("no space left on device")

// room knows whether there is space on the disk. It belongs to the committer.
type room struct {
	fs      vfs.FS
	dir     string
	reserve uint64
	now     func() time.Time

	looked  time.Time
	written int
	free    uint64
}

// check refuses what would use up the reserve.
func (r *room) check(size int) error {
	if !r.look(size) || r.free >= r.reserve+uint64(r.written) {
		return nil
	}
	return fmt.Errorf("%w: the disk of %s has %d MiB left, and %d MiB are kept free for work in progress; make room or trim topics",
		driver.ErrFull, r.dir, r.free>>20, r.reserve>>20)
}

// tight reports whether publishers are refused now, or soon may be.
func (r *room) tight() bool { return r.look(0) && r.free < 2*r.reserve+uint64(r.written) }

// look finds out how much is free, now and then, and reports whether that is
// known: some file systems can't tell. Then a full disk shows when writing fails.
func (r *room) look(size int) bool {
	now := r.now()
	r.written += size
	if r.written >= roomBytes || now.Sub(r.looked) >= roomInterval || now.Before(r.looked) {
		usage, err := r.fs.GetDiskUsage(r.dir)
		if err != nil {
			return false
		}
		r.looked, r.written, r.free = now, size, usage.AvailBytes
	}
	return true
}
