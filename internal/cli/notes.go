package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// noteHandler prints what the library logs as one line for people:
// "beck: connection lost: error=…". What is only for finding faults is left out.
type noteHandler struct {
	w     io.Writer
	attrs []slog.Attr
	mu    sync.Mutex
}

// Enabled implements slog.Handler.
func (h *noteHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

// Handle implements slog.Handler.
func (h *noteHandler) Handle(_ context.Context, r slog.Record) error {
	var line strings.Builder
	line.WriteString("beck: " + strings.TrimPrefix(r.Message, "beck: "))
	separator := ": "
	add := func(a slog.Attr) bool {
		fmt.Fprintf(&line, "%s%s=%v", separator, a.Key, a.Value)
		separator = ", "
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	text := strings.Map(func(c rune) rune {
		if c == '\n' || c == '\r' {
			return ' '
		}
		return c
	}, line.String())

	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.w, text+"\n")
	return err
}

// WithAttrs implements slog.Handler.
func (h *noteHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &noteHandler{w: h.w, attrs: slices.Concat(h.attrs, attrs)}
}

// WithGroup implements slog.Handler. Groups tell people nothing here.
func (h *noteHandler) WithGroup(string) slog.Handler { return h }
