package onredis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// maxMoved is the largest key that is moved, in bytes of memory. Redis takes 512 MiB of
// serialized value in one command.
const maxMovedKey = 400 << 20

// The steps of a move, for tests that end a mover at each of them.
const (
	stepFenced  = "fenced"
	stepCopied  = "copied"
	stepDecided = "decided"
	stepArrived = "arrived"
	stepCleaned = "cleaned"
)

// topicMove is the move of one topic from one instance to another.
type topicMove struct {
	topic      string
	from, to   *engine
	name       string // of the instance to go to
	generation int64
	lease      time.Duration
	instance   func(name string) *engine
	step       func(step, topic string)

	token         string
	subscriptions []string
	bytes         int64
	nothing       bool // was there
}

// run moves the topic, unless it is not there, or has moved already. done is false if
// there was nothing to do.
func (m *topicMove) run(ctx context.Context) (done bool, err error) {
	for {
		subscriptions, err := m.from.subscriptionNames(ctx, m.topic)
		marked := isReply(err, "WRONGTYPE")
		if marked {
			subscriptions, err = nil, nil // fence tells
		}
		if err != nil {
			return false, m.from.explain(ctx, err, m.from.names.stream(m.topic), reading)
		}
		if !marked {
			if err := m.check(ctx, subscriptions); err != nil {
				return false, err
			}
		}
		m.token = rand.Text()
		answer, text, err := m.fence(ctx, subscriptions)
		switch {
		case err != nil:
			// It may be done all the same; the mark tells, and ends by itself.
			return false, err
		case answer == "again":
			continue
		case answer == "stale":
			return false, errOvertaken
		case answer == "fenced":
			m.step(stepFenced, m.topic)
			return true, m.goOn(ctx)
		case answer != "marked":
			m.nothing = answer == "nothing"
			return false, nil
		}
		again, done, err := m.resume(ctx, text)
		if !again || err != nil {
			return done, err
		}
	}
}

// check refuses what can't be moved, before anything is touched.
func (m *topicMove) check(ctx context.Context, subscriptions []string) error {
	for _, key := range m.from.names.all(m.topic, subscriptions) {
		reply, err := m.from.do(ctx, key, "MEMORY", "USAGE", key, "SAMPLES", "20")
		if err != nil {
			return m.from.explain(ctx, err, key, reading)
		}
		if bytes, _ := reply.AsInt64(); bytes > maxMovedKey {
			return fmt.Errorf("%w: topic %s can't be moved: the key %s takes %d MiB, and Redis can't copy more than about %d MiB at once; trim it first",
				driver.ErrTooLarge, m.topic, key, bytes>>20, maxMovedKey>>20)
		}
	}
	stream := m.to.names.stream(m.topic)
	reply, err := m.to.do(ctx, stream, "TYPE", stream)
	if err != nil {
		return m.to.explain(ctx, err, stream, reading)
	}
	switch kind, _ := reply.ToString(); kind {
	case "none":
		return nil
	case "stream":
		return fmt.Errorf("%w: topic %s is at both %s and %s; delete one of them", driver.ErrWrongType, m.topic, m.from.addr, m.to.addr)
	case "string":
		if _, err = m.to.readMark(ctx, m.topic); err == nil {
			return nil // of when it left there
		}
	default:
		err = fmt.Errorf("%w: the key %s holds a %s", driver.ErrWrongType, stream, kind)
	}
	return fmt.Errorf("topic %s can't be moved to %s: %w; move it away", m.topic, m.to.addr, err)
}

func (m *topicMove) fence(ctx context.Context, subscriptions []string) (answer, text string, err error) {
	names := m.from.names
	t := names.topic(m.topic)
	keys := append([]string{t.stream, t.subs, t.schedules, names.schedules(), names.note(m.topic, movingPart), names.shards()},
		names.pairs(m.topic, movingPart, subscriptions)...)
	args := append([]string{m.token, millis(m.lease), m.name, strconv.FormatInt(m.generation, 10), m.topic, packNames(subscriptions)}, subscriptions...)
	_, err = m.from.do(ctx, names.onTheWay(), "SET", names.onTheWay(), m.topic, "PX", millis(m.lease))
	if err = m.from.explain(ctx, err, names.onTheWay(), writing); err != nil && !errors.Is(err, driver.ErrFull) { // it is for lists only
		return "", "", err
	}
	reply, err := m.from.runShard(ctx, "shards_fence", keys, args...)
	if err != nil {
		return "", "", err
	}
	parts, err := reply.AsStrSlice()
	if err != nil || len(parts) == 0 {
		return "", "", fmt.Errorf("%w: the script shards_fence returned %d parts: %v", driver.ErrCorrupt, len(parts), err)
	}
	if parts[0] == "marked" && len(parts) == 2 {
		text = parts[1]
	}
	return parts[0], text, nil
}

// goOn copies a topic that is out of use, and decides that it has moved.
func (m *topicMove) goOn(ctx context.Context) error {
	working, cancel := context.WithCancel(ctx)
	renewed := make(chan struct{})
	go m.renew(working, cancel, renewed)
	err := m.copy(working)
	if ctx.Err() == nil && working.Err() != nil {
		err = errors.Join(m.tooSlow(), err)
	}
	cancel()
	<-renewed
	if err == nil {
		m.step(stepCopied, m.topic)
		var decided bool
		if decided, err = m.mark(ctx, "moved"); err == nil && !decided {
			err = m.tooSlow()
		}
		if errors.Is(err, driver.ErrUncertain) {
			return err // the next run finds out
		}
	}
	if err != nil {
		cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), beatTimeout)
		defer cancel()
		return errors.Join(err, m.giveUp(cleaning))
	}
	m.step(stepDecided, m.topic)
	return m.settle(ctx, m.to, m.token)
}

// giveUp puts the topic back, and then removes what was copied: never while the mark
// says, or may say, that it is needed.
func (m *topicMove) giveUp(ctx context.Context) error {
	if err := m.from.putBack(ctx, m.topic, m.token, "own"); err != nil {
		return err // the next run clears
	}
	if now, err := m.from.readMark(ctx, m.topic); err != nil || now != nil && now.Token == m.token {
		return err
	}
	return m.to.discard(ctx, m.topic, m.token, m.subscriptions)
}

// errOvertaken says that others have gone on since the set was read.
var errOvertaken = fmt.Errorf("%w: another reshard has changed the set of instances meanwhile", driver.ErrInUse)

// errTooSlow says that a topic goes on where it was, since its move took too long.
var errTooSlow = errors.New("it took longer than it may")

func (m *topicMove) tooSlow() error {
	return fmt.Errorf("%w: moving topic %s: %w; it goes on where it was", driver.ErrUnavailable, m.topic, errTooSlow)
}

// settle ends a move that is decided.
func (m *topicMove) settle(ctx context.Context, to *engine, token string) error {
	if err := to.arrive(ctx, m.topic, token); err != nil {
		return err
	}
	m.step(stepArrived, m.topic)
	if err := m.from.leaveBehind(ctx, m.topic, token); err != nil {
		return err
	}
	m.step(stepCleaned, m.topic)
	return nil
}

// renew keeps the move going until ctx ends, and ends it if that fails.
func (m *topicMove) renew(ctx context.Context, cancel func(), done chan<- struct{}) {
	defer close(done)
	tick := time.NewTicker(m.lease / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if going, err := m.mark(ctx, "renew"); err == nil && !going {
			cancel()
			return
		}
	}
}

func (m *topicMove) mark(ctx context.Context, what string) (bool, error) {
	t := m.from.names.topic(m.topic)
	return m.from.runShardBool(ctx, "shards_mark", []string{t.stream, t.schedules}, m.token, what, millis(m.lease))
}

// copy copies all keys, the note first.
func (m *topicMove) copy(ctx context.Context) error {
	fields, subscriptions, there, err := m.from.readNote(ctx, m.topic, movingPart)
	if err != nil {
		return err
	}
	if !there || fields["token"] != m.token {
		return fmt.Errorf("%w: topic %s is moved by somebody else", driver.ErrUnavailable, m.topic)
	}
	note := m.to.names.note(m.topic, arriving(m.token))
	words := []string{"HSET", note}
	for name, value := range fields {
		words = append(words, name, value)
	}
	if _, err := m.to.do(ctx, note, words...); err != nil {
		return m.to.explain(ctx, err, note, writing)
	}
	m.subscriptions = subscriptions
	for _, key := range m.from.names.all(m.topic, subscriptions) {
		source := m.from.names.away(m.topic, key, movingPart)
		if err := m.copyKey(ctx, source, m.to.names.away(m.topic, key, arriving(m.token))); err != nil {
			return fmt.Errorf("topic %s: %w", m.topic, err)
		}
	}
	return nil
}

func (m *topicMove) copyKey(ctx context.Context, source, target string) error {
	reply, err := m.from.do(ctx, source, "DUMP", source)
	if err != nil {
		return m.from.explain(ctx, err, source, reading)
	}
	if reply.IsNil() {
		return nil
	}
	value, err := reply.ToString()
	if err != nil {
		return m.from.explain(ctx, err, source, reading)
	}
	left, err := m.from.do(ctx, source, "PTTL", source)
	if err != nil {
		return m.from.explain(ctx, err, source, reading)
	}
	ttl, err := left.AsInt64()
	if err != nil {
		return err
	}
	switch ttl {
	case -2:
		return nil // it has just ended
	case -1:
		ttl = 0 // it doesn't end
	default:
		ttl = max(1, ttl)
	}
	m.bytes += int64(len(value))
	_, err = m.to.do(ctx, target, "RESTORE", target, strconv.FormatInt(ttl, 10), value, "REPLACE")
	if isReply(err, "DUMP payload version") {
		return fmt.Errorf("%w: redis %s can't read what %s has stored: it runs an older version", driver.ErrVersion, m.to.addr, m.from.addr)
	}
	return m.to.explain(ctx, err, target, writing)
}

// resume goes on with a move that was begun before, by somebody who has ended. again
// says that the topic is back at its old place.
func (m *topicMove) resume(ctx context.Context, text string) (again, done bool, err error) {
	for {
		before, err := m.from.readMark(ctx, m.topic)
		if err != nil {
			if errors.Is(err, driver.ErrWrongType) {
				return false, false, nil // somebody else's string
			}
			return false, false, err
		}
		if before == nil {
			return true, false, nil
		}
		if before.State == stateMoved {
			_, _, there, err := m.from.readNote(ctx, m.topic, movingPart)
			if err != nil || !there || before.Token == "" {
				return false, false, err
			}
			to := m.instance(before.To)
			if to == nil {
				return false, false, fmt.Errorf("%w: topic %s has moved to %s, which is not among the instances", driver.ErrUnavailable, m.topic, before.To)
			}
			return false, true, m.settle(ctx, to, before.Token)
		}
		// Its mover may still be there: it has as long as it was given.
		if err := m.from.putBack(ctx, m.topic, before.Token, ""); err != nil {
			return false, false, err
		}
		select {
		case <-time.After(10 * moveLook):
		case <-ctx.Done():
			return false, false, fmt.Errorf("moving topic %s: %w", m.topic, ctx.Err())
		}
	}
}
