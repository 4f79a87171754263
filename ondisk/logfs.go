package ondisk

import (
	"io/fs"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// logFS is the file system under Pebble, which keeps failures of the log and of the
// manifest to itself.
//
// Pebble ends the process when it can't write, sync or create a log file, and
// that is not for a library to do; and it hangs for good if it can't write its
// manifest. So Pebble never gets to know: the engine is marked as failed, and from
// then on log and manifest take what they are given and drop it. Since the mark is
// set before Pebble goes on, and the finisher looks at it before it answers,
// nothing is acknowledged that the disk does not hold. And since nothing is
// written to them behind a hole, opening it again finds both whole up to where
// they end.
//
// The same goes for syncs of the directory, which they share with all else: a
// manifest that named a table whose place in the directory was never synced could
// not be opened after a crash. Other files fail openly. No file is removed, and no
// log used again, after a failure, so that whatever was not really synced can
// still be had from those that came before.
type logFS struct {
	vfs.FS
	dir  string // where the log and the manifest are
	fail func(error)
	dead *atomic.Bool // they take nothing any more
}

func newLogFS(fs vfs.FS, dir string, fail func(error)) *logFS {
	return &logFS{FS: fs, dir: dir, fail: fail, dead: &atomic.Bool{}}
}

// survived notes a failure and says whether there was none.
func (l *logFS) survived(err error) bool {
	if err != nil {
		l.dead.Store(true)
		l.fail(err)
	}
	return !l.dead.Load()
}

// isLog tells the files whose failures Pebble does not get to know.
func (l *logFS) isLog(name string) bool {
	return (strings.HasSuffix(name, ".log") || strings.HasPrefix(l.FS.PathBase(name), "MANIFEST-")) && l.FS.PathDir(name) == l.dir
}

// isMarker tells the files whose names say what counts, above all which manifest.
// Pebble makes and removes them without a sync of the directory between that and
// the making of what they name, and a file system may keep such changes in any
// order. So the directory is synced before each of them.
func (l *logFS) isMarker(name string) bool {
	return strings.HasPrefix(l.FS.PathBase(name), "marker.") && l.FS.PathDir(name) == l.dir
}

// Create makes a log file or manifest, or any other.
func (l *logFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if l.isMarker(name) && !l.survived(syncDir(l.FS, l.dir)) {
		return vfs.NewMemFile(nil), nil
	}
	if !l.isLog(name) {
		return l.FS.Create(name, c)
	}
	if l.dead.Load() {
		return l.file(name, nil, nil), nil
	}
	f, err := l.FS.Create(name, c)
	return l.file(name, f, err), nil
}

// ReuseForWrite makes a log file of an old one.
func (l *logFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if !l.isLog(newname) {
		return l.FS.ReuseForWrite(oldname, newname, c)
	}
	if l.dead.Load() {
		return l.file(newname, nil, nil), nil
	}
	f, err := l.FS.ReuseForWrite(oldname, newname, c)
	return l.file(newname, f, err), nil
}

// OpenDir opens the directory, in order to sync it, or any other.
func (l *logFS) OpenDir(name string) (vfs.File, error) {
	f, err := l.FS.OpenDir(name)
	if err != nil || name != l.dir {
		return f, err
	}
	return l.file(name, f, nil), nil
}

// Remove removes a file, unless there was a failure.
func (l *logFS) Remove(name string) error {
	if l.dead.Load() || l.isMarker(name) && !l.survived(syncDir(l.FS, l.dir)) {
		return nil
	}
	return l.FS.Remove(name)
}

func (l *logFS) file(name string, f vfs.File, err error) vfs.File {
	if !l.survived(err) && f == nil {
		f = vfs.NewMemFile(nil)
	}
	return &logFile{File: f, fs: l, name: l.FS.PathBase(name)}
}

// logFile is a file that takes what it is given and drops it once the log is
// dead.
type logFile struct {
	vfs.File
	fs   *logFS
	name string
}

func (f *logFile) Write(p []byte) (int, error) {
	if !f.fs.dead.Load() {
		_, err := f.File.Write(p)
		f.fs.survived(err)
	}
	return len(p), nil
}

func (f *logFile) WriteAt(p []byte, offset int64) (int, error) {
	if !f.fs.dead.Load() {
		_, err := f.File.WriteAt(p, offset)
		f.fs.survived(err)
	}
	return len(p), nil
}

func (f *logFile) Preallocate(offset, length int64) error {
	return f.unlessDead(func() error { return f.File.Preallocate(offset, length) })
}

func (f *logFile) Sync() error { return f.unlessDead(f.File.Sync) }

func (f *logFile) SyncData() error { return f.unlessDead(f.File.SyncData) }

func (f *logFile) SyncTo(length int64) (fullSync bool, err error) {
	if f.fs.dead.Load() {
		return true, nil
	}
	fullSync, err = f.File.SyncTo(length)
	return f.fs.survived(err) && fullSync, nil
}

func (f *logFile) Close() error {
	f.fs.survived(f.File.Close())
	return nil
}

// Stat can't fail either: Pebble wants the size of a file it reuses.
func (f *logFile) Stat() (vfs.FileInfo, error) {
	info, err := f.File.Stat()
	if err != nil {
		return noInfo{name: f.name}, nil
	}
	return info, nil
}

func (f *logFile) unlessDead(do func() error) error {
	if !f.fs.dead.Load() {
		f.fs.survived(do())
	}
	return nil
}

// noInfo is about a file of which nothing is known.
type noInfo struct{ name string }

func (i noInfo) Name() string           { return i.name }
func (i noInfo) Size() int64            { return 0 }
func (i noInfo) Mode() fs.FileMode      { return 0 }
func (i noInfo) ModTime() time.Time     { return time.Time{} }
func (i noInfo) IsDir() bool            { return false }
func (i noInfo) Sys() any               { return nil }
func (i noInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
