package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/beckmq/beck"
)

// stoppedLines is why publishing lines ended early, and how far it came.
type stoppedLines struct {
	err error
	// stored is the number of the last line known to be stored, with all
	// before it.
	stored int64
	// sent is the last line that may be stored.
	sent int64
	// wrong is the line that can't be published, 0 if there is none.
	wrong int64
}

func (e *stoppedLines) Error() string {
	if e.wrong > 0 {
		return fmt.Sprintf("line %d: %s; %s", e.wrong, oneLine(e.err), e.progress())
	}
	return fmt.Sprintf("%s; %s", oneLine(e.err), e.progress())
}

// progress says which lines are stored.
func (e *stoppedLines) progress() string {
	stored := "no line is stored"
	if e.stored > 0 {
		stored = lineRange(1, e.stored) + " are stored"
	}
	if e.stored == 1 {
		stored = "line 1 is stored"
	}
	switch {
	case e.sent > e.stored:
		return stored + ", " + lineRange(e.stored+1, e.sent) + " may be stored"
	case e.stored > 0:
		return stored + ", none after"
	}
	return stored
}

func (e *stoppedLines) Unwrap() error { return e.err }

func lineRange(first, last int64) string {
	if first == last {
		return fmt.Sprintf("line %d", first)
	}
	return fmt.Sprintf("lines %d–%d", first, last)
}

// inputLine is what is wrong with one line of the input.
type inputLine struct {
	err  error
	line int64
}

func (e *inputLine) Error() string { return e.err.Error() }
func (e *inputLine) Unwrap() error { return e.err }

// pubLines publishes each line of standard input, or each message object.
func (p *program) pubLines(ctx context.Context, to *publisher, pattern beck.Message, f *pubFlags) error {
	shown := newProgress(p, f.quiet)
	defer shown.clear()

	stopped := &stoppedLines{}
	to.stored = func(b *batch) {
		stopped.stored = b.lines[len(b.lines)-1]
		shown.add(len(b.lines))
	}

	reading, stop := context.WithCancel(ctx)
	defer stop()
	lines := newGatherer()
	decode := func(line []byte) (beck.Message, bool, error) {
		return beck.Message{Key: pattern.Key, Headers: pattern.Headers, Body: line}, true, nil
	}
	limit := to.bus.MaxBody()
	if f.json {
		decode = p.decodeObject
		// Each byte of a body takes six at worst, as \u0000, and the key and
		// the headers stand beside it. The bus checks the body itself.
		limit = 6*limit + 6*(beck.MaxHeaderBytes+beck.MaxKey)
	}
	// A read of standard input can't be called back: when publishing ends
	// early, it is left alone, and ends with the process.
	go func() {
		lines.finish(readLines(reading, newLineReader(p.In, limit), decode, pattern, lines))
	}()

	for {
		next, err := lines.take(ctx)
		if err == nil {
			stopped.sent = next.lines[len(next.lines)-1]
			err = to.publish(ctx, next)
		}
		wrong, isWrong := errors.AsType[*inputLine](err)
		switch {
		case err == nil:
			continue
		case err == io.EOF:
			return nil
		case isWrong:
			stopped.wrong = wrong.line
		case refused(err) && next != nil:
			stopped.wrong = firstAfter(next.lines, stopped.stored)
		}
		if !mayBeStored(err) {
			stopped.sent = stopped.stored
		}
		stopped.err = err
		return p.continueFrom(stopped, to, f.dedupe)
	}
}

// mayBeStored reports whether messages can be stored although publishing them
// returned an error.
func mayBeStored(err error) bool {
	return errors.Is(err, beck.ErrUncertain) || errors.Is(err, context.Canceled) && !errors.Is(err, beck.ErrUnavailable)
}

func firstAfter(lines []int64, stored int64) int64 {
	for _, n := range lines {
		if n > stored {
			return n
		}
	}
	return stored + 1
}

// againWhole is how to go on where deduplication ids have the numbers of lines.
const againWhole = "publish the whole input again with the same --dedupe: what is stored already is left out, as long as the topic remembers it"

// continueFrom says how to go on. dedupe is what the user gave as --dedupe.
func (p *program) continueFrom(stopped *stoppedLines, to *publisher, dedupe string) error {
	if stopped.wrong > 0 {
		limit := ""
		if raise := bodyLimitHint(stopped); raise != "" {
			limit = "; " + raise
		}
		if dedupe != "" {
			return &hinted{stopped, fmt.Sprintf("correct line %d and %s%s", stopped.wrong, againWhole, limit)}
		}
		return &hinted{stopped, fmt.Sprintf("correct line %d and go on from there%s", stopped.wrong, limit)}
	}
	next := stopped.stored + 1
	if errors.Is(stopped.err, beck.ErrDurability) {
		return &hinted{stopped, fmt.Sprintf("once the replicas are well, or with a lower --durability, go on from line %d", next)}
	}
	if dedupe != "" {
		return &hinted{stopped, againWhole}
	}
	if errors.Is(stopped.err, beck.ErrTopicFull) {
		return &hinted{stopped, fmt.Sprintf("once there is room, go on from line %d; %s", next, p.fullHint(to.topic))}
	}
	twice := ""
	if stopped.sent > stopped.stored {
		twice = ", which may store some twice"
	}
	return &hinted{stopped, fmt.Sprintf("go on from line %d%s: tail -n +%d FILE | %s; or let it keep trying with --retry 5m",
		next, twice, next, p.command(to.verb+" "+to.topic+" --lines"))}
}

// readLines adds every line to a gatherer, and returns why it stopped: io.EOF,
// or what is wrong with a line.
func readLines(ctx context.Context, from *lineReader, decode func([]byte) (beck.Message, bool, error), pattern beck.Message, to *gatherer) error {
	for {
		line, err := from.next()
		if errors.Is(err, io.EOF) {
			return io.EOF
		}
		message, ok := beck.Message{}, false
		if err == nil {
			message, ok, err = decode(line)
		}
		if err != nil {
			return &inputLine{err, from.line}
		}
		if !ok {
			continue
		}
		if message.Delay == 0 && message.At.IsZero() {
			message.Delay, message.At = pattern.Delay, pattern.At
		}
		if message.Durability == nil {
			message.Durability = pattern.Durability
		}
		if message.DedupeID == "" && pattern.DedupeID != "" {
			message.DedupeID = fmt.Sprintf("%s-%d", pattern.DedupeID, from.line)
		}
		if !to.add(ctx, message, from.line) {
			return context.Cause(ctx)
		}
	}
}
