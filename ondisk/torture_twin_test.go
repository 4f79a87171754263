package ondisk

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// twinned is a client that does one thing after the other to a topic of its own,
// each first on the twin, an engine that nothing happens to, then on the engine
// under test. So it is known how every byte about the topic must be after each
// call, and what each call must return.
type twinned struct {
	topic  string
	queue  bool
	random *rand.Rand
	count  int // bodies made

	// states are how the topic is on the twin after each call, from how it began.
	mu     sync.Mutex
	states []*topicState
	// invoked and completed are the newest calls that the engine under test was
	// asked for and has answered.
	invoked, completed atomic.Int64
}

// topicState is how a topic is, byte by byte and as it is seen.
type topicState struct{ raw, seen, call string }

func (s *topicState) is(other *topicState) bool { return s.raw == other.raw && s.seen == other.seen }

// opTime bounds every call: one that takes longer is stuck.
const opTime = 30 * time.Second

// call is something that a client does.
type call struct {
	name string
	do   func(ctx context.Context, e *engine) (string, error)
}

// topicTables are all tables whose keys begin with the name of a topic.
var topicTables = []byte{
	tagTopic, tagConfig, tagMessage, tagSub, tagGroup, tagPending, tagCopy, tagDead, tagBurial, tagDelayed, tagDedupe, tagForget,
}

// stateOf tells all about a topic, and the schedule that has its name.
func stateOf(ctx context.Context, e *engine, topic string) (*topicState, error) {
	var raw strings.Builder
	line := func(key, value []byte) error {
		fmt.Fprintf(&raw, "%q %d %08x\n", key, len(value), crc32.ChecksumIEEE(value))
		return nil
	}
	end, err := e.reading()
	if err != nil {
		return nil, err
	}
	for _, tag := range topicTables {
		err = errors.Join(err, e.scan(tableKey(tag, topic), line))
	}
	err = errors.Join(err, e.scan(tableKey(tagSchedule, topic), line))
	end()
	if err != nil {
		return nil, err
	}
	seen, err := seenOf(ctx, e, topic)
	return &topicState{raw: raw.String(), seen: seen}, err
}

// seenOf is what the engine's calls tell about a topic without changing it.
func seenOf(ctx context.Context, e *engine, topic string) (string, error) {
	var s strings.Builder
	info, err := e.Topic(ctx, topic)
	if errors.Is(err, driver.ErrTopicNotFound) {
		return "absent", nil
	}
	if err != nil {
		return "", err
	}
	messages, err := readWhole(ctx, e, topic)
	if err != nil {
		return "", err
	}
	var ids []string
	for _, m := range messages {
		ids = append(ids, m.ID)
		fmt.Fprintf(&s, "%s %s %v %d %08x\n", m.ID, m.Key, m.Headers, len(m.Body), crc32.ChecksumIEEE(m.Body))
	}
	states := []driver.State{driver.Ready, driver.Held, driver.Waiting, driver.Buried}
	if err := seeEntries(ctx, e, &s, topic, "", driver.Delayed); err != nil {
		return "", err
	}
	for i := range info.Subscriptions {
		sub := &info.Subscriptions[i]
		sub.Consumers, sub.Unread = nil, 0
		for _, state := range states {
			if err := seeEntries(ctx, e, &s, topic, sub.Name, state); err != nil {
				return "", err
			}
		}
		open, err := e.Outstanding(ctx, topic, sub.Name, ids[:min(1000, len(ids))])
		if err != nil {
			return "", err
		}
		fmt.Fprintln(&s, sub.Name, open)
	}
	fmt.Fprintf(&s, "%+v\n", info)
	return s.String(), nil
}

func seeEntries(ctx context.Context, e *engine, s *strings.Builder, topic, sub string, state driver.State) error {
	entries, err := peekAll(ctx, e, topic, sub, state)
	for _, entry := range entries {
		m := &entry.Message
		fmt.Fprintln(s, sub, state, m.ID, len(m.Body), crc32.ChecksumIEEE(m.Body), m.Attempt, entry.Consumer, entry.Reason, entry.Since.UnixMilli(), entry.Due.UnixMilli())
	}
	return err
}

func peekAll(ctx context.Context, e *engine, topic, sub string, state driver.State) (all []driver.Entry, err error) {
	for after := ""; ; {
		p, err := e.Peek(ctx, topic, sub, driver.PeekRequest{State: state, After: after, Max: 1000})
		if err != nil {
			return nil, err
		}
		all = append(all, p.Entries...)
		if !p.More {
			return all, nil
		}
		after = all[len(all)-1].Message.ID
	}
}

// readWhole is readAll for those who go on after an error.
func readWhole(ctx context.Context, e *engine, topic string) (all []driver.Message, err error) {
	from := driver.Position{}
	for {
		p, err := e.Read(ctx, topic, from, 1000)
		if err != nil {
			return nil, err
		}
		if len(all) > 0 && len(p.Messages) > 0 {
			p.Messages = p.Messages[1:]
		}
		all = append(all, p.Messages...)
		if !p.More {
			return all, nil
		}
		from = driver.Position{Kind: driver.AtID, ID: all[len(all)-1].ID}
	}
}

// begin takes the twin's state as the first one.
func (c *twinned) begin(twin *engine) error {
	ctx, cancel := context.WithTimeout(context.Background(), opTime)
	defer cancel()
	s, err := stateOf(ctx, twin, c.topic)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.states = []*topicState{s}
	c.invoked.Store(0)
	c.completed.Store(0)
	return err
}

// expect adds the twin's state as that after the next call.
func (c *twinned) expect(ctx context.Context, twin *engine, call string) error {
	s, err := stateOf(ctx, twin, c.topic)
	if err == nil {
		s.call = call
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.states = append(c.states, s)
	return err
}

// statesUpTo is the states up to that after a call.
func (c *twinned) statesUpTo(n int64) []*topicState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.states[: n+1 : n+1]
}

// step does one thing. It returns what the engine under test refused, and
// separately what is wrong with it.
func (c *twinned) step(twin, real *engine) (refused, wrong error) {
	ctx, cancel := context.WithTimeout(context.Background(), opTime)
	defer cancel()
	do, err := c.choose(ctx, twin)
	if err != nil {
		return nil, fmt.Errorf("the twin: %w", err)
	}
	want, wantErr := do.do(ctx, twin)
	if err := c.expect(ctx, twin, do.name); err != nil {
		return nil, fmt.Errorf("the twin after %s: %w", do.name, err)
	}
	c.invoked.Add(1)
	got, gotErr := do.do(ctx, real)
	if isRefusal(gotErr) {
		return gotErr, nil
	}
	if got != want || fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
		return nil, fmt.Errorf("diverged: %s of %s returned %q, %v, but should %q, %v", do.name, c.topic, got, gotErr, want, wantErr)
	}
	c.completed.Add(1)
	return nil, nil
}

// isRefusal reports whether an error is about the disk, and not the call.
func isRefusal(err error) bool {
	for _, kind := range []error{driver.ErrUncertain, driver.ErrUnavailable, driver.ErrFull, driver.ErrCorrupt, driver.ErrClosed} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// window is the states that a crash may leave: of what was answered when a cut
// began, nothing may be undone; of what was not asked for when it ended, nothing
// may be there.
type window struct{ from, to int64 }

// check finds the topic's state among those that the window allows.
func (c *twinned) check(ctx context.Context, e *engine, states []*topicState, w window) error {
	got, err := stateOf(ctx, e, c.topic)
	if err != nil {
		return fmt.Errorf("lost or corrupted: topic %s can't be read: %w", c.topic, err)
	}
	for _, s := range states[w.from:] {
		if s.is(got) {
			return nil
		}
	}
	for i, s := range states {
		if s.is(got) {
			return fmt.Errorf("lost: topic %s is as after its call %d, but %d was answered, %s; it lacks\n%s", c.topic, i, w.from,
				states[w.from].call, difference(states[w.from].raw, got.raw))
		}
	}
	want := states[w.from]
	return fmt.Errorf("corrupted: topic %s is as it never was:\n%s\nand not, as after call %d, %s:\n%s", c.topic,
		difference(got.raw+got.seen, want.raw+want.seen), w.from, want.call, difference(want.raw+want.seen, got.raw+got.seen))
}

// difference is the lines of one text that the other does not have.
func difference(a, b string) string {
	has := map[string]bool{}
	for line := range strings.Lines(b) {
		has[line] = true
	}
	var s strings.Builder
	for line := range strings.Lines(a) {
		if !has[line] && s.Len() < 2000 {
			s.WriteString(line)
		}
	}
	return s.String()
}
