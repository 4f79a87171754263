package ondisk

import (
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// watchedFS is a file system that tells of every sync before it is done, be it of
// a file or of a directory.
type watchedFS struct {
	vfs.FS
	// onSync is called with the path and whether it is a directory.
	onSync func(path string, dir bool)
	// plant is what is wrong with this disk; nil for nothing.
	plant *plant
}

// plant is a fault of a disk: it says that it has synced certain files, but has
// not.
type plant struct {
	name string
	lies func(path string, dir bool) bool
	// late has the sync done after all, a moment later.
	late time.Duration

	running sync.WaitGroup
}

// sync does a sync, or what the plant makes of it.
func (w *watchedFS) sync(path string, dir bool, do func() error) error {
	w.onSync(path, dir)
	p := w.plant
	if p == nil || !p.lies(path, dir) {
		return do()
	}
	if p.late > 0 {
		p.running.Go(func() {
			time.Sleep(p.late)
			_ = do()
		})
	}
	return nil
}

func (w *watchedFS) file(path string, dir bool, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return f, err
	}
	return &watchedFile{File: f, fs: w, path: path, dir: dir}, nil
}

func (w *watchedFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := w.FS.Create(name, c)
	return w.file(name, false, f, err)
}

func (w *watchedFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := w.FS.OpenReadWrite(name, c, opts...)
	return w.file(name, false, f, err)
}

func (w *watchedFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := w.FS.ReuseForWrite(old, name, c)
	return w.file(name, false, f, err)
}

func (w *watchedFS) OpenDir(name string) (vfs.File, error) {
	f, err := w.FS.OpenDir(name)
	return w.file(name, true, f, err)
}

type watchedFile struct {
	vfs.File
	fs   *watchedFS
	path string
	dir  bool

	mu     sync.Mutex // against a late sync
	closed bool
}

func (f *watchedFile) Sync() error     { return f.fs.sync(f.path, f.dir, f.unlessClosed) }
func (f *watchedFile) SyncData() error { return f.fs.sync(f.path, f.dir, f.unlessClosed) }

func (f *watchedFile) unlessClosed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	return f.File.Sync()
}

func (f *watchedFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return f.File.Close()
}

// The parts of what was not synced that a crash may leave.
var leftovers = map[string]func(*rand.Rand) int{
	"all": func(*rand.Rand) int { return 100 }, "none": func(*rand.Rand) int { return 0 },
	"some": func(r *rand.Rand) int { return 1 + r.IntN(99) },
}

// cloneAfterCrash is what a crash at this moment leaves.
func cloneAfterCrash(files *vfs.MemFS, left string, seed uint64) *vfs.MemFS {
	random := rand.New(rand.NewPCG(seed, 7))
	return files.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: leftovers[left](random), RNG: random})
}

// fileKind is what kind of file a path is of.
func fileKind(path string, dir bool) string {
	base := path[strings.LastIndexByte(path, '/')+1:]
	switch {
	case dir:
		return "directory"
	case strings.HasSuffix(base, ".log"):
		return "log"
	case strings.HasSuffix(base, ".sst"):
		return "table"
	}
	return strings.TrimRight(strings.SplitN(base, ".", 2)[0], "-0123456789")
}
