package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/wire"
)

// scan calls see with the messages in one state, page by page, until see returns
// false, or an error.
func scan(ctx context.Context, bus *beck.Bus, topic, subscription string, state beck.State, see func([]*beck.Entry) (bool, error)) error {
	for after := ""; ; {
		entries, more, err := bus.Peek(ctx, topic, subscription, state, &beck.PeekOptions{After: after, Max: beck.MaxFetch})
		if err != nil {
			return err
		}
		goOn, err := see(entries)
		if err != nil || !goOn || !more || len(entries) == 0 {
			return err
		}
		after = entries[len(entries)-1].Message.ID
	}
}

// column is one of a table of entries.
type column struct {
	name string
	text func(*beck.Entry) string
}

var (
	idColumn       = column{"ID", func(e *beck.Entry) string { return e.Message.ID }}
	timeColumn     = column{"TIME", func(e *beck.Entry) string { return moment(e.Message.Time) }}
	diedColumn     = column{"WHEN", func(e *beck.Entry) string { return moment(e.Since) }}
	sinceColumn    = column{"SINCE", func(e *beck.Entry) string { return moment(e.Since) }}
	dueColumn      = column{"DUE", func(e *beck.Entry) string { return moment(e.Due) }}
	attemptsColumn = column{"ATTEMPTS", func(e *beck.Entry) string { return fmt.Sprint(e.Message.Attempt) }}
	consumerColumn = column{"CONSUMER", func(e *beck.Entry) string { return dashed(e.Consumer) }}
	reasonColumn   = column{"REASON", func(e *beck.Entry) string { return dashed(brief([]byte(e.Reason), 60)) }}
	keyColumn      = column{"KEY", func(e *beck.Entry) string { return dashed(brief([]byte(e.Message.Key), 30)) }}
	bodyColumn     = column{"BODY", func(e *beck.Entry) string { return brief(e.Message.Body, 60) }}
)

// moment is a time for people, to the second.
func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// brief is the beginning of a text, in one line and without what a terminal could
// take for a command.
func brief(text []byte, most int) string {
	beginning := text[:min(len(text), 4*most)]
	if !utf8.Valid(text) {
		return fmt.Sprintf("(%d bytes, not text)", len(text))
	}
	shown := []rune(strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(beginning), "")))
	if len(shown) > most || len(beginning) < len(text) {
		return string(shown[:min(len(shown), most)]) + "…"
	}
	return string(shown)
}

// entryPrinter prints entries as they come.
type entryPrinter struct {
	p       *program
	json    bool
	columns []column
	headed  bool
}

func (t *entryPrinter) print(ctx context.Context, entries []*beck.Entry) error {
	if t.json {
		var text []byte
		for _, e := range entries {
			text = append(wire.AppendEntry(text, e), '\n')
		}
		return t.p.out.write(ctx, text)
	}
	return t.p.printText(ctx, func(text *strings.Builder) {
		w := table(text)
		if !t.headed {
			t.headed = true
			t.row(w, func(c column) string { return c.name })
		}
		for _, e := range entries {
			t.row(w, func(c column) string { return c.text(e) })
		}
		w.Flush()
	})
}

func (t *entryPrinter) row(w *tabwriter.Writer, cell func(column) string) {
	cells := make([]string, len(t.columns))
	for i, c := range t.columns {
		cells[i] = cell(c)
	}
	fmt.Fprintln(w, strings.Join(cells, "\t"))
}
