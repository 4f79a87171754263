package onredis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

const (
	// moveWait is how long a call waits for its topic to move.
	moveWait = 30 * time.Second
	// moveLook is how often it looks whether it has, and moveRescue how often
	// it tries to put a topic back whose mover seems to have ended.
	moveLook   = 5 * time.Millisecond
	moveRescue = time.Second
	// maxTurns is how often a call goes on elsewhere: a topic moves seldom.
	maxTurns = 20
)

// mark is what stands in place of the stream of a topic that moves, or has moved.
type mark struct {
	State      string `json:"state"` // moving or moved
	To         string `json:"to"`
	Token      string `json:"token"`
	Generation int64  `json:"generation"`
	Ends       int64  `json:"ends"`

	text string
}

const (
	stateMoving = "moving"
	stateMoved  = "moved"
)

// place is the instance that a topic is at, as far as is known here.
func (s *shards) place(topic string) string {
	set := s.set.Load()
	now, next := set.places(topic)
	if now != next {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.moved[topic] {
			return next
		}
	}
	return now
}

// on has a call made by the engine of a topic's instance, and follows the topic if it
// is moved meanwhile. A call that fails with notAStream has done nothing, or the
// caller knows what. makes says that the call may make the topic.
func (s *shards) on(ctx context.Context, topic string, makes making, call func(*engine) error) error {
	if s.ctx.Err() != nil {
		return fmt.Errorf("%w: %v", driver.ErrClosed, s)
	}
	var err error
	moves, before := false, ""
	for range maxTurns {
		set := s.set.Load()
		at := s.place(topic)
		moves, before = moves || before != "" && at != before, at
		e, down := s.engineOf(ctx, at)
		if down != nil {
			return down
		}
		if makes != makesNone {
			if again, failed := s.claim(ctx, set, e, at, topic, makes); failed != nil || again {
				if failed != nil {
					return failed
				}
				continue
			}
		}
		err = call(e)
		if missing(err) && s.elsewhere(ctx, set, topic) {
			continue
		}
		if _, marked := errors.AsType[*notAStream](err); !marked {
			return err
		}
		again, failed := s.chase(ctx, e, at, topic)
		if failed != nil {
			return failed
		}
		if !again {
			return err
		}
	}
	if _, marked := errors.AsType[*notAStream](err); marked && !moves {
		return err // it is another key that is not what it should be
	}
	return fmt.Errorf("%w: %s moves from instance to instance: %v", driver.ErrUnavailable, topic, err)
}

// making says whether a call may make a topic.
type making string

const (
	makesNone   making = ""
	makesMaybe  making = "maybe" // and if so, by itself
	makesAlways making = "make"
)

func missing(err error) bool {
	return errors.Is(err, driver.ErrTopicNotFound) || errors.Is(err, driver.ErrSubscriptionNotFound)
}

// elsewhere looks, for a topic that seems not to be there, whether it may be at its
// next place because the set has changed. Outside of a change it costs nothing.
func (s *shards) elsewhere(ctx context.Context, set *shardSet, topic string) bool {
	if now, next := set.places(topic); now == next {
		return s.set.Load() != set
	}
	if s.set.Load() == set {
		s.refresh(ctx)
	}
	return s.set.Load() != set
}

// refresh looks which set is recorded.
func (s *shards) refresh(ctx context.Context) {
	for _, e := range s.up() {
		limited, cancel := context.WithTimeout(ctx, beatTimeout)
		if set, err := e.readSet(limited); err == nil {
			s.learn(set)
		}
		cancel()
	}
}

// claim sees to it that a topic that may be made is made where it belongs. again says
// that this is elsewhere.
func (s *shards) claim(ctx context.Context, set *shardSet, e *engine, at, topic string, makes making) (again bool, err error) {
	now, next := set.places(topic)
	s.mu.Lock()
	known := s.known[topic]
	s.mu.Unlock()
	if at != now || known && now == next {
		return false, nil
	}
	to := ""
	if now != next {
		to = next
	}
	k := s.names.topic(topic)
	keys := []string{s.names.shards(), k.schedules, k.stream, k.subs, k.lost, k.seen, k.config, k.counts, k.delayed, k.fields, k.due, k.once, k.ends}
	answer, err := e.runShardText(ctx, "shards_claim", keys, fmt.Sprint(set.Generation), to, string(makes))
	if err != nil {
		switch {
		case ctx.Err() != nil:
			err = fmt.Errorf("redis %s: %w", at, ctx.Err())
		case errors.Is(err, driver.ErrUncertain):
			err = fmt.Errorf("%w: %v", driver.ErrUnavailable, err) // nothing is published yet
		}
		return false, err
	}
	switch answer {
	case "stale":
		s.refresh(ctx)
		if s.set.Load() == set {
			return false, fmt.Errorf("%w: redis %s knows a newer set of instances that can't be read", driver.ErrUnavailable, at)
		}
		return true, nil
	case "there":
		s.setMoved(set, topic)
		return true, nil
	}
	s.mu.Lock()
	if len(s.known) >= maxKnownTopics {
		clear(s.known)
	}
	s.known[topic] = true
	s.mu.Unlock()
	return false, nil
}

// setMoved remembers that a topic is at its next place.
func (s *shards) setMoved(set *shardSet, topic string) {
	s.mu.Lock()
	if s.set.Load() == set {
		if len(s.moved) >= maxKnownTopics {
			clear(s.moved)
		}
		s.moved[topic] = true
	}
	s.mu.Unlock()
	now, next := set.places(topic)
	if e := s.up()[now]; e != nil && now != next {
		e.forgetTopic(topic)
		e.configs.forget(topic)
	}
	s.rehomeTopic(topic)
}

// readMark reads what stands in place of a topic's stream: nil if that is no mark.
func (e *engine) readMark(ctx context.Context, topic string) (*mark, error) {
	key := e.names.stream(topic)
	reply, err := e.do(ctx, key, "GET", key)
	if isReply(err, "WRONGTYPE") || err == nil && reply.IsNil() {
		return nil, nil
	}
	var text string
	if err == nil {
		text, err = reply.ToString()
	}
	if err != nil {
		return nil, e.explain(ctx, err, key, reading)
	}
	m := &mark{text: text}
	if json.Unmarshal([]byte(text), m) != nil || m.State != stateMoving && m.State != stateMoved {
		return nil, fmt.Errorf("%w: the key %s holds a string, where a stream belongs", driver.ErrWrongType, key)
	}
	return m, nil
}

// chase finds out why a topic can't be used at an instance, waits if it is on its way,
// and reports whether the call is to be made again.
func (s *shards) chase(ctx context.Context, e *engine, at, topic string) (again bool, err error) {
	began, rescued := time.Now(), time.Now()
	for {
		set := s.set.Load()
		m, err := e.readMark(ctx, topic)
		switch {
		case errors.Is(err, driver.ErrWrongType):
			return false, nil // the caller's error tells more
		case err != nil:
			return false, err
		case m == nil:
			return s.wasMarked(ctx, e, topic, time.Since(began) > moveLook)
		case m.State == stateMoved:
			return true, s.goOn(ctx, set, e, at, topic, m)
		}
		if time.Since(began) > moveWait {
			return false, fmt.Errorf("%w: %s has been moving to %s for %v", driver.ErrUnavailable, topic, m.To, moveWait)
		}
		if time.Since(rescued) > moveRescue {
			rescued = time.Now()
			if err := e.putBack(ctx, topic, m.Token, ""); err != nil {
				return false, err
			}
		}
		select {
		case <-time.After(moveLook):
		case <-ctx.Done():
			return false, fmt.Errorf("redis %s: %s is being moved: %w", at, topic, ctx.Err())
		case <-s.ctx.Done():
			return false, fmt.Errorf("%w: %v", driver.ErrClosed, s)
		}
	}
}

// wasMarked tells whether a topic that bears no mark did a moment ago: a stream is as
// good as any other, but what is neither is for the caller to explain.
func (s *shards) wasMarked(ctx context.Context, e *engine, topic string, waited bool) (bool, error) {
	if waited {
		return true, nil
	}
	key := s.names.stream(topic)
	reply, err := e.do(ctx, key, "TYPE", key)
	if err != nil {
		return false, e.explain(ctx, err, key, reading)
	}
	kind, err := reply.ToString()
	return kind == "stream" || kind == "none", err
}

// goOn takes over that a topic has moved away from an instance.
func (s *shards) goOn(ctx context.Context, set *shardSet, e *engine, at, topic string, m *mark) error {
	if m.Generation > set.Generation {
		s.refresh(ctx)
		if s.set.Load() == set {
			return fmt.Errorf("%w: %s has moved to %s, and nobody tells of that set of instances", driver.ErrUnavailable, topic, m.To)
		}
		return nil
	}
	if at != s.place(topic) {
		return nil // the set has changed since
	}
	if m.Generation < set.Generation {
		// A mark of long ago, when the topic left here. It belongs here again.
		_, err := e.runShardBool(ctx, "shards_unmark", []string{s.names.stream(topic), s.names.topic(topic).schedules}, m.text, "0")
		return err
	}
	if m.Token != "" {
		to, err := s.engineOf(ctx, m.To)
		if err != nil {
			return err
		}
		if err := to.arrive(ctx, topic, m.Token); err != nil {
			return err
		}
	}
	s.setMoved(set, topic)
	return nil
}
