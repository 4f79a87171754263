package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/wire"
)

// usageError is a command line that makes no sense.
type usageError struct{ what string }

func (e *usageError) Error() string { return e.what }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// hinted is an error that brings its own hint.
type hinted struct {
	err  error
	hint string
}

func (e *hinted) Error() string { return e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }

// exitUsage is the exit code of a command line that makes no sense.
const exitUsage = 2

func exitCode(err error) int {
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	return wire.ExitCode(err)
}

// oneLine is an error as it is printed behind "beck: ": in one line, and
// without the same prefix again.
func oneLine(err error) string {
	text := strings.ReplaceAll(strings.TrimSpace(err.Error()), "beck: ", "")
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// hint says what to do next, where that is known.
func (p *program) hint(err error) string {
	if own, ok := errors.AsType[*hinted](err); ok {
		return own.hint
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return "see: " + strings.TrimSpace(p.called+" "+p.verb) + " --help"
	}
	for _, h := range []struct {
		is   error
		hint string
	}{
		{beck.ErrDurability, "it is stored: to publish it again would store it twice"},
		{beck.ErrUnavailable, p.unavailableHint()},
		{beck.ErrUncertain, "look whether it was done before you do it again"},
		{beck.ErrDenied, "give the user in the URL (--at or BECK_AT), and the password in BECK_REDIS_PASSWORD, in the URL of BECK_AT, or in a file (?password_file=PATH)"},
		{beck.ErrTopicNotFound, "see which topics there are: " + p.command("topics")},
		{beck.ErrSubscriptionNotFound, "see which subscriptions there are: " + p.command("info TOPIC")},
		{beck.ErrInUse, "if a server runs on it, go through the server: --at http://127.0.0.1:8080"},
		{beck.ErrTooLarge, bodyLimitHint(err)},
		{beck.ErrPosition, "a position is start, new, the id of a message, a time such as 2026-11-21T08:00:00Z, or -10m"},
		{beck.ErrName, "a name is 1 to 200 of A-Z a-z 0-9 . _ : - and begins with a letter or digit"},
		{beck.ErrNoReplier, "start one: " + p.command("reply SERVICE --exec COMMAND")},
		{beck.ErrTopicFull, p.fullHint("TOPIC")},
		{beck.ErrMessageNotFound, "see which there are: " + p.command("dead list TOPIC SUBSCRIPTION") + ", or " + p.command("delayed list TOPIC")},
		{beck.ErrScheduleNotFound, "see which there are: " + p.command("cron list")},
		{beck.ErrFull, "make room, or remove old messages: " + p.command("delete TOPIC --before -24h")},
	} {
		if errors.Is(err, h.is) {
			return h.hint
		}
	}
	return ""
}

// bodyLimitHint says how to raise the limit on bodies, if it was a body that was
// too large: the limits on keys and headers are fixed. Which one it was, only the
// text behind ErrTooLarge tells; it never repeats what the user gave.
func bodyLimitHint(err error) string {
	_, what, _ := strings.Cut(err.Error(), beck.ErrTooLarge.Error()+": ")
	if strings.Contains(what, "body") || strings.Contains(what, lineTooLong) {
		return "the limit on a body is set by --max-body, here and at the server"
	}
	return ""
}

func (p *program) fullHint(topic string) string {
	return "see who needs what it holds: " + p.command("info "+topic) + "; or let it keep more, or drop the oldest: " + p.command("configure "+topic)
}

func (p *program) unavailableHint() string {
	switch p.place.kind {
	case placeRedis:
		return "is Redis running there, and does it let this machine in?"
	case placeDisk:
		return "give a directory of this machine that can be read and written"
	}
	return "start a server with: " + p.called + " serve, or say where it is with --at (also redis://… or disk:DIR)"
}

// command is a beck command that a user can copy, for the same place.
func (p *program) command(rest string) string {
	if p.at == "" || p.at == defaultAt || p.atFromEnv {
		return p.called + " " + rest
	}
	return p.called + " " + rest + " --at " + shellQuote(p.place.shown)
}

func shellQuote(s string) string {
	plain := func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@%+=,", r)
	}
	if s != "" && strings.IndexFunc(s, plain) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
