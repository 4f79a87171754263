package ondisk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// fill makes a directory with data in tables, and more in the log, and returns
// what whole data looks like.
func fill(t *testing.T, dir string) (e *engine, whole string) {
	t.Helper()
	e = mustOpen(t, dir, settings{})
	join(t, e, "a", "s", driver.JoinConfig{Lease: time.Hour})
	special(t, e)
	for i := range 30 {
		publish(t, e, "a", bodies(i*100, 100)...)
	}
	consume(t, e)
	if err := e.db.Flush(); err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		publish(t, e, "a", bodies(i*100, 100)...)
	}
	consume(t, e)
	whole, err := show(e)
	if err != nil {
		t.Fatal(err)
	}
	return e, whole
}

// special makes one of each other record.
func special(t *testing.T, e *engine) {
	t.Helper()
	err := errors.Join(
		e.Configure(t.Context(), "a", driver.TopicConfig{MaxMessages: 1 << 20, MaxBytes: 1 << 30, MaxAge: time.Hour, DedupeWindow: time.Hour}),
		e.PutSchedule(t.Context(), driver.Schedule{Name: "n", Topic: "a", Version: "v", Config: []byte("config"), Last: time.UnixMilli(1)}))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		publish(t, e, "a", driver.Message{Body: fmt.Append(nil, i), Delay: time.Hour, DedupeID: fmt.Sprint(i)})
	}
	makeQueue(t, e, "q")
	ids := publish(t, e, "q", bodies(0, 20)...)
	fetch(t, e, "q", workers, "c", 10)
	settle(t, e, "q", workers, "c", each(driver.Acknowledge, ids[2:6]...)...)
}

// showSpecial tells what special made.
func showSpecial(ctx context.Context, e *engine, s *strings.Builder) error {
	p, err := e.Peek(ctx, "a", "", driver.PeekRequest{State: driver.Delayed, Max: 100})
	if err != nil {
		return err
	}
	for i, entry := range p.Entries {
		fmt.Fprintln(s, entry.Message.ID, string(entry.Message.Body), entry.Due)
		ids, err := e.Append(ctx, "a", []driver.Message{{Body: []byte{}, DedupeID: fmt.Sprint(i)}})
		if err != nil {
			return err
		}
		fmt.Fprintln(s, ids)
	}
	schedules, err := e.Schedules(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(s, "%+v\n", schedules)
	page, err := e.Read(ctx, "q", driver.Position{}, 100)
	if err != nil {
		return err
	}
	fmt.Fprintln(s, text(page.Messages))
	info, err := e.Topic(ctx, "q")
	for i := range info.Subscriptions {
		info.Subscriptions[i].Consumers, info.Subscriptions[i].Unread = nil, 0
	}
	fmt.Fprintf(s, "%+v\n", info)
	return err
}

func consume(t *testing.T, e *engine) {
	t.Helper()
	f := fetch(t, e, "a", "s", "c", 10)
	settle(t, e, "a", "s", "c",
		driver.Settlement{ID: f.Messages[0].ID, Do: driver.Acknowledge},
		driver.Settlement{ID: f.Messages[1].ID, Do: driver.DeadLetter, Reason: "bad"},
		driver.Settlement{ID: f.Messages[2].ID, Do: driver.Retry, After: time.Hour},
		driver.Settlement{ID: f.Messages[3].ID, Do: driver.DeadLetter, Reason: "worse"})
	if missing, err := e.Requeue(t.Context(), "a", "s", []string{f.Messages[1].ID}); err != nil || len(missing) > 0 {
		t.Fatalf("requeue: %v, %v", missing, err)
	}
}

// show tells all that is in topic a, or why it can't be told.
func show(e *engine) (string, error) {
	ctx := context.Background()
	var s strings.Builder
	from := driver.Position{}
	for more := true; more; {
		p, err := e.Read(ctx, "a", from, 1000)
		if err != nil {
			return "", err
		}
		for _, m := range p.Messages {
			fmt.Fprintln(&s, m.ID, string(m.Body))
		}
		if more = p.More; more {
			from = driver.Position{Kind: driver.AtID, ID: p.Messages[len(p.Messages)-1].ID}
		}
	}
	info, err := e.Topic(ctx, "a")
	if err != nil {
		return "", err
	}
	for i := range info.Subscriptions {
		info.Subscriptions[i].Consumers, info.Subscriptions[i].Unread = nil, 0
	}
	fmt.Fprintf(&s, "%+v\n", info)
	for _, state := range []driver.State{driver.Held, driver.Waiting, driver.Buried} {
		p, err := e.Peek(ctx, "a", "s", driver.PeekRequest{State: state, Max: 100})
		if err != nil {
			return "", err
		}
		for _, e := range p.Entries {
			if state == driver.Held {
				e.Message.Attempt = 0 // the show changes that
			}
			fmt.Fprintln(&s, state, e.Message.ID, string(e.Message.Body), e.Message.Attempt, e.Consumer, e.Reason)
		}
	}
	if err := showSpecial(ctx, e, &s); err != nil {
		return "", err
	}
	f, err := e.Fetch(ctx, "a", "s", driver.FetchRequest{Consumer: "c", Max: 5, Recover: true})
	fmt.Fprintln(&s, text(f.Messages))
	return s.String(), err
}

// verdict opens a damaged directory and says what came of it.
func verdict(t *testing.T, dir, whole string) string {
	t.Helper()
	e, err := openEngine(dir, quiet(settings{}))
	if err != nil {
		if errors.Is(err, driver.ErrCorrupt) || errors.Is(err, driver.ErrVersion) {
			return "told"
		}
		return "told badly: " + err.Error()
	}
	found, err := show(e)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	closed := e.Close(ctx)
	switch {
	case errors.Is(err, driver.ErrCorrupt):
		return "told"
	case err != nil:
		return "told badly: " + err.Error()
	case withoutAttempts(found) != withoutAttempts(whole):
		return fmt.Sprintf("SILENT: %d of %d bytes", len(found), len(whole))
	case closed != nil:
		return "closed badly: " + closed.Error()
	}
	return "whole"
}

// withoutAttempts leaves out what the show itself changes.
func withoutAttempts(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[:len(lines)-1], "\n")
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Damage after a clean close is told, wherever it is; or it does no harm.
func TestDamageAfterClose(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	e, whole := fill(t, dir)
	shut(t, e)
	testDamage(t, dir, whole, func(string) bool { return false })
}

// Damage after a crash is told as well, but for the last part of the log, which
// a crash may tear: its end is where it can be read up to.
func TestDamageAfterCrash(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "db")
	e, whole := fill(t, dir)
	copyDir(t, dir, filepath.Join(base, "crashed"))
	shut(t, e)
	testDamage(t, filepath.Join(base, "crashed"), whole, func(file string) bool {
		return strings.HasSuffix(file, ".log")
	})
}

func testDamage(t *testing.T, dir, whole string, excused func(file string) bool) {
	t.Helper()
	if testing.Short() {
		t.Skip("it opens hundreds of directories")
	}
	if v := verdict(t, clone(t, dir), whole); v != "whole" {
		t.Fatalf("undamaged: %s", v)
	}
	for _, path := range files(t, dir) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, _ := filepath.Rel(dir, path)
		damages := map[string]func() []byte{"removed": func() []byte { return nil }}
		step := max(1, len(content)/25)
		for at := 0; at < len(content); at += step {
			damages[fmt.Sprintf("flipped at %d of %d", at, len(content))] = func() []byte {
				c := append([]byte{}, content...)
				c[at] ^= 0x10
				return c
			}
			damages[fmt.Sprintf("cut at %d of %d", at, len(content))] = func() []byte { return append([]byte{}, content[:at]...) }
		}
		verdicts := map[string]int{}
		for what, damage := range damages {
			copied := clone(t, dir)
			target := filepath.Join(copied, name)
			if c := damage(); c == nil {
				os.Remove(target)
			} else if err := os.WriteFile(target, c, 0o666); err != nil {
				t.Fatal(err)
			}
			v := verdict(t, copied, whole)
			verdicts[v]++
			if v != "whole" && v != "told" && !excused(name) {
				t.Errorf("%s %s: %s", name, what, v)
			}
			os.RemoveAll(copied)
		}
		t.Logf("%s (%d bytes): %v", name, len(content), verdicts)
	}
}

func clone(t *testing.T, dir string) string {
	t.Helper()
	to, err := os.MkdirTemp(t.TempDir(), "copy")
	if err != nil {
		t.Fatal(err)
	}
	to = filepath.Join(to, "db")
	copyDir(t, dir, to)
	return to
}
