package archive

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/drivertest/model"
	"github.com/beckmq/beck/internal/wire"
	"github.com/beckmq/beck/ondisk"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func openModel(t testing.TB) *beck.Bus {
	t.Helper()
	return openOn(t, model.New(time.Now))
}

func openOn(t testing.TB, engine driver.Engine) *beck.Bus {
	t.Helper()
	bus, err := beck.New(engine, &beck.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close(context.WithoutCancel(t.Context())) })
	return bus
}

func openDisk(t testing.TB) *beck.Bus {
	t.Helper()
	bus, err := ondisk.Open(t.TempDir(), &ondisk.Options{Options: beck.Options{Logger: quiet}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close(context.WithoutCancel(t.Context())) })
	return bus
}

// publish publishes n messages of all kinds, with numbers from first on.
func publish(t testing.TB, bus *beck.Bus, first, n int) (ids []string) {
	t.Helper()
	for n > 0 {
		some := min(n, 500)
		messages := make([]beck.Message, some)
		for i := range messages {
			body := fmt.Appendf(nil, "%d %s", first+i, strings.Repeat("x\n\"", (first+i)%40))
			if (first+i)%7 == 0 {
				body = append(body, 0xff)
			}
			messages[i] = beck.Message{Key: fmt.Sprint(i % 3), Headers: map[string]string{"n": fmt.Sprint(first + i)}, Body: body}
		}
		got, err := bus.Publish(context.Background(), "orders", messages...)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, got...)
		first, n = first+some, n-some
	}
	return ids
}

// names lists the files of a directory, but for the lock.
func names(t testing.TB, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != lockName {
			list = append(list, e.Name())
		}
	}
	return list
}

// readAll reads the lines of all files, in the order of their names. Files that
// are written to may end with something torn.
func readAll(t testing.TB, dir string) (lines []string) {
	t.Helper()
	for _, name := range names(t, dir) {
		b, err := readFile(filepath.Join(dir, name))
		part := strings.HasSuffix(name, partSuffix)
		if errors.Is(err, os.ErrNotExist) && part { // it was completed meanwhile
			b, err = readFile(filepath.Join(dir, strings.TrimSuffix(name, partSuffix)))
			part = false
		}
		if err != nil && !part {
			t.Fatalf("%s: %v", name, err)
		}
		whole := b[:bytes.LastIndexByte(b, '\n')+1]
		if len(whole) < len(b) && !part {
			t.Errorf("%s ends with %q", name, b[len(whole):])
		}
		for line := range bytes.Lines(whole) {
			lines = append(lines, string(line))
		}
	}
	return lines
}

func readFile(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil || !strings.Contains(path, ".gz") || len(b) == 0 {
		return b, err
	}
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// idOf takes the id from a line.
func idOf(line string) string {
	id, _, _ := strings.Cut(strings.TrimPrefix(line, `{"id":"`), `"`)
	return id
}

// compare says how many of the messages of the topic are not in the files, and
// how many lines are there again. Each line must be that of a message.
func compare(t testing.TB, bus *beck.Bus, dir string) (lost, repeated int) {
	t.Helper()
	seen := map[string]int{}
	lines := map[string]string{}
	for _, line := range readAll(t, dir) {
		seen[idOf(line)]++
		lines[idOf(line)] = line
	}
	for from := beck.FromStart; ; {
		page, err := bus.Read(context.Background(), "orders", from, beck.MaxFetch)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range page.Messages {
			n := seen[m.ID]
			delete(seen, m.ID)
			if n == 0 {
				lost++
				continue
			}
			repeated += n - 1
			if want := string(wire.AppendMessage(nil, m)); withoutAttempt(lines[m.ID]) != want+"\n" {
				t.Errorf("%s is archived as %s", want, lines[m.ID])
			}
		}
		if !page.More {
			break
		}
		from = page.Next
	}
	if len(seen) > 0 {
		t.Errorf("%d ids in the files are not in the topic", len(seen))
	}
	return lost, repeated
}

func withoutAttempt(line string) string {
	before, behind, ok := strings.Cut(line, `,"attempt":`)
	if !ok {
		return line + " has no attempt"
	}
	_, behind, _ = strings.Cut(behind, ",")
	return before + "," + behind
}

// expectWhole checks that the files hold each message once, in order.
func expectWhole(t testing.TB, dir string, ids []string) {
	t.Helper()
	var got []string
	for _, line := range readAll(t, dir) {
		got = append(got, idOf(line))
	}
	if !slices.Equal(got, ids) {
		t.Errorf("the files hold %d messages, not the %d published, in order", len(got), len(ids))
	}
}

// state is what the subscription has not acknowledged: never delivered, and
// delivered.
func state(t testing.TB, bus *beck.Bus) (lag, pending int64) {
	t.Helper()
	info, err := bus.Topic(context.Background(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range info.Subscriptions {
		if s.Name == "files" {
			return s.Lag, s.Pending + s.Waiting
		}
	}
	return -1, -1
}

func untilEnd(t testing.TB, bus *beck.Bus, dir string, o Options) error {
	t.Helper()
	o.UntilEnd, o.Logger = true, quiet
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := Run(ctx, bus, "orders", "files", dir, &o)
	if ctx.Err() != nil {
		t.Fatal("Run did not end")
	}
	return err
}
