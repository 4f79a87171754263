package beck

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
)

// An era is what an engine calls the time in which it loses nothing that it has
// confirmed: if it changes between two reads, something may be lost, wherever the
// reader is. The empty one says nothing.
//
// Only the bus that saw them can tell eras apart: each counts by itself, from when it
// was opened. So what it hands out begins with a mark of its own, and an era with
// another mark, of another server or of one that was restarted, may be any. Where one is
// seen for the first time, it counts as a change: nobody knows what was before it.
type eras map[string]string // mark → the newest era with it

// maxEras bounds how many marks are remembered; there are as many as there are servers.
const maxEras = 64

// mark is what an era begins with.
func mark(of string) string { return of[:strings.LastIndexByte(of, '.')+1] }

// marked is an era of this bus's engine as it is handed out.
func (b *Bus) marked(of string) string {
	if of == "" {
		return ""
	}
	return b.mark + of
}

// changed takes note of the era of a read, and reports whether it is another one.
func (e *eras) changed(of string) bool {
	if of == "" || (*e)[mark(of)] == of {
		return false
	}
	first := len(*e) == 0
	e.set(of)
	return !first
}

func (e *eras) set(of string) {
	if *e == nil {
		*e = eras{}
	}
	if len(*e) >= maxEras {
		clear(*e)
	}
	(*e)[mark(of)] = of
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
	if of == "" || r.eras[mark(of)] == of {
		return r.turn, false
	}
	if len(r.eras) > 0 && r.turn != began {
		return 0, true
	}
	r.begin(of)
	return r.turn, false
}

// begin begins another era, or the first one. r.mu is held.
func (r *reader) begin(of string) {
	if !r.eras.changed(of) {
		return
	}
	r.turn++
	r.forget()
	r.wake()
	r.bus.log.Warn("beck: messages that were stored may be lost; who follows the topic is told", "topic", r.topic)
}

// enter returns the turn of a follower who begins in an era.
func (r *reader) enter(ctx context.Context, of string) (turn int) {
	r.mu.Lock()
	known := ""
	if of != "" {
		if known = r.eras[mark(of)]; known == "" {
			r.begin(of)
		}
	}
	if known == "" || known == of {
		defer r.mu.Unlock()
		return r.turn
	}
	r.mu.Unlock()
	// Either of both has yet to see a change. If that can't be found out now, the
	// follower rather hears of one too many.
	_, err := r.read(ctx, FromNew)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil && r.eras[mark(of)] == of {
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
