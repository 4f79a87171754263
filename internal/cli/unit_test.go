package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/beckmq/beck"
)

func TestSize(t *testing.T) {
	for text, want := range map[string]string{
		"1MiB": "1MiB", "1mib": "1MiB", "64 KiB": "64KiB", "64k": "64KiB", "1.5MiB": "1536KiB",
		"500kB": "500000", "4096": "4KiB", "7b": "7", "2GiB": "", "0": "", "-1": "", "": "",
		"MiB": "", "1TiB": "", "1e99": "", "nan": "", "inf": "",
	} {
		var s size
		err := s.Set(text)
		if want == "" && err == nil {
			t.Errorf("%q is taken for %v", text, &s)
		}
		if want != "" && (err != nil || s.String() != want) {
			t.Errorf("%q is %v, %v; want %s", text, &s, err, want)
		}
	}
}

func TestParsePlace(t *testing.T) {
	for _, c := range []struct{ at, password, where, shown string }{
		{"disk:data", "", "data", "disk:data"},
		{"disk:/a/b:c", "", "/a/b:c", "disk:/a/b:c"},
		{"http://127.0.0.1:8080", "pw", "http://127.0.0.1:8080", "http://127.0.0.1:8080"},
		{"redis://h:1/2", "", "redis://h:1/2", "redis://h:1/2"},
		{"redis://h:1/2", "p@w", "redis://:p%40w@h:1/2", "redis://h:1/2"},
		{"rediss://u@h", "pw", "rediss://u:pw@h", "rediss://u@h"},
		{"redis://u:own@h", "pw", "redis://u:own@h", "redis://u:xxxxx@h"},
		{"redis+unix:///run/redis.sock?db=1", "", "redis+unix:///run/redis.sock?db=1", "redis+unix:///run/redis.sock?db=1"},
		{"redis+cluster://u@a,b", "pw", "redis+cluster://u:pw@a,b", "redis+cluster://u@a,b"},
		{"rediss+sentinel://u:own@a,b/m?sentinel_user=x", "pw", "rediss+sentinel://u:own@a,b/m?sentinel_user=x", "rediss+sentinel://u:xxxxx@a,b/m?sentinel_user=x"},
		{"redis+shards://a,a", "", "", ""},
		{"disk:", "", "", ""},
		{"", "", "", ""},
		{"redis:h", "", "", ""},
		{"127.0.0.1:8080", "", "", ""},
		{"http://", "", "", ""},
		{"redis://:p%w@h", "", "", ""},
	} {
		got, err := parsePlace(c.at, c.password)
		if got.where != c.where || got.shown != c.shown || (err != nil) != (c.where == "") {
			t.Errorf("%q: %+v, %v", c.at, got, err)
		}
		if err != nil && exitCode(err) != exitUsage {
			t.Errorf("%q: exit code %d", c.at, exitCode(err))
		}
	}
}

func TestLineReader(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	for _, c := range []struct {
		in   string
		want []string
		fail int64 // the line that fails
	}{
		{"", nil, 0},
		{"\n", []string{""}, 0},
		{"a\r\n\nb", []string{"a\r", "", "b"}, 0},
		{long + "\n" + long, []string{long, long}, 0},
		{"a\n" + long + "x\nb", []string{"a"}, 2},
		{"a\n" + long + "x", []string{"a"}, 2},
		{long + strings.Repeat("x", 1<<20), nil, 1},
	} {
		for _, in := range []io.Reader{strings.NewReader(c.in), iotest.HalfReader(strings.NewReader(c.in)), iotest.DataErrReader(strings.NewReader(c.in))} {
			r := newLineReader(in, len(long))
			var got []string
			line, err := r.next()
			for ; err == nil; line, err = r.next() {
				got = append(got, string(line))
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("%.20q: %.100q, want %.100q", c.in, got, c.want)
			}
			if c.fail == 0 && err != io.EOF || c.fail > 0 && (!errors.Is(err, beck.ErrTooLarge) || r.line != c.fail) {
				t.Errorf("%.20q: ends with %v at line %d", c.in, err, r.line)
			}
		}
	}
	broken := newLineReader(io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(io.ErrUnexpectedEOF)), 10)
	if line, err := broken.next(); string(line) != "a" || err != nil {
		t.Errorf("%q, %v", line, err)
	}
	if line, err := broken.next(); err != io.ErrUnexpectedEOF {
		t.Errorf("an input that breaks off in a line gives %q, %v", line, err)
	}
}

func TestGatherer(t *testing.T) {
	g := newGatherer()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const n = 5*batchLines + 7
	go func() {
		for i := range n {
			if !g.add(ctx, beck.Message{Body: []byte("x")}, int64(i+1)) {
				return
			}
		}
		g.finish(io.EOF)
	}()
	next := int64(1)
	for {
		b, err := g.take(ctx)
		if err != nil {
			if err != io.EOF || next != n+1 {
				t.Errorf("ended with %v at line %d", err, next)
			}
			break
		}
		if len(b.messages) > batchLines || len(b.lines) != len(b.messages) {
			t.Fatalf("a batch of %d messages and %d lines", len(b.messages), len(b.lines))
		}
		for _, line := range b.lines {
			if line != next {
				t.Fatalf("line %d, want %d", line, next)
			}
			next++
		}
	}

	// A full one waits; neither side outlives the context.
	g = newGatherer()
	if !g.add(ctx, beck.Message{Body: make([]byte, batchBytes)}, 1) {
		t.Fatal("the first was refused")
	}
	time.AfterFunc(20*time.Millisecond, cancel)
	if g.add(ctx, beck.Message{}, 2) {
		t.Error("a full batch took another line")
	}
	if _, err := newGatherer().take(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("take without lines: %v", err)
	}
}

func TestStoppedLines(t *testing.T) {
	cause := &beck.Error{Op: "publish", Topic: "logs", Err: fmt.Errorf("%w:\nno answer", beck.ErrUncertain)}
	for _, c := range []struct {
		err  stoppedLines
		want string
	}{
		{stoppedLines{err: cause}, "no line is stored"},
		{stoppedLines{err: cause, stored: 1, sent: 1}, "line 1 is stored, none after"},
		{stoppedLines{err: cause, stored: 4200, sent: 4300}, "lines 1–4200 are stored, lines 4201–4300 may be stored"},
		{stoppedLines{err: cause, stored: 2, sent: 3}, "lines 1–2 are stored, line 3 may be stored"},
		{stoppedLines{err: cause, sent: 3}, "no line is stored, lines 1–3 may be stored"},
	} {
		want := "publish logs: " + beck.ErrUncertain.Error() + ":; no answer; " + c.want
		if got := c.err.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestProgress(t *testing.T) {
	var terminal bytes.Buffer
	g := &progress{w: &terminal, began: time.Now().Add(-time.Second)}
	for range 1000 {
		g.add(1234)
	}
	g.clear()
	if s := terminal.String(); !strings.Contains(s, "1,234 lines published, ") || strings.Count(s, "\r") > 4 || !strings.HasSuffix(s, "\r\x1b[K") {
		t.Errorf("the terminal shows %q", s)
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		if got := grouped(n); got != want {
			t.Errorf("%d is written %s", n, got)
		}
	}
}

func TestShellQuote(t *testing.T) {
	for text, want := range map[string]string{
		"./beck": "./beck", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "redis://h:1/0": "redis://h:1/0", "a;b": "'a;b'",
	} {
		if got := shellQuote(text); got != want {
			t.Errorf("%q is quoted %s", text, got)
		}
	}
}
