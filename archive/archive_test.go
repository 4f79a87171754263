package archive

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/drivertest/model"
)

func TestEachMessageIsWrittenOnce(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
		n    int
		// The number of files is from least to most.
		least, most int
	}{
		{"one file", Options{}, 3500, 1, 1},
		{"by size", Options{MaxSize: 20_000}, 2500, 20, 60},
		{"a file each", Options{MaxSize: 1}, 50, 50, 50},
		{"gzip", Options{Gzip: true}, 3500, 1, 1},
		{"gzip by size", Options{Gzip: true, MaxSize: 1}, 3500, 4, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			bus, dir := openModel(t), filepath.Join(t.TempDir(), "new", "dir")
			ids := publish(t, bus, 0, c.n)
			if err := untilEnd(t, bus, dir, c.o); err != nil {
				t.Fatal(err)
			}
			expectWhole(t, dir, ids)
			if lost, repeated := compare(t, bus, dir); lost != 0 || repeated != 0 {
				t.Errorf("%d lost, %d repeated", lost, repeated)
			}
			if lag, pending := state(t, bus); lag != 0 || pending != 0 {
				t.Errorf("%d are left, %d pending", lag, pending)
			}
			list := names(t, dir)
			if len(list) < c.least || len(list) > c.most {
				t.Errorf("there are %d files, not %d to %d", len(list), c.least, c.most)
			}
			if !slices.IsSorted(list) {
				t.Error("names don't sort")
			}
			for i, name := range list {
				b, err := readFile(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				first, _, _ := strings.Cut(string(b), "\n")
				if !strings.HasPrefix(name, fmt.Sprintf("orders.%010d.%s.jsonl", i+1, idOf(first))) {
					t.Errorf("the file of %s is called %s", idOf(first), name)
				}
				if !c.o.Gzip && c.o.MaxSize > 1 && int64(len(b)) > c.o.MaxSize {
					t.Errorf("%s has %d bytes", name, len(b))
				}
			}
		})
	}
}

func TestWritingGoesOnInNewFiles(t *testing.T) {
	bus, dir := openDisk(t), t.TempDir()
	var ids []string
	for i := range 4 {
		ids = append(ids, publish(t, bus, 10*i, 10)...)
		if err := untilEnd(t, bus, dir, Options{Gzip: i%2 == 1}); err != nil {
			t.Fatal(err)
		}
	}
	expectWhole(t, dir, ids)
	if n := len(names(t, dir)); n != 4 {
		t.Errorf("%d files", n)
	}
}

func TestItEndsWithItsContextAndByAge(t *testing.T) {
	bus, dir := openModel(t), t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, bus, "orders", "files", dir, &Options{MaxAge: 300 * time.Millisecond, Logger: quiet})
	}()
	ids := publish(t, bus, 0, 10)
	await(t, "a file that is complete", func() bool {
		list := names(t, dir)
		return len(list) == 1 && !strings.HasSuffix(list[0], partSuffix)
	})
	ids = append(ids, publish(t, bus, 10, 10)...)
	await(t, "the rest", func() bool { lag, pending := state(t, bus); return lag == 0 && pending == 0 })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	expectWhole(t, dir, ids)
	for _, name := range names(t, dir) {
		if strings.HasSuffix(name, partSuffix) {
			t.Errorf("%s is left", name)
		}
	}
}

func await(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

func TestOneArchiverADirectory(t *testing.T) {
	bus, dir := openModel(t), t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, bus, "orders", "files", dir, &Options{Logger: quiet}) }()
	await(t, "the lock", func() bool { _, err := os.Stat(filepath.Join(dir, lockName)); return err == nil })
	await(t, "the subscription", func() bool { _, err := bus.Topic(ctx, "orders"); return err == nil })
	if err := Run(ctx, bus, "other", "files", dir, &Options{Logger: quiet}); !errors.Is(err, beck.ErrInUse) {
		t.Errorf("a second one: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := untilEnd(t, bus, dir, Options{}); err != nil {
		t.Errorf("after the first one: %v", err)
	}
}

func TestBadOptions(t *testing.T) {
	bus := openModel(t)
	for _, c := range []struct {
		topic, dir string
		o          Options
		want       error
	}{
		{"orders", "", Options{}, beck.ErrOption},
		{"orders", "d", Options{MaxSize: -1}, beck.ErrOption},
		{"orders", "d", Options{MaxAge: -1}, beck.ErrOption},
		{"or ders", "d", Options{}, beck.ErrName},
		{"orders", "d", Options{Consumer: "a/b"}, beck.ErrName},
		{"orders", "d", Options{From: "nowhere\n"}, beck.ErrPosition},
	} {
		dir := c.dir
		if dir != "" {
			dir = filepath.Join(t.TempDir(), dir)
		}
		if err := Run(t.Context(), bus, c.topic, "files", dir, &c.o); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v; want %v", c, err, c.want)
		}
	}
}

func TestAFolderThatCantBeWritten(t *testing.T) {
	bus := openModel(t)
	publish(t, bus, 0, 10)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := untilEnd(t, bus, file, Options{}); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("a file: %v", err)
	}
	if os.Getuid() == 0 {
		t.Log("everything is writable for root; the rest is not tried")
		return
	}
	closed := t.TempDir()
	if err := os.Chmod(closed, 0o500); err != nil {
		t.Fatal(err)
	}
	if err := untilEnd(t, bus, closed, Options{}); !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), closed) {
		t.Errorf("a read-only directory: %v", err)
	}
}

func TestNothingIsLostWhenWritingFails(t *testing.T) {
	full := func(f *os.File, b []byte) (int, error) {
		n, _ := f.Write(b[:len(b)/2])
		return n, &os.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
	}
	failed := errors.New("failed")
	for _, gzip := range []bool{false, true} {
		for _, c := range []struct {
			name string
			// fail has one operation fail from a call on.
			fail func(d *disk, fails func() bool)
			want error
		}{
			{"full", func(d *disk, fails func() bool) {
				d.write = func(f *os.File, b []byte) (int, error) {
					if fails() {
						return full(f, b)
					}
					return f.Write(b)
				}
			}, syscall.ENOSPC},
			{"read-only", func(d *disk, fails func() bool) {
				create := d.create
				d.create = func(path string) (*os.File, error) {
					if fails() {
						return nil, &os.PathError{Op: "open", Path: path, Err: syscall.EROFS}
					}
					return create(path)
				}
			}, syscall.EROFS},
			{"sync", func(d *disk, fails func() bool) {
				d.sync = func(f *os.File) error {
					if fails() {
						return failed
					}
					return f.Sync()
				}
			}, failed},
			{"directory", func(d *disk, fails func() bool) {
				d.syncDir = func(dir string) error {
					if fails() {
						return failed
					}
					return syncDir(dir)
				}
			}, failed},
			{"rename", func(d *disk, fails func() bool) {
				d.rename = func(from, to string) error {
					if fails() {
						return failed
					}
					return os.Rename(from, to)
				}
			}, failed},
		} {
			for _, call := range []int{1, 2, 3} {
				t.Run(fmt.Sprintf("%s gzip=%v call=%d", c.name, gzip, call), func(t *testing.T) {
					bus, dir := openModel(t), t.TempDir()
					const published, batch = 300, 100
					publish(t, bus, 0, published)
					size := int64(8_000)
					if gzip {
						size = 600
					}
					d, calls := realDisk(), 0
					c.fail(d, func() bool { calls++; return calls >= call })
					err := untilEnd(t, bus, dir, Options{Gzip: gzip, MaxSize: size, disk: d, batch: batch})
					if !errors.Is(err, c.want) {
						t.Fatalf("%v; want %v", err, c.want)
					}
					written := len(readAll(t, dir))
					lag, pending := state(t, bus)
					if acknowledged := published - int(lag+pending); acknowledged > written {
						t.Errorf("%d are acknowledged, %d written", acknowledged, written)
					}
					// What was released waits to be delivered, to anybody.
					if err := untilEnd(t, bus, dir, Options{Gzip: gzip, MaxSize: size, Consumer: "another"}); err != nil {
						t.Fatal(err)
					}
					lost, repeated := compare(t, bus, dir)
					if lost != 0 || repeated > batch {
						t.Errorf("%d lost, %d repeated", lost, repeated)
					}
					// The first batch fails whole here, and is taken back whole.
					if call == 1 && c.name != "rename" && c.name != "directory" && !gzip && repeated > 0 {
						t.Errorf("%d are repeated", repeated)
					}
				})
			}
		}
	}
}

// faulty is the reference engine, with outages in which answers are lost.
type faulty struct {
	*model.Engine
	down atomic.Bool
}

func (f *faulty) Fetch(ctx context.Context, topic, subscription string, req driver.FetchRequest) (driver.Fetched, error) {
	got, err := f.Engine.Fetch(ctx, topic, subscription, req)
	if f.down.Load() {
		return driver.Fetched{}, fmt.Errorf("test: %w", driver.ErrUncertain)
	}
	return got, err
}

func (f *faulty) Settle(ctx context.Context, topic, subscription, consumer string, s []driver.Settlement) ([]string, error) {
	if f.down.Load() {
		return nil, fmt.Errorf("test: %w", driver.ErrUnavailable)
	}
	return f.Engine.Settle(ctx, topic, subscription, consumer, s)
}

func TestOutagesAreSurvived(t *testing.T) {
	engine := &faulty{Engine: model.New(time.Now)}
	bus, dir := openOn(t, engine), t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, bus, "orders", "files", dir, &Options{Logger: quiet}) }()
	var ids []string
	for i := range 4 {
		engine.down.Store(i%2 == 1)
		ids = append(ids, publish(t, bus, 1000*i, 1000)...)
		time.Sleep(50 * time.Millisecond)
	}
	engine.down.Store(false)
	await(t, "all", func() bool { lag, pending := state(t, bus); return lag == 0 && pending == 0 })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if lost, repeated := compare(t, bus, dir); lost != 0 || repeated != 0 {
		t.Errorf("%d of %d lost, %d repeated", lost, len(ids), repeated)
	}
}

func TestWhatWasRemovedEndsIt(t *testing.T) {
	bus, dir := openModel(t), t.TempDir()
	ended := make(chan error, 1)
	go func() { ended <- Run(t.Context(), bus, "orders", "files", dir, &Options{Logger: quiet}) }()
	publish(t, bus, 0, 10)
	await(t, "all", func() bool { lag, pending := state(t, bus); return lag == 0 && pending == 0 })
	if err := bus.DeleteSubscription(t.Context(), "orders", "files"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, beck.ErrSubscriptionNotFound) {
		t.Error(err)
	}
}
