package ondisk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
)

func TestOpenRefuses(t *testing.T) {
	cases := []struct {
		name string
		make func(dir string) error
		want error
		says string
	}{
		{"later version", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "BECK"), []byte("beck disk format 7\n"), 0o666)
		}, beck.ErrVersion, "disk format 7, but this program knows format 1"},
		{"garbled version", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "BECK"), []byte("hello\n"), 0o666)
		}, beck.ErrCorrupt, "hello"},
		{"other files", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "letter.txt"), nil, 0o666)
		}, beck.ErrWrongType, "letter.txt"},
		{"no version", func(dir string) error { return os.Mkdir(filepath.Join(dir, "store"), 0o777) }, beck.ErrCorrupt, "BECK is missing"},
		{"store gone", func(dir string) error {
			return errors.Join(os.WriteFile(filepath.Join(dir, "BECK"), []byte("beck disk format 1\n"), 0o666),
				os.WriteFile(filepath.Join(dir, "MARK"), []byte("3\n"), 0o666))
		}, beck.ErrCorrupt, "does not exist"},
		{"not writable", func(dir string) error { return os.Chmod(dir, 0o555) }, beck.ErrDenied, "must be writable"},
		{"a file", func(dir string) error { return errors.Join(os.Remove(dir), os.WriteFile(dir, nil, 0o666)) }, beck.ErrUnavailable, "not a directory"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.want == beck.ErrDenied && os.Geteuid() == 0 {
				t.Skip("root may write anywhere")
			}
			dir := filepath.Join(t.TempDir(), "db")
			if err := errors.Join(os.Mkdir(dir, 0o777), c.make(dir)); err != nil {
				t.Fatal(err)
			}
			_, err := Open(dir, nil)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), dir) {
				t.Errorf("got %v, want %v with %q", err, c.want, c.says)
			}
		})
	}
}

// A store that lost its newest batches in a way that leaves the rest whole is
// found out by its mark.
func TestOlderStore(t *testing.T) {
	files := vfs.NewCrashableMem()
	set := settings{fs: files, reserve: 1}
	e := mustOpen(t, "db", set)
	publish(t, e, "a", bodies(0, 1)...)
	shut(t, e)
	old := files.CrashClone(vfs.CrashCloneCfg{})
	e = mustOpen(t, "db", set)
	publish(t, e, "a", bodies(1, 1)...)
	shut(t, e)
	store := files.PathJoin("db", storeName)
	if err := files.RemoveAll(store); err != nil {
		t.Fatal(err)
	}
	if ok, err := vfs.Clone(old, files, store, store); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if _, err := openEngine("db", quiet(set)); !errors.Is(err, driver.ErrCorrupt) || !strings.Contains(err.Error(), "newest data is missing") {
		t.Errorf("got %v", err)
	}
}

func TestManyTopicsOpenQuickly(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes 100,000 topics")
	}
	dir := t.TempDir()
	e := mustOpen(t, dir, settings{})
	for i := range 100 {
		// As if so many callers published at once.
		err := e.submit(t.Context(), &request{decide: func(tx *transaction) error {
			for j := range 1000 {
				a := &appending{engine: e, name: fmt.Sprintf("topic-%d-%d", i, j), messages: bodies(0, 1)}
				if err := a.decide(tx); err != nil {
					return err
				}
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	shut(t, e)
	start := time.Now()
	e = open(t, dir, settings{})
	took := time.Since(start)
	list, err := e.Topics(t.Context())
	if err != nil || len(list) != 100_000 {
		t.Errorf("%d topics, %v", len(list), err)
	}
	t.Logf("opened in %v", took)
	if took > 10*time.Second {
		t.Errorf("opening took %v", took)
	}
}

// A bus that can't be made leaves nothing running and nothing locked.
func TestBadOptions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	o := &Options{}
	o.MaxBody = -1
	if _, err := Open(dir, o); !errors.Is(err, beck.ErrOption) {
		t.Errorf("got %v", err)
	}
	if _, err := Open("", nil); !errors.Is(err, beck.ErrOption) {
		t.Errorf("no directory: %v", err)
	}
	bus, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if bus.String() != "disk "+dir {
		t.Errorf("it calls itself %q", bus)
	}
	if err := bus.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
