package archive

import (
	"os"
)

// disk is what is done to files that can fail. Tests have it fail.
type disk struct {
	create  func(path string) (*os.File, error)
	write   func(f *os.File, b []byte) (int, error)
	sync    func(f *os.File) error
	rename  func(from, to string) error
	syncDir func(dir string) error
}

func realDisk() *disk {
	return &disk{
		create: func(path string) (*os.File, error) {
			return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o644)
		},
		write:   (*os.File).Write,
		sync:    (*os.File).Sync,
		rename:  os.Rename,
		syncDir: syncDir,
	}
}

// syncDir makes what was created and renamed in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
