package beck

import (
	"cmp"
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
	// maxRefusals is how many for whom there is no room are told so at a time.
	maxRefusals = 4096
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
	if m.Delay != 0 || !m.At.IsZero() || m.DedupeID != "" || m.Durability != nil {
		return nil, fmt.Errorf("%w: a request takes no Delay, At, DedupeID or Durability", ErrMessage)
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
		r := &replier{
			bus: b, service: service, reply: reply,
			requests: make(chan driver.Request, replyRoom), refusals: make(chan struct{}, maxRefusals),
		}
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
	refusals chan struct{}
	running  sync.WaitGroup
}

// take is called by the engine, and must not block.
func (r *replier) take(q driver.Request) {
	select {
	case r.requests <- q:
		return
	default:
	}
	select {
	case r.refusals <- struct{}{}:
		r.running.Go(func() {
			defer func() { <-r.refusals }()
			r.answer(q, driver.Answer{Failure: "the replier has too much to do"})
		})
	default:
		// Even that is too much; whoever asked finds out when his time is over.
	}
}

// run handles requests until ctx ends, and then those that have been taken.
func (r *replier) run(ctx, handlers context.Context, stop func()) {
	defer r.running.Wait()
	slots := make(chan struct{}, maxReplies)
	handle := func(q driver.Request) {
		r.running.Go(func() {
			defer func() { <-slots }()
			r.handle(handlers, q)
		})
	}
	ending, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.bus.ctx, cancel)()
	for ending.Err() == nil {
		select {
		case <-ending.Done():
		case slots <- struct{}{}:
			select {
			case q := <-r.requests:
				handle(q)
			case <-ending.Done():
				<-slots
			}
		}
	}
	stop() // none comes behind this
	for len(r.requests) > 0 {
		slots <- struct{}{}
		handle(<-r.requests)
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
		// An empty one would say that nothing failed.
		answer.Failure = cmp.Or(reason(err), fmt.Sprintf("%T without a text", err))
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
	err := q.Answer(ctx, a)
	switch {
	case err == nil:
		r.bus.stats.replies.Add(1)
	case !errors.Is(err, ErrClosed):
		r.bus.log.Warn("beck: an answer could not be sent", "service", r.service, "error", err)
	}
}
