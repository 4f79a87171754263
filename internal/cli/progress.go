package cli

import (
	"fmt"
	"io"
	"time"
)

// progressPause is the least time between two updates on the terminal.
const progressPause = 200 * time.Millisecond

// progress shows on a terminal how many lines are published, and how fast.
type progress struct {
	w           io.Writer // nil if there is nobody to see it
	count       int64
	began, last time.Time
	shown       bool
}

// newProgress shows progress where standard error is a terminal. Where ids are
// printed to a terminal as well, they are progress enough.
func newProgress(p *program, quiet bool) *progress {
	g := &progress{began: time.Now()}
	if !quiet && isTerminal(p.Err) && !isTerminal(p.Out) {
		g.w = p.Err
	}
	return g
}

func (g *progress) add(n int) {
	g.count += int64(n)
	now := time.Now()
	if g.w == nil || now.Sub(g.last) < progressPause {
		return
	}
	g.last, g.shown = now, true
	rate := float64(g.count) / max(now.Sub(g.began).Seconds(), 0.001)
	fmt.Fprintf(g.w, "\r\x1b[K%s lines published, %s a second", grouped(g.count), grouped(int64(rate)))
}

// clear removes the line again.
func (g *progress) clear() {
	if g.shown {
		fmt.Fprint(g.w, "\r\x1b[K")
	}
}

// grouped writes a number as 1,234,567.
func grouped(n int64) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
