package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/wire"
)

const (
	// maxQuestions bounds the requests that one replier has and hasn't answered.
	maxQuestions = 1024
	// answerGrace is for how long a replier whose stream has ended may answer what
	// it was sent.
	answerGrace = 10 * time.Second
	// answerTime bounds the handing over of an answer.
	answerTime = 10 * time.Second
	// maxFailure bounds the text of a failure.
	maxFailure = 16 << 10
)

// questions are all requests that repliers were given and haven't answered.
type questions struct {
	mu       sync.Mutex
	byID     map[string]*question
	repliers map[string]*replier
}

// A question is a request that waits for its answer.
type question struct {
	id, service string
	message     *beck.Message // nil once it was sent
	deadline    time.Time
	answer      func(ctx context.Context, body []byte, failure string) error
	replier     *replier
	over        *time.Timer
}

// A replier is one stream of requests.
type replier struct {
	server      *Server
	id, service string
	unserve     func()        // ends that requests come
	leaving     chan struct{} // closed to end the stream behind those that have come
	waiting     *outbox[*question]
	open        map[string]*question // guarded by questions.mu
	gone        bool                 // guarded by questions.mu
	none        chan struct{}        // closed once it is gone and nothing is open
	failing     sync.WaitGroup
}

// requests streams requests to a replier, which is one for as long as the stream
// lasts. The first event says that it has begun.
func (s *Server) requests(w http.ResponseWriter, r *http.Request) error {
	if p := s.guard.checkChanging(r); p != nil {
		return p
	}
	ctx, cancel := s.untilEnd(r)
	defer cancel(nil)
	if ctx.Err() != nil {
		return beck.ErrClosed
	}
	q := &replier{
		server: s, id: rand.Text(), service: r.PathValue("service"), waiting: newOutbox[*question](),
		open: map[string]*question{}, none: make(chan struct{}), leaving: make(chan struct{}),
	}
	if err := beck.CheckName(q.service); err != nil || r.Method == http.MethodHead {
		return err
	}
	unserve, err := s.bus.Serve(ctx, q.service, q.take)
	if err != nil {
		return err
	}
	q.unserve = sync.OnceFunc(unserve)
	s.questions.enter(q)
	q.stream(ctx, s.newStream(w, cancel))
	q.unserve() // from here on, none comes
	s.questions.leave(q.service, q.id)
	s.behind.Go(func() { q.end(s.ending) }) // the client needn't wait for that
	return nil
}

func (q *replier) stream(ctx context.Context, out *stream) {
	defer out.close()
	if err := out.begin(wire.AppendReady(nil, q.id)); err != nil {
		return
	}
	for {
		select {
		case <-q.waiting.filled:
			if err := writeAll(out, q.waiting.take(), q.appendQuestion); err != nil {
				return
			}
		case <-q.leaving:
			_ = writeAll(out, q.waiting.take(), q.appendQuestion) // an error ends it as well
			return
		case <-ctx.Done():
			return
		}
	}
}

// endRequests ends a stream of requests from another side, so that the replier
// gets all that were given to it before.
func (s *Server) endRequests(w http.ResponseWriter, r *http.Request) error {
	q := s.questions.leave(r.PathValue("service"), r.PathValue("id"))
	if q == nil {
		return wire.NewProblem(wire.CodeRequestNotFound, "no stream of requests has this id")
	}
	q.unserve()
	close(q.leaving)
	return done(w, nil)
}

func (a *questions) enter(q *replier) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.repliers[q.id] = q
}

// leave takes out a replier, so that it is ended once; nil if there is none.
func (a *questions) leave(service, id string) *replier {
	a.mu.Lock()
	defer a.mu.Unlock()
	q := a.repliers[id]
	if q == nil || q.service != service {
		return nil
	}
	delete(a.repliers, id)
	return q
}

// appendQuestion adds a request, unless nobody waits for its answer any more.
func (q *replier) appendQuestion(b []byte, asked *question) []byte {
	all := &q.server.questions
	all.mu.Lock()
	m := asked.message
	asked.message = nil
	all.mu.Unlock()
	left := time.Until(asked.deadline)
	if m == nil || left <= 0 {
		return b
	}
	return wire.AppendRequest(b, asked.id, m, left)
}

// take is called by the bus, and doesn't block.
func (q *replier) take(m *beck.Message, deadline time.Time, answer func(ctx context.Context, body []byte, failure string) error) {
	left := time.Until(deadline)
	if left <= 0 {
		return
	}
	asked := &question{
		id: rand.Text(), service: q.service, message: m, deadline: deadline, answer: answer, replier: q,
	}
	all := &q.server.questions
	all.mu.Lock()
	defer all.mu.Unlock()
	size := len(m.Body) + len(m.Key) + 256
	for name, value := range m.Headers {
		size += len(name) + len(value)
	}
	switch {
	case q.gone:
		go q.server.fails(asked, "the replier's connection was lost before it got the request")
		return
	case len(q.open) >= maxQuestions || !q.waiting.add(asked, size):
		q.failing.Go(func() { q.server.fails(asked, "the replier has too much to do") })
		return
	}
	q.open[asked.id] = asked
	all.byID[asked.id] = asked
	asked.over = time.AfterFunc(left, func() {
		all.mu.Lock()
		defer all.mu.Unlock()
		all.remove(asked)
	})
}

// remove needs the lock. It reports whether the question was open.
func (a *questions) remove(asked *question) bool {
	if a.byID[asked.id] != asked {
		return false
	}
	delete(a.byID, asked.id)
	q := asked.replier
	delete(q.open, asked.id)
	asked.message = nil
	asked.over.Stop()
	if q.gone && len(q.open) == 0 {
		close(q.none)
	}
	return true
}

// end gives a replier that has gone a while to answer what it was sent. What it
// was not sent fails at once, and all that is left in the end.
func (q *replier) end(ending context.Context) {
	all := &q.server.questions
	var unsent []*question
	all.mu.Lock()
	q.gone = true
	for _, asked := range q.open {
		if asked.message != nil {
			unsent = append(unsent, asked)
		}
	}
	open := len(q.open)
	all.mu.Unlock()
	q.fail(unsent, "the replier's connection was lost before it got the request")
	if open > len(unsent) {
		grace := time.NewTimer(answerGrace)
		defer grace.Stop()
		select {
		case <-q.none:
		case <-grace.C:
		case <-ending.Done():
		}
	}
	all.mu.Lock()
	var left []*question
	for _, asked := range q.open {
		left = append(left, asked)
	}
	all.mu.Unlock()
	q.fail(left, "the replier's connection was lost before it answered")
	q.failing.Wait()
}

// fail answers questions that are still open.
func (q *replier) fail(list []*question, why string) {
	all := &q.server.questions
	for _, asked := range list {
		all.mu.Lock()
		open := all.remove(asked)
		all.mu.Unlock()
		if open {
			q.failing.Go(func() { q.server.fails(asked, why) })
		}
	}
}

// fails tells the one who asked that there will be no answer.
func (s *Server) fails(asked *question, why string) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	if err := asked.answer(ctx, nil, why); err != nil {
		s.log.Debug("a request that can't be answered waits for its end", "service", asked.service, "error", err)
	}
}

// reply takes the answer to a request: the body as it is, or the text of what
// went wrong.
func (s *Server) reply(w http.ResponseWriter, r *http.Request) error {
	service := r.PathValue("service")
	if err := beck.CheckName(service); err != nil {
		return err
	}
	text, failed := param(r, "failure")
	if failed && text != "true" {
		return fmt.Errorf("%w: failure is %.20q; it takes true, if the body is the text of an error", beck.ErrOption, text)
	}
	limit := int64(s.bus.MaxBody())
	if failed {
		limit = maxFailure
	}
	of := s.memory.share()
	defer of.giveBack()
	body, err := s.body(r, limit, of)
	if err != nil {
		return err
	}
	var failure string
	if failed {
		if failure = string(body); failure == "" || !utf8.ValidString(failure) {
			return fmt.Errorf("%w: the body must be the text of an error, as UTF-8", beck.ErrOption)
		}
		body = nil
	}
	asked := s.questions.take(service, r.PathValue("id"))
	if asked == nil {
		return wire.NewProblem(wire.CodeRequestNotFound, "no request of this id waits for an answer: it was answered, or nobody waits any more")
	}
	// A replier that hangs up now has answered nevertheless.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), answerTime)
	defer cancel()
	return done(w, asked.answer(ctx, body, failure))
}

// take takes out a question, so that it is answered once; nil if there is none.
func (a *questions) take(service, id string) *question {
	a.mu.Lock()
	defer a.mu.Unlock()
	asked := a.byID[id]
	if asked == nil || asked.service != service || !a.remove(asked) {
		return nil
	}
	return asked
}
