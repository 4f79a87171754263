package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

const (
	// commandGrace is how long a command may go on after ctrl-C.
	commandGrace = 10 * time.Second
	// killGrace is how long it has to end once it was asked to.
	killGrace = 5 * time.Second
	// tailBytes is how much of what a command says last is kept.
	tailBytes = 800
)

// command is a program of the user's that handles one message.
type command struct {
	line string // for the shell
	body []byte
	env  []string // NAME=VALUE, beside the environment
	// maxOut bounds standard output, which is returned; 0 if it goes to out.
	maxOut int
	out    io.Writer
	err    io.Writer
}

// environ is a variable for a command. There is no way to hand over a NUL.
func environ(name, value string) string {
	return name + "=" + strings.ReplaceAll(value, "\x00", "")
}

// errTooMuch says that a command wrote too much.
var errTooMuch = errors.New("its output is too large")

// run runs the command until it ends or ctx does. One that failed is a
// failedCommand.
func (c *command) run(ctx context.Context) (out []byte, err error) {
	cmd := exec.CommandContext(ctx, "sh", "-c", c.line)
	cmd.Env = append(cmd.Environ(), c.env...)
	// A command need not read its input; then writing it fails, which is none of
	// our business.
	cmd.Stdin = bytes.NewReader(c.body)
	var stdout limited
	cmd.Stdout = c.out
	if c.maxOut > 0 {
		stdout.left = c.maxOut
		cmd.Stdout = &stdout
	}
	said := &tail{}
	cmd.Stderr = io.MultiWriter(said, c.err)
	apart(cmd)
	cmd.WaitDelay = killGrace
	err = cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) && ctx.Err() == nil {
		// It ended well, and left something behind that holds its output open.
		err = nil
	}
	switch {
	case ctx.Err() != nil && err != nil:
		return nil, context.Cause(ctx)
	case stdout.over:
		return nil, fmt.Errorf("%w: it may have %d bytes", errTooMuch, c.maxOut)
	case err != nil:
		if said.open() {
			fmt.Fprintln(c.err) // what comes next begins a line
		}
		return nil, &failedCommand{err, said.String()}
	}
	return stdout.text, nil
}

// failedCommand is a command that failed, with what it said last.
type failedCommand struct {
	err  error
	said string
}

func (e *failedCommand) Error() string {
	if e.said == "" {
		return e.err.Error()
	}
	return e.err.Error() + ": " + e.said
}

func (e *failedCommand) Unwrap() error { return e.err }

// limited keeps what is written up to a limit, and fails beyond it.
type limited struct {
	text []byte
	left int
	over bool
}

func (l *limited) Write(b []byte) (int, error) {
	if len(b) > l.left {
		l.over = true
		return 0, errTooMuch
	}
	l.left -= len(b)
	l.text = append(l.text, b...)
	return len(b), nil
}

// tail keeps the end of what is written.
type tail struct{ text []byte }

func (t *tail) Write(b []byte) (int, error) {
	t.text = append(t.text, b...)
	if len(t.text) > 2*tailBytes {
		t.text = append(t.text[:0], t.text[len(t.text)-tailBytes:]...)
	}
	return len(b), nil
}

// open reports whether the last line has no end.
func (t *tail) open() bool { return len(t.text) > 0 && t.text[len(t.text)-1] != '\n' }

func (t *tail) String() string {
	text := t.text[max(0, len(t.text)-tailBytes):]
	return strings.TrimSpace(strings.ToValidUTF8(string(text), ""))
}
