package beck

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

const (
	// requestTime is how long a Request waits whose context has no deadline.
	requestTime = 30 * time.Second
	// maxReplies is how many functions one Reply runs at a time, and replyRoom how
	// many requests wait for their turn.
	maxReplies = 256
	replyRoom  = 4096
	// answerTime bounds the sending of an answer.
	answerTime = 10 * time.Second
)

// Request asks a service, and returns what one of its repliers answers. Nothing
// is stored: the request is made once, and given up when ctx ends, or after 30
// seconds if that has no deadline. ErrNoReplier comes at once if nobody replies
// for this service; an error of the replier is an [*AnswerError]. With any other
// error but ErrUnavailable the request may have been handled. Of the message,
// Key, Headers and Body are sent.
func (b *Bus) Request(ctx context.Context, service string, m Message) (answer []byte, err error) {
	err = b.do("request", at{service}, func() error {
		if _, bounded := ctx.Deadline(); !bounded {
			limited, cancel := context.WithTimeout(ctx, requestTime)
			defer cancel()
			ctx = limited
		}
		answer, err = b.request(ctx, service, m)
		return err
	})
	return answer, err
}

func (b *Bus) request(ctx context.Context, service string, m Message) (answer []byte, err error) {
	if b.before != nil {
		one := []Message{m}
		if done := b.before(ctx, service, one); done != nil {
			defer func() { done(nil, err) }()
		}
		m = one[0]
	}
	checked, err := m.check(b.maxBody)
	if err != nil {
		return nil, err
	}
	if m.Delay != 0 || !m.At.IsZero() || m.DedupeID != "" {
		return nil, fmt.Errorf("%w: a request takes no Delay, At or DedupeID", ErrMessage)
	}
	b.stats.requests.Add(1)
	got, err := b.engine.Request(ctx, service, checked)
	if err == nil && got.Failure != "" {
		err = &AnswerError{Service: service, Text: got.Failure}
	}
	return got.Body, err
}

// Reply answers requests to a service until ctx ends, and then returns nil once
// those that it has taken are answered; or until the bus is closed, and then
// returns ErrClosed. Each request goes to one of those who reply, in any process.
// What reply returns is the answer; an error, or a panic, is told to the one who
// asked. Up to 256 requests are handled at a time. The context of reply ends when
// nobody waits for the answer any more; a request that nobody waits for is not
// handled.
func (b *Bus) Reply(ctx context.Context, service string, reply func(context.Context, *Message) ([]byte, error)) error {
	return b.doLasting("reply", at{service}, func() error {
		if reply == nil {
			return fmt.Errorf("%w: no function to reply with", ErrOption)
		}
		r := &replier{bus: b, service: service, reply: reply, requests: make(chan driver.Request, replyRoom)}
		stop, err := b.engine.Serve(ctx, service, r.take)
		if err != nil && ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		handlers, cancel := linger(ctx, b.hard, defaultGrace)
		defer cancel()
		r.run(ctx, handlers, stop)
		if b.ctx.Err() != nil {
			return ErrClosed
		}
		return nil
	})
}

// replier is one Reply.
type replier struct {
	bus      *Bus
	service  string
	reply    func(context.Context, *Message) ([]byte, error)
	requests chan driver.Request
}

// take is called by the engine, and must not block.
func (r *replier) take(q driver.Request) {
	select {
	case r.requests <- q:
	default:
		go r.answer(q, driver.Answer{Failure: "the replier has too much to do"})
	}
}

// run handles requests until ctx ends, and then those that have been taken.
func (r *replier) run(ctx, handlers context.Context, stop func()) {
	var running sync.WaitGroup
	defer running.Wait()
	slots := make(chan struct{}, maxReplies)
	begin := func(q driver.Request) {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			r.handle(handlers, q)
		})
	}
	for {
		select {
		case q := <-r.requests:
			begin(q)
			continue
		case <-ctx.Done():
		case <-r.bus.ctx.Done():
		}
		stop() // none comes behind this
		for {
			select {
			case q := <-r.requests:
				begin(q)
				continue
			default:
			}
			return
		}
	}
}

func (r *replier) handle(handlers context.Context, q driver.Request) {
	if !time.Now().Before(q.Deadline) {
		return
	}
	ctx, cancel := context.WithDeadline(handlers, q.Deadline)
	defer cancel()
	r.bus.stats.handling.Add(1)
	defer r.bus.stats.handling.Add(-1)
	m := Message(q.Message)
	m.Topic = r.service
	// This is told if the function ends its goroutine.
	answer := driver.Answer{Failure: "the replier ended its goroutine"}
	defer func() { r.answer(q, answer) }()
	body, err := r.call(ctx, &m)
	switch {
	case err != nil:
		answer.Failure = reason(err)
	case len(body) > r.bus.maxBody:
		answer.Failure = fmt.Sprintf("the answer has %d bytes, more than the %d allowed", len(body), r.bus.maxBody)
	default:
		answer = driver.Answer{Body: body}
	}
}

// call runs the user's function. A panic is an error.
func (r *replier) call(ctx context.Context, m *Message) (body []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			r.bus.log.Error("beck: replying panicked", "service", r.service, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			body, err = nil, fmt.Errorf("the replier panicked: %v", p)
		}
	}()
	return r.reply(ctx, m)
}

func (r *replier) answer(q driver.Request, a driver.Answer) {
	if !time.Now().Before(q.Deadline) {
		return
	}
	ctx, cancel := context.WithTimeout(r.bus.hard, answerTime)
	defer cancel()
	if err := q.Answer(ctx, a); err != nil && !errors.Is(err, ErrClosed) {
		r.bus.log.Warn("beck: an answer could not be sent", "service", r.service, "error", err)
		return
	}
	r.bus.stats.replies.Add(1)
}
