package onredis

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// Peek implements driver.Steerer. Each call is one script, which stops at about
// maxFetched bytes.
func (e *engine) Peek(ctx context.Context, topic, name string, req driver.PeekRequest) (driver.Peeked, error) {
	p := &peeking{engine: e, topic: topic, s: e.subscription(topic, name), PeekRequest: req}
	defer e.forgetUnknown(p.s)
	if req.State == driver.Delayed {
		return p.delayed(ctx)
	}
	if req.After != "" {
		id, err := parseID(req.After)
		if err != nil {
			return driver.Peeked{}, err
		}
		p.redis, p.text = id.Redis(), id.String()
	}
	switch req.State {
	case driver.Ready:
		return p.ready(ctx)
	case driver.Held:
		return p.held(ctx)
	case driver.Waiting:
		return p.waiting(ctx)
	case driver.Buried:
		return p.dead(ctx)
	}
	return driver.Peeked{}, fmt.Errorf("redis %s: there is no state %q", e.addr, req.State)
}

// peeking is one Peek under way.
type peeking struct {
	*engine
	topic string
	s     *subscription
	driver.PeekRequest
	redis, text string // After, in both forms
}

// run runs a script, and returns as many parts as it should return, of which the
// first is whether there is more, and the last a list.
func (p *peeking) run(ctx context.Context, sc script, count int, keys []string, args ...string) (parts, list []rueidis.RedisMessage, more bool, err error) {
	args = append(args, strconv.Itoa(p.Max), strconv.Itoa(maxFetched))
	reply, err := p.steer(ctx, p.s, sc, reading, keys, args...)
	if err != nil {
		return nil, nil, false, err
	}
	if parts, err = reply.ToArray(); err != nil || len(parts) != count {
		return nil, nil, false, fmt.Errorf("%w: a script returned %d parts: %v", driver.ErrCorrupt, len(parts), err)
	}
	n, err := parts[0].ToInt64()
	if err == nil {
		list, err = parts[count-1].ToArray()
	}
	return parts, list, n == 1, err
}

func (p *peeking) ready(ctx context.Context) (driver.Peeked, error) {
	k := &p.s.keys
	_, list, more, err := p.run(ctx, p.scripts.peekStream, 3, []string{k.stream, k.stream, k.buried}, p.s.id.name, "ready", p.redis, "")
	if err != nil {
		return driver.Peeked{}, err
	}
	messages, err := readEntries(list)
	entries := make([]driver.Entry, len(messages))
	for i, m := range messages {
		entries[i] = driver.Entry{Message: m, State: driver.Ready, Since: m.Time}
	}
	return driver.Peeked{Entries: entries, More: more}, err
}

func (p *peeking) held(ctx context.Context) (driver.Peeked, error) {
	k := &p.s.keys
	_, list, more, err := p.run(ctx, p.scripts.peekHeld, 2, []string{k.stream, k.subs, k.leased, k.retry}, p.s.id.name, p.redis)
	if err != nil {
		return driver.Peeked{}, err
	}
	entries := make([]driver.Entry, len(list))
	for i := range list {
		r := readRow(&list[i], 7)
		entries[i] = driver.Entry{
			State: driver.Held, Consumer: r.text(1), Since: r.time(2), Due: r.time(3), Reason: r.text(5),
		}
		r.message(&entries[i].Message, 0, 6)
		entries[i].Message.Attempt = int(r.number(4))
		if r.err != nil {
			return driver.Peeked{}, r.err
		}
	}
	return driver.Peeked{Entries: entries, More: more}, nil
}

func (p *peeking) waiting(ctx context.Context) (driver.Peeked, error) {
	k := &p.s.keys
	place := placeID{k.waiting, p.text}
	return p.sorted(ctx, k.waiting, k.retry, p.s.id.name, p.text, p.places.get(place))
}

// delayed pages by the time that is part of the id of a delayed message.
func (p *peeking) delayed(ctx context.Context) (driver.Peeked, error) {
	reply, err := p.work.at(p.s.keys.stream).do(ctx, p.b.Exists().Key(p.s.keys.stream).Build())
	if err != nil {
		return driver.Peeked{}, p.explain(ctx, err, p.s.keys.stream, reading)
	}
	if n, _ := reply.ToInt64(); n == 0 {
		return driver.Peeked{}, fmt.Errorf("%w: %s", driver.ErrTopicNotFound, p.topic)
	}
	due := ""
	if p.After != "" {
		digits, _, ok := strings.Cut(strings.TrimPrefix(p.After, "d"), "-")
		ms, err := strconv.ParseUint(digits, 10, 63)
		if !ok || err != nil || !strings.HasPrefix(p.After, "d") {
			return driver.Peeked{}, fmt.Errorf("%w: %.40q is not the id of a delayed message", driver.ErrPosition, p.After)
		}
		due = strconv.FormatUint(ms, 10)
	}
	t := p.names.topic(p.topic)
	return p.sorted(ctx, t.delayed, t.fields, "", p.After, due)
}

// sorted looks at a sorted set, behind the one seen last and when that was due.
func (p *peeking) sorted(ctx context.Context, set, fields, name, after, due string) (driver.Peeked, error) {
	parts, list, more, err := p.run(ctx, p.scripts.peekSorted, 3, []string{p.s.keys.stream, set, fields}, name, after, due)
	if err != nil {
		return driver.Peeked{}, err
	}
	now, err := parts[1].ToInt64()
	if err != nil {
		return driver.Peeked{}, err
	}
	entries := make([]driver.Entry, len(list))
	for i := range list {
		r := readRow(&list[i], 5)
		entries[i] = driver.Entry{State: p.State, Due: r.time(1), Reason: r.text(3)}
		if entries[i].Due.UnixMilli() <= 0 {
			entries[i].Due = time.UnixMilli(now).UTC() // it was given back unhandled
		}
		r.message(&entries[i].Message, 0, 4)
		entries[i].Message.Attempt = int(r.number(2))
		if r.err != nil {
			return driver.Peeked{}, r.err
		}
		if i == len(list)-1 && p.State == driver.Waiting {
			p.places.put(placeID{set, r.text(0)}, r.text(1))
		}
	}
	return driver.Peeked{Entries: entries, More: more}, nil
}

func (p *peeking) dead(ctx context.Context) (driver.Peeked, error) {
	k := &p.s.keys
	for indexed := false; ; indexed = true {
		parts, list, more, err := p.run(ctx, p.scripts.peekStream, 3, []string{k.stream, k.dead, k.buried},
			p.s.id.name, "dead", p.text, p.places.get(placeID{k.dead, p.text}))
		if err != nil {
			return driver.Peeked{}, err
		}
		if untold, err := parts[1].ToInt64(); err != nil || untold == 1 && !indexed {
			if err == nil {
				err = p.indexLetters(ctx, p.s)
			}
			if err != nil {
				return driver.Peeked{}, err
			}
			continue
		}
		var entries []driver.Entry
		for i := range list {
			r := readRow(&list[i], 2)
			entry, ok := readLetter(r)
			if r.err != nil {
				return driver.Peeked{}, r.err
			}
			if ok {
				entries = append(entries, entry)
			}
			if ok && i == len(list)-1 {
				p.places.put(placeID{k.dead, entry.Message.ID}, r.text(0))
			}
		}
		return driver.Peeked{Entries: entries, More: more && len(entries) > 0}, nil
	}
}

// letterFields are the fields that the script settle adds to a message, and their
// values.
const letterFields = 8

// readLetter reads an entry of the stream dead. What is none of beck's is left out.
func readLetter(r *row) (driver.Entry, bool) {
	list, err := r.parts[1].ToArray()
	n := len(list) - letterFields
	if err != nil || n < 0 {
		return driver.Entry{}, false
	}
	values := make([]string, letterFields)
	for i := range values {
		if values[i], err = list[n+i].ToString(); err != nil {
			return driver.Entry{}, false
		}
	}
	id, err := streamid.Parse(values[1])
	if err != nil || values[0] != "dead:id" {
		return driver.Entry{}, false
	}
	died, err := streamid.Parse(r.text(0))
	if err != nil {
		return driver.Entry{}, false
	}
	m, err := readMessage(id, list[:n])
	if err != nil {
		return driver.Entry{}, false
	}
	m.Attempt, _ = strconv.Atoi(values[5])
	return driver.Entry{Message: m, State: driver.Buried, Since: died.Time(), Reason: values[3], Consumer: values[7]}, true
}
