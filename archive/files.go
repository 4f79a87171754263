package archive

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/wire"
)

// chunk is about how much is compressed or written at a time.
const chunk = 256 << 10

// files are those of one topic in one directory, of which one is written to.
type files struct {
	dir, topic string
	options    Options
	disk       *disk
	log        *slog.Logger
	lock       *os.File
	number     int64 // of the newest file

	open    *file
	pending []byte // lines to be written to the open file
	packed  bytes.Buffer
	packer  *gzip.Writer
	// newName says that the directory has to be synced.
	newName bool
}

// file is the one that is written to.
type file struct {
	*os.File
	name   name
	since  time.Time // its first message
	size   int64     // what was written
	synced int64     // what is on disk
}

func (f *files) path(n name) string { return filepath.Join(f.dir, n.String()) }

// write writes messages, and returns once they are on disk. After an error, the
// open file is as it was before.
func (f *files) write(messages []*beck.Message) error {
	err := f.writeAll(messages)
	if err == nil {
		err = f.sync()
	}
	if err != nil {
		f.undo()
	}
	return err
}

func (f *files) writeAll(messages []*beck.Message) error {
	for _, m := range messages {
		if f.open == nil {
			if err := f.create(m.ID); err != nil {
				return err
			}
		}
		before := len(f.pending)
		f.pending = append(wire.AppendMessage(f.pending, m), '\n')
		if !f.options.Gzip && f.open.size+int64(len(f.pending)) > f.options.MaxSize && f.open.size+int64(before) > 0 {
			// The message belongs in the next file.
			line := bytes.Clone(f.pending[before:])
			f.pending = f.pending[:before]
			if err := f.complete(); err != nil {
				return err
			}
			if err := f.create(m.ID); err != nil {
				return err
			}
			f.pending = append(f.pending, line...)
		}
		if len(f.pending) < chunk {
			continue
		}
		if err := f.flush(); err != nil {
			return err
		}
		if f.open.size >= f.options.MaxSize {
			if err := f.complete(); err != nil {
				return err
			}
		}
	}
	if err := f.flush(); err != nil {
		return err
	}
	if f.open != nil && f.open.size >= f.options.MaxSize {
		return f.complete()
	}
	return nil
}

// create begins a file.
func (f *files) create(id string) error {
	n := name{topic: f.topic, number: f.number + 1, id: id, gzip: f.options.Gzip, part: true}
	made, err := f.disk.create(f.path(n))
	if err != nil {
		return fmt.Errorf("creating a file: %w", err)
	}
	f.number++
	f.open = &file{File: made, name: n, since: time.Now()}
	f.newName = true
	return nil
}

// flush writes the pending lines to the open file.
func (f *files) flush() error {
	if len(f.pending) == 0 {
		return nil
	}
	b := f.pending
	if f.options.Gzip {
		f.packed.Reset()
		if f.packer == nil {
			f.packer = gzip.NewWriter(&f.packed)
		} else {
			f.packer.Reset(&f.packed)
		}
		if _, err := f.packer.Write(b); err != nil {
			return err
		}
		if err := f.packer.Close(); err != nil {
			return err
		}
		b = f.packed.Bytes()
	}
	n, err := f.disk.write(f.open.File, b)
	f.open.size += int64(n)
	if err != nil {
		return fmt.Errorf("writing to a file: %w", err)
	}
	f.pending = f.pending[:0]
	return nil
}

// sync returns once all that was written is on disk.
func (f *files) sync() error {
	if f.open != nil && f.open.synced < f.open.size {
		if err := f.disk.sync(f.open.File); err != nil {
			return fmt.Errorf("syncing a file: %w", err)
		}
		f.open.synced = f.open.size
	}
	if f.newName {
		if err := f.disk.syncDir(f.dir); err != nil {
			return fmt.Errorf("syncing the directory: %w", err)
		}
		f.newName = false
	}
	return nil
}

// complete ends the open file and gives it its name.
func (f *files) complete() error {
	if err := f.flush(); err != nil {
		return err
	}
	if err := f.sync(); err != nil {
		return err
	}
	whole := f.open.name
	whole.part = false
	if err := f.disk.rename(f.path(f.open.name), f.path(whole)); err != nil {
		return fmt.Errorf("naming a file: %w", err)
	}
	f.newName = true
	done := f.open
	f.open = nil
	if err := done.Close(); err != nil {
		return fmt.Errorf("closing a file: %w", err)
	}
	f.log.Info("archive: a file is complete", "file", whole.String(), "bytes", done.size)
	return f.sync()
}

// undo takes back what is not known to be on disk, as far as that is possible.
func (f *files) undo() {
	f.pending = f.pending[:0]
	if f.open == nil || f.open.size == f.open.synced && f.open.size > 0 {
		return
	}
	var err error
	if f.open.synced == 0 {
		err = errors.Join(f.open.Close(), os.Remove(f.path(f.open.name)))
		f.open = nil
	} else if err = f.open.Truncate(f.open.synced); err == nil {
		f.open.size = f.open.synced
	}
	if err != nil {
		f.log.Warn("archive: taking back what could not be written failed; messages may be in the files twice", "error", err)
	}
}

// completeOld completes the open file if it is old enough.
func (f *files) completeOld() error {
	if left, open := f.timeLeft(); open && left <= 0 {
		return f.complete()
	}
	return nil
}

// timeLeft is the time until the open file, if there is one, is old enough.
func (f *files) timeLeft() (left time.Duration, open bool) {
	if f.open == nil {
		return 0, false
	}
	return time.Until(f.open.since.Add(f.options.MaxAge)), true
}

// close ends writing, and completes the open file if all went well.
func (f *files) close(well bool) (err error) {
	if f.open != nil && well {
		err = f.complete()
	}
	return errors.Join(err, f.drop(), f.lock.Close())
}

// drop closes the open file as it is.
func (f *files) drop() error {
	if f.open == nil {
		return nil
	}
	err := f.open.Close()
	f.open = nil
	return err
}
