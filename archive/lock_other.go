//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package archive

import (
	"fmt"
	"os"
	"runtime"

	"github.com/beckmq/beck"
)

// lock refuses, since two archivers in one directory would spoil each other's
// files.
func lock(dir string) (*os.File, error) {
	return nil, fmt.Errorf("%s: %w: files can't be locked on %s", dir, beck.ErrOption, runtime.GOOS)
}
