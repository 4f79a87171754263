package onredis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck/internal/driver"
)

const (
	// repliersAge is for how long the list of those who serve is good.
	repliersAge = time.Second
	// maxKnown bounds for how many services such lists are kept.
	maxKnown = 1000

	frameLost = 'l' // an answer that can't come, made in this process
)

// askers are the requests of this process that wait for answers.
type askers struct {
	mu      sync.Mutex
	number  uint64 // of the last request
	waiting map[uint64]chan answer
	known   map[string]*repliers
}

type answer struct {
	kind byte
	rest string
}

// repliers are those who serve, as last read. The list is never changed.
type repliers struct {
	list []replier
	read time.Time
	turn int
}

// replier is an inbox, and its score in the list in Redis.
type replier struct{ inbox, until string }

// Request implements driver.Live. It is one SPUBLISH to the inbox of one who
// serves, and one back. Redis tells how many got it: if nobody did the next one is
// tried.
func (e *engine) Request(ctx context.Context, service string, m driver.Message) (driver.Answer, error) {
	l := e.live
	if err := l.wantInbox(ctx); err != nil {
		return driver.Answer{}, err
	}
	deadline, bounded := ctx.Deadline()
	if !bounded {
		deadline = time.Now().Add(maxLeft)
	}
	number, answers := l.askers.begin()
	defer l.askers.end(number)
	q := asking{number: number, service: service, inbox: l.inbox, key: m.Key, headers: m.Headers, body: m.Body}
	for range 2 {
		list, first, fresh, err := l.repliersOf(ctx, service)
		if err != nil {
			return driver.Answer{}, err
		}
		for i := range list {
			r := list[(first+i)%len(list)]
			q.left = time.Until(deadline)
			got, err := l.askOne(ctx, r, &q, answers)
			if err != nil {
				return driver.Answer{}, err
			}
			switch got.kind {
			case frameAnswer:
				return driver.Answer{Body: []byte(got.rest)}, nil
			case frameFailure:
				if got.rest == "" {
					got.rest = "the replier failed without saying why"
				}
				return driver.Answer{Failure: got.rest}, nil
			}
			l.unregister(ctx, service, r)
		}
		if fresh {
			break
		}
		l.askers.forget(service)
	}
	return driver.Answer{}, fmt.Errorf("%w: service %s", driver.ErrNoReplier, service)
}

// askOne hands a request to one replier and waits for the answer. Its kind is
// frameNobody if the replier has gone.
func (l *live) askOne(ctx context.Context, r replier, q *asking, answers <-chan answer) (answer, error) {
	b := l.b
	reply, err := l.work.at(r.inbox).do(ctx, b.Spublish().Channel(r.inbox).Message(rueidis.BinaryString(q.encode())).Build())
	if err != nil {
		return answer{}, l.explain(ctx, err, "", writing)
	}
	if n, err := reply.ToInt64(); err != nil || n == 0 {
		return answer{kind: frameNobody}, err
	}
	select {
	case got := <-answers:
		if got.kind == frameLost {
			return got, fmt.Errorf("%w: redis %s: the connection for answers was lost", driver.ErrUncertain, l.addr)
		}
		return got, nil
	case <-ctx.Done():
		return answer{}, fmt.Errorf("redis %s: no answer from service %s: %w", l.addr, q.service, ctx.Err())
	case <-l.stop:
		return answer{}, fmt.Errorf("%w: redis %s", driver.ErrClosed, l.addr)
	}
}

// repliersOf lists who serves, and whose turn it is. fresh says that the list was
// read just now.
func (l *live) repliersOf(ctx context.Context, service string) (list []replier, first int, fresh bool, err error) {
	a := &l.askers
	a.mu.Lock()
	if known := a.known[service]; known != nil && len(known.list) > 0 && time.Since(known.read) < repliersAge {
		known.turn++
		list, first = known.list, known.turn%len(known.list)
		a.mu.Unlock()
		return list, first, false, nil
	}
	a.mu.Unlock()
	key := l.names.repliers(service)
	reply, err := l.work.at(key).run(ctx, l.scripts.repliers, []string{key})
	if err != nil {
		return nil, 0, true, l.explain(ctx, err, key, reading)
	}
	pairs, err := reply.AsStrSlice()
	if err != nil {
		return nil, 0, true, err
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		list = append(list, replier{pairs[i], pairs[i+1]})
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(list) == 0 {
		delete(a.known, service)
		return nil, 0, true, nil
	}
	known := a.known[service]
	if known == nil {
		if len(a.known) >= maxKnown {
			clear(a.known)
		}
		known = &repliers{turn: rand.IntN(len(list))}
		a.known[service] = known
	}
	known.list, known.read = list, time.Now()
	known.turn++
	return list, known.turn % len(list), true, nil
}

// unregister takes one who has gone off the list, unless he is back.
func (l *live) unregister(ctx context.Context, service string, r replier) {
	a := &l.askers
	a.mu.Lock()
	if known := a.known[service]; known != nil {
		known.list = slices.DeleteFunc(slices.Clone(known.list), func(o replier) bool { return o == r })
	}
	a.mu.Unlock()
	// If this fails, the entry ends by itself.
	_, _ = l.work.at(l.names.repliers(service)).run(ctx, l.scripts.unserve, []string{l.names.repliers(service)}, r.inbox, r.until)
}

func (a *askers) begin() (number uint64, answers <-chan answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.number++
	c := make(chan answer, 1)
	a.waiting[a.number] = c
	return a.number, c
}

func (a *askers) end(number uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.waiting, number)
}

func (a *askers) forget(service string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.known, service)
}

// answer hands over an answer, if somebody waits for it.
func (a *askers) answer(number uint64, got answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case a.waiting[number] <- got: // of a channel that is nil nothing comes
	default:
	}
}

// lost tells all who wait that nothing may come any more.
func (a *askers) lost() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.waiting {
		select {
		case c <- answer{kind: frameLost}:
		default:
		}
	}
}
