package ondisk

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beckmq/beck/internal/driver"
)

// fill makes a directory with data in tables, and more in the log, and returns
// what whole data looks like. Both have several blocks.
func fill(t *testing.T, files *vfs.MemFS) (e *engine, whole string) {
	t.Helper()
	e = mustOpen(t, "db", settings{fs: files, reserve: 1})
	join(t, e, "a", "s", driver.JoinConfig{Lease: time.Hour})
	special(t, e)
	publishMuch(t, e)
	consume(t, e)
	if err := e.db.Flush(); err != nil {
		t.Fatal(err)
	}
	publishMuch(t, e)
	consume(t, e)
	whole, err := show(e)
	if err != nil {
		t.Fatal(err)
	}
	return e, whole
}

// publishMuch fills more than a block of the log.
func publishMuch(t *testing.T, e *engine) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 30 {
		publish(t, e, "a", bodies(i*20, 20)...)
		large := make([]byte, 1300)
		for j := range large {
			large[j] = byte(random.Uint32()) // so that it can't be compressed
		}
		publish(t, e, "a", driver.Message{Body: large})
	}
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
			body := string(m.Body)
			if len(body) > 100 {
				body = fmt.Sprint(len(body), crc32.ChecksumIEEE(m.Body))
			}
			fmt.Fprintln(&s, m.ID, body)
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
func verdict(files vfs.FS, whole string) string {
	e, err := openEngine("db", quiet(settings{fs: files, reserve: 1}))
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

// Damage after a clean close is told, wherever it is; or it does no harm.
func TestDamageAfterClose(t *testing.T) {
	files := vfs.NewCrashableMem()
	e, whole := fill(t, files)
	shut(t, e)
	testDamage(t, files, whole, false)
}

// Damage after a crash is told as well, but for the last part of the log, which
// a crash may tear: its end is where it can be read up to.
func TestDamageAfterCrash(t *testing.T) {
	files := vfs.NewCrashableMem()
	e, whole := fill(t, files)
	crashed := files.CrashClone(vfs.CrashCloneCfg{})
	shut(t, e)
	testDamage(t, crashed, whole, true)
}

func testDamage(t *testing.T, files *vfs.MemFS, whole string, crashed bool) {
	t.Helper()
	if testing.Short() {
		t.Skip("it opens hundreds of directories")
	}
	if v := verdict(files.CrashClone(vfs.CrashCloneCfg{}), whole); v != "whole" {
		t.Fatalf("undamaged: %s", v)
	}
	for _, name := range listFiles(t, files, "db") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			damageFile(t, files, name, whole, crashed)
		})
	}
}

// damageFile damages a file in all sorts of ways, each in a directory of its own.
func damageFile(t *testing.T, files *vfs.MemFS, name, whole string, crashed bool) {
	t.Helper()
	excused := crashed && strings.HasSuffix(name, ".log")
	content := readFile(t, files, name)
	damages := map[string]func() []byte{"removed": func() []byte { return nil }}
	start, step := 0, max(1, len(content)/25)
	if crashed && strings.HasSuffix(name, ".sst") {
		// A crash leaves tables as a close does: other places of them.
		start, step = step/2, 2*step
	}
	for at := start; at < len(content); at += step {
		damages[fmt.Sprintf("flipped at %d of %d", at, len(content))] = func() []byte {
			c := append([]byte{}, content...)
			c[at] ^= 0x10
			return c
		}
		damages[fmt.Sprintf("cut at %d of %d", at, len(content))] = func() []byte { return append([]byte{}, content[:at]...) }
	}
	verdicts := map[string]int{}
	for what, damage := range damages {
		damaged := files.CrashClone(vfs.CrashCloneCfg{})
		if c := damage(); c == nil {
			if err := damaged.Remove(name); err != nil {
				t.Fatal(err)
			}
		} else {
			writeFile(t, damaged, name, c)
		}
		v := verdict(damaged, whole)
		verdicts[v]++
		// What a torn log leaves is an older state, but one that opens and closes.
		if v != "whole" && v != "told" && !(excused && strings.HasPrefix(v, "SILENT")) {
			t.Errorf("%s: %s", what, v)
		}
	}
	t.Logf("%d bytes: %v", len(content), verdicts)
}
