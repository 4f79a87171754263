package onredis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
)

// strays are the topics of an instance that don't belong there, by name, and what has
// come of moves that were not ended: topic → tokens.
type strays struct {
	topics []string
	came   map[string][]string
}

// strays scans an instance. belongs says whether a topic does.
func (e *engine) strays(ctx context.Context, belongs func(topic string) bool) (strays, error) {
	found := map[string]struct{}{}
	s := strays{came: map[string][]string{}}
	prefix := globEscaper.Replace(e.names.prefix) + "*"
	for _, pattern := range []string{prefix, "{" + prefix} {
		for cursor := "0"; ; {
			reply, err := e.do(ctx, e.names.shards(), "SCAN", cursor, "MATCH", pattern, "COUNT", strconv.Itoa(scanCount))
			if err != nil {
				return s, e.explain(ctx, err, "", reading)
			}
			page, err := reply.AsScanEntry()
			if err != nil {
				return s, fmt.Errorf("%w: redis %s: SCAN: %v", driver.ErrCorrupt, e.addr, err)
			}
			for _, key := range page.Elements {
				topic, part, ok := e.names.topicOf(key)
				if !ok || beck.CheckName(topic) != nil {
					continue
				}
				if token, ok := strings.CutPrefix(part, arrivingPart); ok {
					if token, ok = strings.CutSuffix(token, ":"+notePart); ok {
						s.came[topic] = append(s.came[topic], token)
					}
					continue
				}
				if strings.HasPrefix(part, movingPart) || !belongs(topic) {
					found[topic] = struct{}{}
				}
			}
			if cursor = strconv.FormatUint(page.Cursor, 10); cursor == "0" {
				break
			}
		}
	}
	for topic := range found {
		s.topics = append(s.topics, topic)
	}
	slices.Sort(s.topics)
	return s, nil
}

// moveAttempts is how often a topic is moved that takes longer than it may.
const moveAttempts = 5

// job is a topic at an instance where it does not belong.
type job struct{ topic, from string }

// moveAll moves all topics that are not where they belong, until there are none.
func (r *resharder) moveAll(ctx context.Context, instances []string) error {
	done := map[job]bool{} // there are marks in their places now
	for {
		r.tell("looking for topics that have to move", true)
		var jobs []job
		came := map[string]strays{}
		for _, name := range r.all() {
			s, err := r.engines[name].strays(ctx, func(topic string) bool { return placeOf(instances, topic) == name })
			if err != nil {
				return err
			}
			came[name] = s
			for _, topic := range s.topics {
				j := job{topic, name}
				if !done[j] {
					if done[j], err = r.engines[name].hasLeft(ctx, topic); err != nil {
						return err
					}
				}
				if !done[j] {
					jobs = append(jobs, j)
				}
			}
		}
		moved := 0
		for i, j := range jobs {
			r.done.Left = len(jobs) - i
			r.tell("moving topics", false)
			to := placeOf(instances, j.topic)
			m := &topicMove{
				topic: j.topic, from: r.engines[j.from], to: r.engines[to], name: to, generation: r.set.Generation,
				lease: r.lease, instance: func(name string) *engine { return r.engines[name] }, step: r.step,
			}
			did, err := m.run(ctx)
			for attempt := 1; errors.Is(err, errTooSlow) && attempt < moveAttempts; attempt++ {
				did, err = m.run(ctx)
			}
			if err != nil {
				return err
			}
			if r.done.Bytes += m.bytes; did {
				moved++
				r.done.Moved++
			}
			done[j] = !m.nothing
		}
		r.done.Left = 0
		for name, s := range came {
			if err := r.clear(ctx, name, s); err != nil {
				return err
			}
		}
		if moved == 0 {
			return nil
		}
	}
}

// hasLeft tells whether nothing but the mark of a topic is left here.
func (e *engine) hasLeft(ctx context.Context, topic string) (bool, error) {
	m, err := e.readMark(ctx, topic)
	if errors.Is(err, driver.ErrWrongType) {
		return true, nil // somebody else's string
	}
	if err != nil || m == nil || m.State != stateMoved {
		return false, err
	}
	_, _, there, err := e.readNote(ctx, topic, movingPart)
	return !there, err
}

// clear ends what has come to an instance of moves that nobody goes on with.
func (r *resharder) clear(ctx context.Context, name string, s strays) error {
	for topic, tokens := range s.came {
		for _, token := range tokens {
			e := r.engines[name]
			_, subscriptions, there, err := e.readNote(ctx, topic, arriving(token))
			if err != nil || !there {
				if err != nil {
					return err
				}
				continue
			}
			decided, going := false, false
			for _, from := range r.engines {
				before, err := from.readMark(ctx, topic)
				if err != nil && !errors.Is(err, driver.ErrWrongType) {
					return err // who can't be asked may need it
				}
				if err == nil && before != nil && before.Token == token {
					decided, going = before.State == stateMoved, true
				}
			}
			switch {
			case decided:
				err = e.arrive(ctx, topic, token)
			case !going:
				err = e.discard(ctx, topic, token, subscriptions)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// endMarks has the marks of topics that have moved end by themselves: all processes
// know by now where to look.
func (r *resharder) endMarks(ctx context.Context) error {
	for _, name := range r.all() {
		e := r.engines[name]
		for cursor := "0"; ; {
			reply, err := e.do(ctx, r.names.shards(), "SCAN", cursor, "MATCH", globEscaper.Replace(r.names.prefix)+"*",
				"COUNT", strconv.Itoa(scanCount), "TYPE", "string")
			if err != nil {
				return e.explain(ctx, err, "", reading)
			}
			page, err := reply.AsScanEntry()
			if err != nil {
				return err
			}
			for _, key := range page.Elements {
				topic, part, ok := r.names.topicOf(key)
				if !ok || part != "" || beck.CheckName(topic) != nil {
					continue
				}
				m, err := e.readMark(ctx, topic)
				if err != nil || m == nil || m.State != stateMoved {
					continue // not a mark
				}
				t := r.names.topic(topic)
				if _, err := e.runShardBool(ctx, "shards_unmark", []string{t.stream, t.schedules}, m.text, millis(markLife)); err != nil {
					return err
				}
			}
			if cursor = strconv.FormatUint(page.Cursor, 10); cursor == "0" {
				break
			}
		}
	}
	return nil
}
