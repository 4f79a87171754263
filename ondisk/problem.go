package ondisk

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beckmq/beck/internal/driver"
)

var errMissing = errors.New("the message is missing, but still needed")

// problem says in the seam's words what went wrong in Pebble. Nil stays nil.
func (e *engine) problem(err error) error { return problem(e.dir, err) }

func problem(dir string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, driver.ErrCorrupt), errors.Is(err, driver.ErrVersion):
		return err
	case pebble.IsCorruptionError(err), errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w in %s: %w", driver.ErrCorrupt, dir, err)
	case isFull(err):
		return fmt.Errorf("%w: %s: %w", driver.ErrFull, dir, err)
	case errors.Is(err, pebble.ErrClosed):
		return driver.ErrClosed
	}
	return fmt.Errorf("%w: %s: %w", driver.ErrUnavailable, dir, err)
}

// openProblem is problem for an error of opening the store. What the system
// didn't object to, Pebble did, to what it found in its files.
func openProblem(dir string, err error) error {
	var system syscall.Errno
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: the files in %s must be writable: %w", driver.ErrDenied, dir, err)
	case errors.As(err, &system):
		return problem(dir, err)
	case strings.Contains(err.Error(), "format major version"):
		return fmt.Errorf("%w: %s was written by a later program: %w", driver.ErrVersion, dir, err)
	}
	return fmt.Errorf("%w in %s: %w", driver.ErrCorrupt, dir, err)
}

// corrupt says which record is damaged.
func (e *engine) corrupt(key []byte, err error) error {
	if errors.Is(err, driver.ErrVersion) {
		return fmt.Errorf("%s: %s: %w", e.dir, describe(key), err)
	}
	return fmt.Errorf("%w in %s: %s: %w", driver.ErrCorrupt, e.dir, describe(key), err)
}

// describe turns a key into words.
func describe(key []byte) string {
	if len(key) == 0 {
		return "an empty key"
	}
	tables := map[byte]struct {
		what  string
		names int
		id    bool
	}{
		tagGlobal:  {"the record of the directory", 0, false},
		tagTopic:   {"topic", 1, false},
		tagMessage: {"message of", 1, true},
		tagSub:     {"subscription", 2, false},
		tagGroup:   {"messages leased together of", 2, true},
		tagPending: {"pending message of", 2, true},
		tagDead:    {"dead letter of", 2, true},
		tagBurial:  {"place of a dead letter of", 2, true},
		tagCopy:    {"requeued message of", 2, true},

		tagConfig:   {"configuration of", 1, false},
		tagDelayed:  {"delayed message of", 1, true},
		tagDedupe:   {"deduplication id of", 2, false},
		tagForget:   {"end of a deduplication id of", 1, false},
		tagSchedule: {"schedule", 1, false},
	}
	table, known := tables[key[0]]
	names, rest, ok := splitNames(key, table.names)
	if !known || !ok {
		return fmt.Sprintf("key %q", key)
	}
	text := table.what
	if len(names) > 0 {
		text += " " + strings.Join(names, " as ")
	}
	if id, ok := idOf(rest); ok && table.id {
		text += ", id " + id.String()
	}
	return text
}

// isFull reports whether there was no room on the disk.
func isFull(err error) bool {
	return vfs.IsNoSpaceError(err) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, errNoRoom)
}
