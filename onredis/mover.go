package onredis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck/internal/driver"
)

const (
	// maxMoved is how many delayed messages one script moves.
	maxMoved = 200
	// lookPortion is in how many topics one pipeline looks what is due.
	lookPortion = 500
	// lookPause is the time between two looks, which change may follow change.
	lookPause = 2 * time.Millisecond
	// Of the processes that wait for the same message, each waits a little longer,
	// at most so much: the first one moves it, and the others learn of that.
	maxMoveJitter = 5 * time.Millisecond
	// maxMoveWait is after what time it looks again, for clocks drift apart.
	maxMoveWait = time.Minute
	// clockLife is for how long Redis's clock is known.
	clockLife = 10 * time.Second
	// maxMovers is how many scripts it runs at a time, at one node.
	maxMovers = 8
	// fullPause is after what time it tries again to move messages into a topic
	// that was full, and failPause after an error.
	fullPause = 100 * time.Millisecond
	failPause = 200 * time.Millisecond
	// moveTimeout bounds one attempt to look or to move.
	moveTimeout = 10 * time.Second
)

// mover moves delayed messages into the topics that are being watched, when they
// are due. It waits with a timer a topic; what it waits for is the key due, which
// changes only with the first of the delayed messages.
type mover struct {
	e      *engine
	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{}  // somebody wants a look
	moves  sync.WaitGroup // and looks

	mu      sync.Mutex
	topics  map[string]*moving
	wanted  map[string]struct{}      // topics to look at
	asked   map[string][]string      // nodes that are being asked, with topics to ask for next
	places  map[string]chan struct{} // of nodes, for scripts
	stopped bool

	clocks map[*link]clock
}

// clock is what the clock of a node is ahead of this one's, as read at a time.
type clock struct {
	ahead time.Duration
	at    time.Time
}

// moving is one topic.
type moving struct {
	timer   *time.Timer // nil if nothing is known to be due
	looks   int         // how often the timer was set
	running bool
	again   bool // it was to start while it ran
	failed  bool // the last time; owned by who runs
	strange bool // it was no topic then, so it may be on its way to another instance
}

func newMover(e *engine) *mover {
	ctx, cancel := context.WithCancel(context.Background())
	return &mover{
		e: e, ctx: ctx, cancel: cancel, wake: make(chan struct{}, 1),
		topics: map[string]*moving{}, clocks: map[*link]clock{}, wanted: map[string]struct{}{},
		asked: map[string][]string{}, places: map[string]chan struct{}{},
	}
}

// look has it see when something is due in a topic. It never blocks.
func (m *mover) look(topic string) {
	m.mu.Lock()
	m.wanted[topic] = struct{}{}
	m.mu.Unlock()
	m.wakeUp()
}

// lookAtAll is for when any topic may have changed unseen.
func (m *mover) lookAtAll() {
	m.mu.Lock()
	for topic := range m.topics {
		m.wanted[topic] = struct{}{}
	}
	clear(m.clocks)
	m.mu.Unlock()
	m.wakeUp()
}

func (m *mover) wakeUp() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// forget ends the work on a topic, unless somebody still watches it.
func (m *mover) forget(topic string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.e.hub.watched(topic) {
		return
	}
	if t := m.topics[topic]; t != nil && t.timer != nil {
		t.timer.Stop()
	}
	delete(m.topics, topic)
	delete(m.wanted, topic)
}

// stop ends all of it. Scripts that run are waited for.
func (m *mover) stop() {
	m.cancel()
	m.mu.Lock()
	m.stopped = true
	for _, t := range m.topics {
		if t.timer != nil {
			t.timer.Stop()
		}
	}
	m.mu.Unlock()
	m.moves.Wait()
}

// run looks at topics whenever somebody wants it, until stop.
func (m *mover) run() {
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-m.wake:
		}
		for topics := m.take(); len(topics) > 0; topics = m.take() {
			m.lookAt(topics)
		}
		select {
		case <-m.ctx.Done():
			return
		case <-time.After(lookPause):
		}
	}
}

// take returns some topics to look at.
func (m *mover) take() (topics []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for topic := range m.wanted {
		if len(topics) == lookPortion {
			break
		}
		delete(m.wanted, topic)
		if m.e.hub.watched(topic) {
			topics = append(topics, topic)
		}
	}
	return topics
}

// lookAt has the keys due read, by the connection that is then told of their changes,
// and the timers set. One look is under way at a node at a time; a node that hangs does
// not keep it from the others.
func (m *mover) lookAt(topics []string) {
	keys := make([]string, len(topics))
	for i, topic := range topics {
		keys[i] = m.e.names.topic(topic).due
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range m.e.watcher.groups(keys) {
		if next, is := m.asked[g.node]; is {
			for _, i := range g.at {
				next = append(next, topics[i])
			}
			m.asked[g.node] = next
			continue
		}
		if m.stopped {
			return
		}
		m.asked[g.node] = nil
		m.moves.Go(func() { m.askNode(g, topics, keys) })
	}
}

// askNode looks at the topics of one node, and then has those looked at that have come
// since; after an error all of them, after a while.
func (m *mover) askNode(g group, topics, keys []string) {
	ctx, cancel := context.WithTimeout(m.ctx, moveTimeout)
	defer cancel()
	err := m.lookAtGroup(ctx, g, topics, keys)
	if err != nil && m.ctx.Err() == nil {
		m.e.log.Debug("looking for delayed messages", "redis", m.e.addr.String(), "error", err)
		select {
		case <-m.ctx.Done():
		case <-time.After(failPause):
		}
	}
	m.mu.Lock()
	next := m.asked[g.node]
	delete(m.asked, g.node)
	for _, topic := range next {
		m.wanted[topic] = struct{}{}
	}
	if err != nil {
		for _, i := range g.at {
			m.wanted[topics[i]] = struct{}{}
		}
	}
	m.mu.Unlock()
	if err != nil || len(next) > 0 {
		m.wakeUp()
	}
}

func (m *mover) lookAtGroup(ctx context.Context, g group, topics, keys []string) error {
	l, err := m.e.watcher.linkOf(ctx, g)
	if err != nil {
		return err
	}
	b := m.e.b
	cmds := make([]rueidis.Completed, 0, len(g.at)+1)
	for _, i := range g.at {
		cmds = append(cmds, b.Get().Key(keys[i]).Build())
	}
	m.mu.Lock()
	c := m.clocks[l]
	m.mu.Unlock()
	known := time.Since(c.at) < clockLife
	if !known {
		cmds = append(cmds, b.Time().Build())
	}
	began := time.Now()
	replies, err := l.doMulti(ctx, cmds...)
	if err != nil {
		return err
	}
	if !known {
		ahead, err := readClock(replies[len(g.at)], began)
		if err != nil {
			return err
		}
		c = clock{ahead, began}
		m.mu.Lock()
		m.clocks[l] = c
		m.mu.Unlock()
	}
	for n, i := range g.at {
		topic := topics[i]
		reply, err := replies[n].ToMessage()
		if m.e.cluster != nil && anyRedirect(replies[n:n+1]) {
			reply, err = m.e.watcher.at(keys[i]).do(ctx, b.Get().Key(keys[i]).Build())
		}
		switch {
		case rueidis.IsRedisNil(err):
			m.set(topic, -1)
			continue
		case isReply(err, "WRONGTYPE"):
			continue // whatever others wrote there; a sweep looks again
		case err != nil:
			return err
		}
		if due, err := reply.AsInt64(); err == nil {
			m.set(topic, max(0, time.Until(time.UnixMilli(due).Add(-c.ahead))))
		}
	}
	return nil
}

// readClock reads how far Redis's clock is ahead: rather more than less, since a
// script that comes too early says when to come again.
func readClock(reply rueidis.RedisResult, began time.Time) (time.Duration, error) {
	now, err := readTime(reply)
	return now.Sub(began), err
}

// set has the timer of a topic move what is due after a while, or never for a
// negative one.
func (m *mover) set(topic string, after time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped || !m.e.hub.watched(topic) {
		return
	}
	t := m.topics[topic]
	if t == nil {
		t = &moving{}
		m.topics[topic] = t
	}
	t.looks++
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
	switch {
	case after < 0:
	case after > maxMoveWait:
		t.timer = time.AfterFunc(maxMoveWait, func() { m.look(topic) })
	default:
		t.timer = time.AfterFunc(after+time.Millisecond+rand.N(maxMoveJitter), func() { m.start(topic) })
	}
}

// start moves what is due in a topic, unless that is being done.
func (m *mover) start(topic string) {
	m.mu.Lock()
	t := m.topics[topic]
	if m.stopped || t == nil || t.running {
		if t != nil {
			t.again = true
		}
		m.mu.Unlock()
		return
	}
	t.running, t.again = true, false
	looks := t.looks
	m.moves.Add(1)
	m.mu.Unlock()
	defer m.moves.Done()

	next := m.moveAll(topic, t)
	m.mu.Lock()
	t.running = false
	looked := looks != t.looks
	if t.again {
		next, looked = 0, false
	}
	m.mu.Unlock()
	if !looked { // or else a look knows better
		m.set(topic, next)
	}
}

// moveAll moves until nothing is due, and returns when to go on, -1 for never.
func (m *mover) moveAll(topic string, t *moving) time.Duration {
	places := m.placesOf(topic)
	select {
	case places <- struct{}{}:
	case <-m.ctx.Done():
		return -1
	}
	defer func() { <-places }()
	for {
		ctx, cancel := context.WithTimeout(m.ctx, moveTimeout)
		next, err := m.e.moveDue(ctx, topic)
		cancel()
		switch {
		case m.ctx.Err() != nil || !m.e.hub.watched(topic):
			return -1
		case errors.Is(err, driver.ErrTopicFull):
			return fullPause
		case errors.Is(err, driver.ErrWrongType) && !t.strange:
			t.strange = true // said the next time
			return failPause
		case err != nil:
			if !t.failed {
				m.e.log.Warn("delayed messages can't enter their topic; they are tried again", "topic", topic, "error", err)
			}
			t.failed = true
			return failPause
		case next != 0:
			t.failed, t.strange = false, false
			return next
		}
	}
}

// placesOf are those of the node that has a topic, so that one that hangs keeps only its
// own topics waiting.
func (m *mover) placesOf(topic string) chan struct{} {
	node := ""
	if c := m.e.cluster; c != nil {
		node = c.owner(slotOf(m.e.names.stream(topic)))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	places := m.places[node]
	if places == nil {
		places = make(chan struct{}, maxMovers)
		m.places[node] = places
	}
	return places
}

// moveDue moves some of the delayed messages that are due into their topic, and
// returns when the next one is, -1 for never. The error is ErrTopicFull if there
// is no room for them.
func (e *engine) moveDue(ctx context.Context, topic string) (next time.Duration, err error) {
	keys := e.names.publishing(topic)
	reply, err := e.work.at(keys[0]).run(ctx, e.scripts.due, keys, strconv.Itoa(maxMoved))
	if err != nil {
		return 0, e.explain(ctx, err, keys[0], writing)
	}
	parts, err := reply.ToArray()
	if err != nil || len(parts) != 3 {
		return 0, fmt.Errorf("%w: the script due returned %d parts: %v", driver.ErrCorrupt, len(parts), err)
	}
	left, err := parts[1].ToInt64()
	if err != nil {
		return 0, err
	}
	switch answer, err := parts[2].ToString(); {
	case err != nil:
		return 0, err
	case answer == "full":
		return 0, full(topic)
	case answer == "again": // it has made some of the room
		return 0, nil
	case answer != "ok":
		return 0, e.explainReply(ctx, answer, keys[0])
	case left < 0:
		return -1, nil
	}
	return time.Duration(left) * time.Millisecond, nil
}
