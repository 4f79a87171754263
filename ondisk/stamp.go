package ondisk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beckmq/beck/internal/driver"
)

// The names in the directory.
const (
	stampName = "BECK"  // the version of the format
	markName  = "MARK"  // how many batches the store holds at least
	storeName = "store" // Pebble's own directory
	newSuffix = ".new"  // of a file that is being written
)

const (
	stampPrefix   = "beck disk format "
	formatVersion = 1
)

// stampFiles are the two small files beside the store.
type stampFiles struct {
	fs  vfs.FS
	dir string
}

func (s stampFiles) path(name string) string { return s.fs.PathJoin(s.dir, name) }

// check makes sure that the directory is beck's and of a known version; an empty
// one becomes beck's.
func (s stampFiles) check() error {
	text, err := s.read(stampName)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := s.checkEmpty(); err != nil {
			return err
		}
		return s.write(stampName, stampPrefix+strconv.Itoa(formatVersion)+"\n")
	case err != nil:
		return s.problem(err)
	}
	digits, ok := strings.CutPrefix(strings.TrimSuffix(text, "\n"), stampPrefix)
	version, err := strconv.Atoi(digits)
	if !ok || err != nil {
		return fmt.Errorf("%w: %s holds %.60q, not the version of a beck directory", driver.ErrCorrupt, s.path(stampName), text)
	}
	if version != formatVersion {
		return fmt.Errorf("%w: %s says that the data has disk format %d, but this program knows format %d only",
			driver.ErrVersion, s.path(stampName), version, formatVersion)
	}
	return nil
}

func (s stampFiles) checkEmpty() error {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return s.problem(err)
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return name == stampName+newSuffix || name == "lost+found"
	})
	if slices.Contains(names, markName) || slices.Contains(names, storeName) {
		return fmt.Errorf("%w: %s holds a store, but its file %s is missing", driver.ErrCorrupt, s.dir, stampName)
	}
	if len(names) > 0 {
		return fmt.Errorf("%w: %s is no beck directory and not empty (it holds %s); give an empty or a new one",
			driver.ErrWrongType, s.dir, names[0])
	}
	return nil
}

// readMark returns how many batches the store must hold at least; known is false
// if it was never opened to the end.
func (s stampFiles) readMark() (commits uint64, known bool, err error) {
	text, err := s.read(markName)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, s.problem(err)
	}
	commits, err = strconv.ParseUint(strings.TrimSuffix(text, "\n"), 10, 64)
	if err != nil {
		return 0, false, fmt.Errorf("%w: %s holds %.60q, not a number", driver.ErrCorrupt, s.path(markName), text)
	}
	return commits, true, nil
}

func (s stampFiles) writeMark(commits uint64) error {
	return s.write(markName, strconv.FormatUint(commits, 10)+"\n")
}

func (s stampFiles) read(name string) (string, error) {
	f, err := s.fs.Open(s.path(name))
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 1024))
	return string(b), err
}

// write replaces a file as a whole: a crash leaves the old or the new one.
func (s stampFiles) write(name, text string) error {
	f, err := s.fs.Create(s.path(name)+newSuffix, vfs.WriteCategoryUnspecified)
	if err != nil {
		return s.problem(err)
	}
	_, err = f.Write([]byte(text))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = s.fs.Rename(s.path(name)+newSuffix, s.path(name))
	}
	if err == nil {
		err = syncDir(s.fs, s.dir)
	}
	return s.problem(err)
}

// makeDir makes a directory that only this user can enter, since messages are kept
// in it, and those above it as usual. One that exists is left as it is.
func makeDir(files vfs.FS, dir string) error { return makeDirMode(files, dir, 0o700) }

// makeDirMode makes a directory, and those above it, so that a crash leaves them.
func makeDirMode(files vfs.FS, dir string, mode fs.FileMode) error {
	info, err := files.Stat(dir)
	if err == nil && !info.IsDir() {
		return &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
	}
	parent := files.PathDir(dir)
	if err == nil || !errors.Is(err, fs.ErrNotExist) || parent == dir {
		return err
	}
	if err := makeDirMode(files, parent, 0o777); err != nil {
		return err
	}
	if err := files.MkdirAll(dir, mode); err != nil {
		return err
	}
	return syncDir(files, parent)
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// problem says what keeps the directory from being used.
func (s stampFiles) problem(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: the directory %s must be writable: %w", driver.ErrDenied, s.dir, err)
	case isFull(err):
		return fmt.Errorf("%w: %s: %w", driver.ErrFull, s.dir, err)
	}
	return fmt.Errorf("%w: %s: %w", driver.ErrUnavailable, s.dir, err)
}
