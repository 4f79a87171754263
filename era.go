package beck

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
)

// An era is what an engine calls the time in which it loses nothing that it has
// confirmed: if it changes between two reads, something may be lost, wherever the
// reader is. The empty one says nothing.
type era string

// followed takes note of the era of another read, and reports whether it has changed.
func (e *era) followed(by string) (changed bool) {
	was := *e
	if by == "" {
		return false
	}
	*e = era(by)
	return was != "" && was != era(by)
}

// note takes note of the era of a read that began in a turn of the reader's. It returns
// the turn that what was read belongs to, and the reader goes into a new one if the era
// has changed: then nothing that was read before is kept, and everybody looks again. A
// read that another one has overtaken, which saw the change, is stale: it may be of
// before, and is to be done again, so that no follower goes from one era to another and
// back.
func (r *reader) note(of string, began int) (turn int, stale bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case of == "" || of == r.era:
		return r.turn, false
	case r.era == "":
		r.era = of
		return r.turn, false
	case r.turn != began:
		return 0, true
	}
	r.era = of
	r.turn++
	r.forget()
	r.wake()
	r.bus.log.Warn("beck: messages that were stored may be lost; who follows the topic is told", "topic", r.topic)
	return r.turn, false
}

// enter returns the turn of a follower who begins in an era.
func (r *reader) enter(ctx context.Context, of string) (turn int) {
	r.mu.Lock()
	if r.era == "" {
		r.era = of
	}
	if of == "" || of == r.era {
		defer r.mu.Unlock()
		return r.turn
	}
	r.mu.Unlock()
	// Either of both has yet to see a change. If that can't be found out now, the
	// follower rather hears of one too many.
	_, err := r.read(ctx, FromNew)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil && of == r.era {
		return r.turn
	}
	return r.turn - 1
}

// maxPulls is how many consumers that pull are remembered, each with the era of its
// last fetch.
const maxPulls = 10_000

// pulls remembers the eras in which consumers have pulled.
type pulls struct {
	mu   sync.Mutex
	last map[[3]string]string // topic, subscription and consumer → era
}

func (p *pulls) get(who [3]string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last[who]
}

func (p *pulls) set(who [3]string, of string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.last[who]; !known && len(p.last) >= maxPulls {
		for other := range p.last { // any one
			delete(p.last, other)
			break
		}
	}
	if p.last == nil {
		p.last = map[[3]string]string{}
	}
	p.last[who] = of
}

// mayHaveLost tells everybody that messages may be lost that this subscription was
// never delivered.
func (c *consumer) mayHaveLost() {
	c.bus.stats.gaps.Add(1)
	c.log.Warn("beck: messages that were stored, and never delivered to the subscription, may be lost")
	if c.options.OnGap == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("beck: OnGap panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	c.options.OnGap(c.topic)
}
