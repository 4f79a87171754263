package ondisk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// shared is the history of a topic that many publish to and consume from at once.
// Its clock counts what happens; 0 is never.
type shared struct {
	topic, sub string
	queue      bool

	mu     sync.Mutex
	clock  int
	calls  []*publishing
	bodies map[string]*publishing
	// acks are what was tried to end and is known to be ended, attempts the
	// highest one known. All are by id.
	acks     map[string]*ending
	attempts map[string]attempt
	// entered is the ids of messages that were delayed, by the former one.
	entered map[string]string
}

// publishing is one Append.
type publishing struct {
	bodies    []string
	ids       []string
	call, ret int
	delayed   bool
}

// ending is what is known of how a delivery ended: when it was first tried, and
// when it was known to be so.
type ending struct {
	do          driver.Action
	tried, done int
	// doubtful says that it was tried in more than one way.
	doubtful bool
}

func newShared(topic string, queue bool) *shared {
	s := &shared{topic: topic, sub: "s", queue: queue, bodies: map[string]*publishing{}, acks: map[string]*ending{}, attempts: map[string]attempt{}, entered: map[string]string{}}
	if queue {
		s.sub = workers
	}
	return s
}

func (s *shared) now() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock++
	return s.clock
}

// makeBody is a body that can be told from all others, and checked.
func makeBody(name string) []byte {
	random := rand.New(rand.NewPCG(uint64(crc32.ChecksumIEEE([]byte(name))), 5))
	size := random.IntN(60)
	if random.IntN(15) == 0 {
		size = 1000 + random.IntN(9000)
	}
	b := append(make([]byte, 0, len(name)+1+size), name+"|"...)
	for range size {
		b = append(b, byte(random.Uint32()))
	}
	return b
}

// nameOf is the name of a body, if it is whole.
func nameOf(body []byte) (string, error) {
	name, _, _ := strings.Cut(string(body), "|")
	if !bytes.Equal(makeBody(name), body) {
		return "", fmt.Errorf("corrupted: a body of %d bytes that begins with %.30q", len(body), body)
	}
	return name, nil
}

// publish does one Append of a batch. A third has deduplication ids, and is
// published again now and then by others.
func (s *shared) publish(e *engine, who string, n int, random *rand.Rand) error {
	name := fmt.Sprintf("%s.%s.%d", s.topic, who, n)
	p := &publishing{delayed: random.IntN(5) == 0}
	messages := make([]driver.Message, 1+random.IntN(4))
	dedupe := random.IntN(3) == 0
	for i := range messages {
		m := &messages[i]
		body := fmt.Sprintf("%s.%d", name, i)
		p.bodies = append(p.bodies, body)
		m.Body = makeBody(body)
		if dedupe {
			m.DedupeID = body
		}
		if p.delayed {
			m.Delay = time.Duration(1+random.IntN(20_000)) * time.Millisecond
		}
	}
	s.mu.Lock()
	s.clock++
	p.call = s.clock
	s.calls = append(s.calls, p)
	for _, body := range p.bodies {
		s.bodies[body] = p
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), opTime)
	defer cancel()
	ids, err := e.Append(ctx, s.topic, messages)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.clock++
	p.ids, p.ret = ids, s.clock
	s.mu.Unlock()
	if !dedupe || random.IntN(2) == 0 {
		return nil
	}
	again, err := e.Append(ctx, s.topic, messages)
	if err == nil && fmt.Sprint(again) != fmt.Sprint(ids) {
		err = fmt.Errorf("%w: %s was published as %v, and again as %v", errWrong, name, ids, again)
	}
	return err
}

// errWrong is what the engine under test must never do.
var errWrong = errors.New("wrong")

// consume does one Fetch and settles what it got.
func (s *shared) consume(e *engine, who string, random *rand.Rand) error {
	ctx, cancel := context.WithTimeout(context.Background(), opTime)
	defer cancel()
	began := s.now()
	f, err := e.Fetch(ctx, s.topic, s.sub, driver.FetchRequest{Consumer: who, Max: 1 + random.IntN(10)})
	if err != nil {
		return err
	}
	now := s.now()
	var list []driver.Settlement
	s.mu.Lock()
	for _, m := range f.Messages {
		if former := m.Headers["beck-delayed-id"]; former != "" {
			s.entered[former] = m.ID
		}
		if a := s.acks[m.ID]; a != nil && a.done > 0 && a.done < began {
			s.mu.Unlock()
			return fmt.Errorf("%w: %s came back: it was ended", errWrong, m.ID)
		}
		before := s.attempts[m.ID]
		if m.Attempt <= before.number && before.at < began {
			s.mu.Unlock()
			return fmt.Errorf("%w: %s had attempt %d before, now %d", errWrong, m.ID, before.number, m.Attempt)
		}
		s.attempts[m.ID] = attempt{max(m.Attempt, before.number), now}
		do := []driver.Action{driver.Acknowledge, driver.Acknowledge, driver.Acknowledge, driver.Retry, driver.DeadLetter, 0}[random.IntN(6)]
		if do == 0 {
			continue // its lease ends
		}
		list = append(list, driver.Settlement{ID: m.ID, Do: do, After: time.Duration(random.IntN(20)) * time.Second, Reason: "r"})
		s.try(m.ID, do)
	}
	s.mu.Unlock()
	if len(list) == 0 {
		return nil
	}
	not, err := e.Settle(ctx, s.topic, s.sub, who, list)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock++
	held := map[string]bool{}
	for _, id := range not {
		held[id] = true
	}
	for _, c := range list {
		if a := s.acks[c.ID]; a != nil && c.Do != driver.Retry && !held[c.ID] && a.done == 0 {
			a.done = s.clock
		}
	}
	return nil
}

// try notes that a delivery is about to end. Under mu.
func (s *shared) try(id string, do driver.Action) {
	if do == driver.Retry {
		return
	}
	s.clock++
	if a := s.acks[id]; a != nil {
		a.doubtful = a.doubtful || a.do != do
		return
	}
	s.acks[id] = &ending{do: do, tried: s.clock}
}

// remains is what is there of a shared topic.
type remains struct {
	messages []driver.Message
	delayed  []driver.Entry
	dead     map[string]driver.Message
	open     map[string]driver.State
	pending  []driver.Entry
}

func (s *shared) look(ctx context.Context, e *engine) (r remains, err error) {
	r.messages, err = readWhole(ctx, e, s.topic)
	if err != nil {
		return r, err
	}
	if r.delayed, err = peekAll(ctx, e, s.topic, "", driver.Delayed); err != nil {
		return r, err
	}
	r.dead, r.open = map[string]driver.Message{}, map[string]driver.State{}
	dead, err := peekAll(ctx, e, s.topic, s.sub, driver.Buried)
	for _, d := range dead {
		r.dead[d.Message.ID] = d.Message
	}
	for _, state := range []driver.State{driver.Held, driver.Waiting} {
		some, err := peekAll(ctx, e, s.topic, s.sub, state)
		if err != nil {
			return r, err
		}
		r.pending = append(r.pending, some...)
	}
	for some := idsOf(r.messages); len(some) > 0 && err == nil; some = some[min(1000, len(some)):] {
		var open map[string]driver.State
		open, err = e.Outstanding(ctx, s.topic, s.sub, some[:min(1000, len(some))])
		for id, state := range open {
			r.open[id] = state
		}
	}
	return r, err
}
