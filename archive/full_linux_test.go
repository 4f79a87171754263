package archive

import (
	"errors"
	"strings"
	"syscall"
	"testing"
)

// TestARealDiskThatIsFull has a small file system, where that may be made: full,
// then read-only, then with room.
func TestARealDiskThatIsFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=100k"); err != nil {
		t.Skipf("no file system can be made here: %v", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	remount := func(flags uintptr, options string) {
		t.Helper()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|flags, options); err != nil {
			t.Fatal(err)
		}
	}
	bus := openModel(t)
	const published = 1000
	ids := publish(t, bus, 0, published)
	o := Options{MaxSize: 30_000, batch: 100}
	for _, c := range []struct {
		name    string
		prepare func()
		want    error
	}{
		{"full", func() {}, syscall.ENOSPC},
		{"still full", func() {}, syscall.ENOSPC},
		{"read-only", func() { remount(syscall.MS_RDONLY, "size=100k") }, syscall.EROFS},
		{"with room", func() { remount(0, "size=2m") }, nil},
	} {
		c.prepare()
		err := untilEnd(t, bus, dir, o)
		if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), dir) {
			t.Fatalf("%s: %v; want %v and the directory's name", c.name, err, c.want)
		}
		lag, pending := state(t, bus)
		if written := len(readAll(t, dir)); written < published-int(lag+pending) {
			t.Errorf("%s: %d are acknowledged, %d written", c.name, published-int(lag+pending), written)
		}
	}
	lost, repeated := compare(t, bus, dir)
	if lost != 0 || repeated > 2*o.batch {
		t.Errorf("of %d, %d are lost and %d repeated", len(ids), lost, repeated)
	}
}
