package cli

import (
	"bytes"
	"context"
	"sync"
)

// together lets several commands write to one stream, a line at a time. When
// nobody reads the stream any more, they go on all the same.
type together struct {
	ctx context.Context // of beck's command: behind its end, no write waits long
	to  *output
}

// longestLine is how much of a line is kept until its end comes.
const longestLine = 64 << 10

// lineWriter is one command's way to the stream.
type lineWriter struct {
	*together
	mu   sync.Mutex
	kept []byte
}

func (t *together) one() *lineWriter { return &lineWriter{together: t} }

func (l *lineWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, b...)
	end := bytes.LastIndexByte(l.kept, '\n') + 1
	if end == 0 && len(l.kept) > longestLine {
		end = len(l.kept)
	}
	l.pass(end)
	return len(b), nil
}

// flush passes on what has no end.
func (l *lineWriter) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pass(len(l.kept))
}

func (l *lineWriter) pass(n int) {
	// The output may hold on to what it could not write.
	_ = l.to.write(l.ctx, bytes.Clone(l.kept[:n]))
	l.kept = append(l.kept[:0], l.kept[n:]...)
}
