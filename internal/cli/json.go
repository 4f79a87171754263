package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/wire"
)

// printJSON prints one JSON value, on one line.
func (p *program) printJSON(ctx context.Context, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return p.out.write(ctx, append(text, '\n'))
}

// gapLine is what stands between messages where some may be missing.
type gapLine struct {
	Gap gapObject `json:"gap"`
}

type gapObject struct {
	Topic  string        `json:"topic"`
	After  beck.Position `json:"after"`
	Resume beck.Position `json:"resume"`
}

// gapPrefix begins a gapLine.
const gapPrefix = `{"gap":`

func appendGap(b []byte, gap *beck.Gap) []byte {
	text, err := json.Marshal(gapLine{gapObject{gap.Topic, gap.After, gap.Resume}})
	if err != nil {
		// Strings always marshal.
		return b
	}
	return append(append(b, text...), '\n')
}

// decodeObject reads a line as "beck sub --json" prints it. Empty lines, and
// gaps, are no messages.
func (p *program) decodeObject(line []byte) (m beck.Message, ok bool, err error) {
	if bytes.HasPrefix(line, []byte(gapPrefix)) {
		p.note("the input tells of a gap: messages may be missing here: %.300s", line)
		return beck.Message{}, false, nil
	}
	messages, err := wire.DecodeLines(line, 1)
	if problem, isProblem := errors.AsType[*wire.Problem](err); isProblem {
		// Only the caller knows which line of the input it is.
		what := strings.TrimPrefix(problem.Detail, "line 1, ")
		return beck.Message{}, false, fmt.Errorf("%w: %s", beck.ErrMessage, strings.TrimPrefix(what, beck.ErrMessage.Error()+": line 1 "))
	}
	if err != nil || len(messages) == 0 {
		return beck.Message{}, false, err
	}
	return messages[0], true, nil
}
