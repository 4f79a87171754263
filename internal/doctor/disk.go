package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beckmq/beck"
)

// Of a disk, how much is kept free by the disk engine, which refuses messages when
// there is less, and from when on that is near.
const (
	diskReserve = 128 << 20
	diskNear    = 1 << 30
)

// syncs is how many are measured.
const syncs = 7

// Disk looks at the directory of the disk engine, which may be in use.
func Disk(dir string) (*Report, error) {
	r := &Report{At: "disk:" + dir, Kind: "disk"}
	about, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", beck.ErrOption, err)
	}
	if !about.IsDir() {
		return nil, fmt.Errorf("%w: %s is no directory", beck.ErrOption, dir)
	}
	if usage, err := vfs.Default.GetDiskUsage(dir); err != nil {
		r.add("", unknown("space", "", "this file system doesn't tell: %v", err))
	} else {
		r.add("", judgeSpace(int64(usage.AvailBytes)))
	}
	r.add("", judgeSync(dir))
	r.count()
	return r, nil
}

func judgeSpace(free int64) Finding {
	const check = "space"
	const mend = "make room, or remove old messages: beck delete TOPIC --before -24h"
	switch {
	case free < diskReserve:
		return danger(check, mend, "%s are free, less than the %s that are kept free: messages are refused now", size(free), size(diskReserve))
	case free < diskNear:
		return warn(check, mend, "%s are free; below %s messages are refused", size(free), size(diskReserve))
	}
	return ok(check, "%s are free", size(free))
}

// judgeSync writes and syncs a small file, beside the data, and removes it.
func judgeSync(dir string) Finding {
	const check = "sync"
	f, err := os.CreateTemp(dir, "doctor-*.tmp")
	if err != nil {
		return danger(check, "let this user write to "+filepath.Clean(dir), "nothing can be written: %v", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var took []time.Duration
	for range syncs {
		began := time.Now()
		if _, err = f.Write(make([]byte, 512)); err == nil {
			err = f.Sync()
		}
		if err != nil {
			return danger(check, "see the log of the system; make room", "a write was not synced: %v", err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	median := took[len(took)/2]
	switch {
	case median > 50*time.Millisecond:
		return warn(check, "use a faster disk, or publish in batches", "%s: a publish takes at least that long", median.Round(time.Millisecond))
	case median < 50*time.Microsecond:
		return warn(check, "put the data on a disk of the machine, not on tmpfs or a file system that doesn't sync",
			"%s: too fast for a disk; a crash of the machine may lose messages", median.Round(time.Microsecond))
	}
	return ok(check, "%s: what was published is on disk", median.Round(10*time.Microsecond))
}
