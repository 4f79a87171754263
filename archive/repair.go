package archive

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
)

// openDir takes a directory, and repairs what a crash has left in it.
func openDir(dir, topic string, o Options, log *slog.Logger) (_ *files, err error) {
	if err := makeDir(dir, o.disk); err != nil {
		return nil, err
	}
	locked, err := lock(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			locked.Close()
		}
	}()
	f := &files{dir: dir, topic: topic, options: o, disk: o.disk, log: log, lock: locked}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var parts []name
	for _, e := range entries {
		n, ok := parseName(topic, e.Name())
		if !ok {
			continue
		}
		f.number = max(f.number, n.number)
		if n.part {
			parts = append(parts, n)
		}
	}
	slices.SortFunc(parts, func(a, b name) int { return int(a.number - b.number) })
	// Writing goes on in the newest; there should be no others.
	for i, n := range parts {
		if err := f.reopen(n); err != nil {
			return nil, fmt.Errorf("repairing %s: %w", n, err)
		}
		if f.open != nil && (i < len(parts)-1 || n.gzip != o.Gzip || f.open.size >= o.MaxSize) {
			if err := f.complete(); err != nil {
				f.drop()
				return nil, err
			}
		}
	}
	return f, nil
}

// makeDir makes a directory, durably.
func makeDir(dir string, d *disk) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	var parents []string
	for missing := filepath.Clean(dir); ; missing = filepath.Dir(missing) {
		if _, err := os.Stat(missing); err == nil || missing == filepath.Dir(missing) {
			break
		}
		parents = append(parents, filepath.Dir(missing))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, parent := range parents {
		if err := d.syncDir(parent); err != nil {
			return err
		}
	}
	return nil
}

// reopen opens a file that was being written to when its writer ended. What is
// torn is cut off.
func (f *files) reopen(n name) (err error) {
	opened, err := os.OpenFile(f.path(n), os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	f.open = &file{File: opened, name: n}
	defer func() {
		if err != nil && f.open != nil {
			opened.Close()
			f.open = nil
		}
	}()
	info, err := opened.Stat()
	if err != nil {
		return err
	}
	whole, cut := wholeLines, "torn line"
	if n.gzip {
		whole, cut = wholeMembers, "torn gzip member"
	}
	size, torn, err := whole(opened)
	if err != nil {
		return err
	}
	if size < info.Size() {
		f.log.Warn("archive: the end of a file is cut off, since a crash has torn it; its messages were not acknowledged, and are delivered again", "file", n.String(), "bytes", info.Size()-size)
		if !torn {
			err = f.keepDamaged(n, opened, size)
		}
		if err == nil {
			err = opened.Truncate(size)
		}
		if err != nil {
			return fmt.Errorf("cutting off a %s: %w", cut, err)
		}
	}
	if size == 0 {
		err = errors.Join(opened.Close(), os.Remove(f.path(n)))
		f.open, f.newName = nil, true
		return err
	}
	f.open.since, f.open.size = info.ModTime(), size
	// It was written; whether it is on disk nobody knows.
	return f.sync()
}

// keepDamaged keeps what is about to be cut off in a file beside: a torn end is
// what a crash leaves, but this looks like damage.
func (f *files) keepDamaged(n name, from *os.File, offset int64) error {
	n.part = false
	beside := f.path(n) + ".damaged"
	to, err := os.OpenFile(beside, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer to.Close()
	if _, err := from.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	f.log.Error("archive: what was cut off does not look like what a crash leaves; it is kept", "file", beside)
	f.newName = true
	return to.Sync()
}

// wholeLines finds how much of a file is whole lines, and whether what is behind
// them is only the beginning of another, or nothing was ever written there.
func wholeLines(f *os.File) (size int64, torn bool, err error) {
	r := bufio.NewReaderSize(io.NewSectionReader(f, 0, 1<<62), 1<<20)
	for {
		line, err := r.ReadBytes('\n')
		if err == io.EOF {
			return size, true, nil
		}
		if err != nil {
			return size, false, err
		}
		if line[0] != '{' || !json.Valid(line) {
			rest, err := io.ReadAll(io.LimitReader(r, 1<<20))
			empty := len(bytes.Trim(line, "\x00")) <= 1 && len(bytes.Trim(rest, "\x00")) == 0
			return size, empty, err
		}
		size += int64(len(line))
	}
}

// wholeMembers is wholeLines for gzip members.
func wholeMembers(f *os.File) (size int64, torn bool, err error) {
	r := &counting{r: bufio.NewReaderSize(io.NewSectionReader(f, 0, 1<<62), 1<<20)}
	var member *gzip.Reader
	for {
		if member == nil {
			member, err = gzip.NewReader(r)
		} else {
			err = member.Reset(r)
		}
		if err == nil {
			member.Multistream(false)
			_, err = io.Copy(io.Discard, member)
		}
		switch {
		case err == nil:
			size = r.n
		case err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF):
			return size, true, nil
		case errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || isCorrupt(err):
			torn, err := endsEmpty(f)
			return size, torn, err
		default:
			return size, false, err
		}
	}
}

// endsEmpty reports whether a file has its size already and not its content, as a
// loss of power may leave it. No gzip member ends so.
func endsEmpty(f *os.File) (bool, error) {
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	end := make([]byte, min(info.Size(), 16))
	_, err = f.ReadAt(end, info.Size()-int64(len(end)))
	return len(bytes.Trim(end, "\x00")) == 0, err
}

func isCorrupt(err error) bool {
	var corrupt flate.CorruptInputError
	return errors.As(err, &corrupt)
}

// counting counts the bytes that are read one by one, so that a decompressor
// takes none too many.
type counting struct {
	r *bufio.Reader
	n int64
}

func (c *counting) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
