package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/beckmq/beck"
)

// A batch of lines is published when it has so many lines or so many bytes, or
// when no more have come while the one before it was published.
const (
	batchLines = 1000
	batchBytes = 1 << 20
)

// lineTooLong is how the error of a line beyond the limit begins.
const lineTooLong = "it is longer than"

// lineReader reads lines of limited length.
type lineReader struct {
	r    *bufio.Reader
	max  int
	line int64 // number of the line last read, from 1
}

func newLineReader(r io.Reader, max int) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 64<<10), max: max}
}

// next returns the next line without its newline, and io.EOF behind the last
// one. A last line needs no newline.
func (l *lineReader) next() ([]byte, error) {
	l.line++
	line := []byte{}
	for {
		part, err := l.r.ReadSlice('\n')
		line = append(line, part...)
		n := len(line)
		switch {
		case err == nil:
			n--
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && n > 0:
			err = nil
		default:
			return nil, err
		}
		if n > l.max {
			return nil, fmt.Errorf("%w: %s %s", beck.ErrTooLarge, lineTooLong, new(size(l.max)))
		}
		if err == nil {
			return line[:n], nil
		}
	}
}

// gatherer collects lines into batches: the reader of the input adds to one
// batch while the publisher is busy with the one before it.
type gatherer struct {
	mu  sync.Mutex
	now *batch
	end error // why no more will be added

	ready chan struct{} // has room for one: there is something to take
	room  chan struct{} // has room for one: something was taken
}

func newGatherer() *gatherer {
	return &gatherer{now: &batch{}, ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// add adds a line, waiting while the batch is full. It returns false when ctx
// has ended.
func (g *gatherer) add(ctx context.Context, m beck.Message, line int64) bool {
	for {
		g.mu.Lock()
		full := len(g.now.messages) >= batchLines || g.now.bytes >= batchBytes
		if !full {
			g.now.messages = append(g.now.messages, m)
			g.now.lines = append(g.now.lines, line)
			g.now.bytes += len(m.Body)
		}
		g.mu.Unlock()
		if !full {
			signalOne(g.ready)
			return true
		}
		select {
		case <-g.room:
		case <-ctx.Done():
			return false
		}
	}
}

// finish says why no more will be added; io.EOF for the end of the input.
func (g *gatherer) finish(err error) {
	g.mu.Lock()
	g.end = err
	g.mu.Unlock()
	signalOne(g.ready)
}

// take waits for lines and returns all that have gathered. Behind the last ones
// it returns the error given to finish.
func (g *gatherer) take(ctx context.Context) (*batch, error) {
	for {
		var taken *batch
		g.mu.Lock()
		if len(g.now.messages) > 0 {
			taken, g.now = g.now, &batch{}
		}
		end := g.end
		g.mu.Unlock()
		switch {
		case taken != nil:
			signalOne(g.room)
			return taken, nil
		case end != nil:
			return nil, end
		}
		select {
		case <-g.ready:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// signalOne signals a channel that has room for one, unless it is signalled.
func signalOne(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
