package cli

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestCommand(t *testing.T) {
	for _, c := range []struct {
		name, line, body string
		maxOut           int
		out, err, said   string
	}{
		{"echoes", "cat", "hello\n", 100, "hello\n", "", ""},
		{"environment", `printf "$BECK_KEY"`, "", 100, "k", "", ""},
		{"reads nothing", "true", strings.Repeat("x", 1<<20), 100, "", "", ""},
		{"fails", "echo first; echo no such thing >&2; exit 3", "", 100, "", "exit status 3: no such thing", "no such thing\n"},
		{"fails in silence", "exit 4", "", 100, "", "exit status 4", ""},
		{"fails without an end", "printf oops >&2; false", "", 100, "", "exit status 1: oops", "oops\n"},
		{"says much", "seq 1 100000 >&2; false", "", 100, "", "100000", "100000\n"},
		{"too large", "seq 1 100", "", 10, "", "too large", ""},
		{"no such command", "/no/such/command", "", 10, "", "exit status 127", "/no/such/command"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stderr bytes.Buffer
			run := &command{line: c.line, body: []byte(c.body), maxOut: c.maxOut, err: &stderr, env: []string{environ("BECK_KEY", "k\x00")}}
			out, err := run.run(t.Context())
			if string(out) != c.out || !strings.Contains(stderr.String(), c.said) {
				t.Errorf("printed %q and %.200q", out, stderr.String())
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if err != nil && len(err.Error()) > tailBytes+100 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

// A command is ended with all that it started, and the reason is that of the
// context.
func TestCommandIsEnded(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("enough")
	time.AfterFunc(50*time.Millisecond, func() { cancel(reason) })
	began := time.Now()
	_, err := (&command{line: "sleep 60 | sleep 60", maxOut: 10, err: &bytes.Buffer{}}).run(ctx)
	if !errors.Is(err, reason) || time.Since(began) > 4*time.Second {
		t.Errorf("ended with %v after %v", err, time.Since(began))
	}
}

// A command that leaves something behind that holds its output open has ended all
// the same.
func TestCommandLeavesSomethingBehind(t *testing.T) {
	t.Parallel()
	out, err := (&command{line: "echo done; sleep 8 &", maxOut: 10, err: &bytes.Buffer{}}).run(t.Context())
	if string(out) != "done\n" || err != nil {
		t.Errorf("printed %q, %v", out, err)
	}
}

// Lines of several commands are not mixed; one without an end comes at the end.
func TestTogether(t *testing.T) {
	var text bytes.Buffer
	all := &together{t.Context(), &output{w: &text}}
	one, two := all.one(), all.one()
	for _, w := range []struct {
		to   *lineWriter
		text string
	}{{one, "a"}, {two, "1\n2"}, {one, "b\nc"}, {two, "3\n"}, {two, "4"}} {
		if n, err := w.to.Write([]byte(w.text)); n != len(w.text) || err != nil {
			t.Errorf("%q: %d, %v", w.text, n, err)
		}
	}
	one.flush()
	two.flush()
	if text.String() != "1\nab\n23\nc4" {
		t.Errorf("wrote %q", text.String())
	}
}
