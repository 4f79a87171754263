package ondisk

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beckmq/beck/internal/driver"
)

// smallDisk is a disk on which there is room for so many bytes.
type smallDisk struct {
	vfs.FS
	room uint64
}

func (d smallDisk) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	var used uint64
	err := filepath.WalkDir(path, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil // a file that was just removed
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			used += uint64(info.Size())
		}
		return nil
	})
	return vfs.DiskUsage{AvailBytes: d.room - min(used, d.room)}, err
}

func TestTrimmingMakesRoomOnAFullDisk(t *testing.T) {
	e := open(t, t.TempDir(), settings{fs: smallDisk{vfs.Default, 60 << 20}, reserve: 10 << 20, memory: 4 << 20})
	body := make([]byte, 1<<20)
	for i := range body {
		body[i] = byte(i * i >> 7)
	}
	var err error
	for range 200 {
		if _, err = e.Append(t.Context(), "orders", []driver.Message{{Body: body}}); err != nil {
			break
		}
	}
	if !errors.Is(err, driver.ErrFull) {
		t.Fatalf("200 MiB on a disk of 60 MiB: %v, want ErrFull", err)
	}
	if _, err := e.Trim(t.Context(), "orders", driver.Position{Kind: driver.End}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		_, err := e.Append(t.Context(), "orders", []driver.Message{{Body: body}})
		if err == nil {
			break
		}
		if !errors.Is(err, driver.ErrFull) || time.Now().After(end) {
			t.Fatalf("after everything was trimmed: %v", err)
		}
	}
}
