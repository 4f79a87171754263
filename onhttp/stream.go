package onhttp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/wire"
)

const (
	// quietTime is how long a stream may bring nothing, not even a heartbeat,
	// before it counts as lost.
	quietTime = 50 * time.Second
	// A stream that was lost is made again after a pause between these.
	minPause, maxPause = 50 * time.Millisecond, 3 * time.Second
)

// errEnded says that the server has ended a stream as it should.
var errEnded = errors.New("the server has ended the stream")

// An event is a block of server-sent events, but for its id.
type event struct {
	name string
	data []byte // belongs to the one who takes it
}

// stream is an open stream of events.
type stream struct {
	engine *engine
	call   call
	ctx    context.Context
	cancel context.CancelCauseFunc
	quiet  *time.Timer
	answer *http.Response
	lines  *bufio.Reader
}

// open opens a stream, which must be closed. The server has begun then to do what
// the stream is about.
func (e *engine) open(ctx context.Context, path string) (*stream, error) {
	s := &stream{engine: e, call: call{method: http.MethodGet, path: path}}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	s.quiet = time.AfterFunc(quietTime, func() {
		s.cancel(fmt.Errorf("%w: nothing was heard for %v", driver.ErrUnavailable, quietTime))
	})
	answer, err := e.send(s.ctx, s.call, nil)
	if err != nil {
		s.end()
		return nil, err
	}
	s.answer = answer
	if answer.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
		s.close()
		return nil, e.refused(s.call, answer, body)
	}
	s.lines = bufio.NewReaderSize(answer.Body, 16<<10)
	return s, nil
}

func (s *stream) end() {
	s.quiet.Stop()
	s.cancel(nil)
}

func (s *stream) close() {
	s.end()
	s.answer.Body.Close()
}

// next returns the next event that says anything. An error, which is never nil
// at the end, is errEnded if the server has ended the stream as it should.
func (s *stream) next() (event, error) {
	var got event
	for {
		line, err := s.line()
		switch {
		case errors.Is(err, io.EOF):
			return got, errEnded
		case errors.Is(err, errTooLong):
			return got, s.engine.tooLong(s.call)
		case err != nil:
			return got, s.engine.lost(s.ctx, s.call, err, true)
		}
		s.quiet.Reset(quietTime)
		if len(line) == 0 {
			if got.name == wire.EventProblem {
				if p, ok := wire.DecodeProblem(got.data); ok {
					return got, p
				}
			}
			if got.name != "" || got.data != nil {
				return got, nil
			}
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch string(name) {
		case "event":
			got.name = string(value)
		case "data":
			got.data = value
		}
	}
}

// line reads a line of any length that an answer may have.
func (s *stream) line() ([]byte, error) {
	var line []byte
	for {
		part, err := s.lines.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxAnswer:
			return nil, errTooLong
		case errors.Is(err, bufio.ErrBufferFull):
			s.quiet.Reset(quietTime)
			continue
		case err == io.EOF && len(line) > 0:
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		}
		return bytes.TrimRight(line, "\r\n"), nil
	}
}

// keep has a stream of events, always a new one when one ends, until going ends;
// ctx is that of the streams. It closes the one it is given. again is called for
// each new one when it is open.
func (e *engine) keep(ctx, going context.Context, first *stream, path string, take func(event) error, again func()) {
	pause, failed := minPause, false
	for s := first; ; {
		began := time.Now()
		var err error
		if s == nil {
			if s, err = e.open(ctx, path); err == nil && again != nil {
				again()
			}
		}
		if err == nil {
			err = s.each(take)
			s.close()
		}
		s = nil
		if going.Err() != nil {
			return
		}
		if time.Since(began) > maxPause {
			pause, failed = minPause, false
		}
		if !errors.Is(err, errEnded) && !failed {
			e.log.Warn("lost a stream; trying again", "server", e.name, "path", path, "error", err)
		}
		failed = !errors.Is(err, errEnded)
		select {
		case <-going.Done():
			return
		case <-time.After(pause + rand.N(pause/2)):
		}
		pause = min(2*pause, maxPause)
	}
}

// each hands over the events of a stream until it ends.
func (s *stream) each(take func(event) error) error {
	for {
		got, err := s.next()
		if err == nil {
			err = take(got)
		}
		if err != nil {
			return err
		}
	}
}

// streams are those of listeners and repliers that are kept.
type streams struct {
	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

// leaveTime bounds how long the end of a stream may take that the server is asked
// to end.
const leaveTime = 5 * time.Second

// start opens a stream, hands over its first event, and keeps it until stop, which
// waits for what is under way. ctx bounds the opening only. leave, if there is
// one, asks the server to end the stream, and reports whether it does.
func (e *engine) start(ctx context.Context, path string, take func(event) error, again func(), leave func(context.Context) bool) (stop func(), err error) {
	e.streams.mu.Lock()
	if e.streams.closed {
		e.streams.mu.Unlock()
		return nil, driver.ErrClosed
	}
	e.streams.running.Add(1)
	e.streams.mu.Unlock()

	kept, cancel := context.WithCancelCause(e.ctx)
	opening := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	silence := time.AfterFunc(e.patience, func() { cancel(errSilent) })
	first, err := e.begin(kept, path, take)
	if whole := silence.Stop() && opening(); !whole && err == nil {
		first.close() // it has been cancelled, or will be
		err = e.lost(kept, first.call, context.Canceled, true)
	}
	if err != nil {
		if e.ctx.Err() != nil {
			err = driver.ErrClosed
		}
		cancel(nil)
		e.streams.running.Done()
		return nil, err
	}
	going, enough := context.WithCancel(kept)
	done := make(chan struct{})
	go func() {
		defer e.streams.running.Done()
		defer close(done)
		e.keep(kept, going, first, path, take, again)
	}()
	return func() {
		enough()
		defer cancel(nil)
		if leave != nil {
			ctx, cancel := context.WithTimeout(kept, leaveTime)
			defer cancel()
			if leave(ctx) {
				select {
				case <-done:
				case <-ctx.Done():
				}
			}
		}
		cancel(nil)
		<-done
	}, nil
}

// begin opens a stream and hands over its first event.
func (e *engine) begin(ctx context.Context, path string, take func(event) error) (*stream, error) {
	s, err := e.open(ctx, path)
	if err != nil {
		return nil, err
	}
	got, err := s.next()
	if err == nil {
		err = take(got)
	}
	if errors.Is(err, errEnded) {
		err = fmt.Errorf("%w: http %s: the stream has ended", driver.ErrUnavailable, e.name)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// wait returns once all streams have ended; the engine's context has.
func (s *streams) wait(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	return waitFor(ctx, &s.running)
}

func waitFor(ctx context.Context, running *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() { running.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("streams were still open: %w", context.Cause(ctx))
	}
}
