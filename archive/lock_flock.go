//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package archive

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/beckmq/beck"
)

// lock takes a directory for this process, until the file is closed.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("%s: %w: another archiver writes to it", dir, beck.ErrInUse)
	} else if err != nil {
		err = fmt.Errorf("locking %s: %w", f.Name(), err)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
