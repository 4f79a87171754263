package beck

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// cacheBytes bounds the pages of one topic that are kept for followers who come
// to them a little later. Who is further behind has them read again.
const cacheBytes = 8 << 20

// followBytes is the size of a full page for a follower. A slow one holds a page,
// and what it is encoded to, for as long as it takes.
const followBytes = 512 << 10

// readers are the topics that are followed in this process.
type readers struct {
	mu      sync.Mutex
	byTopic map[string]*reader
}

// A reader reads one topic for all its followers. Those who ask for the page
// behind the same position share one read and one page; since a page's end is
// the same for all who were given it, followers at the end of a topic stay
// together, and a slow one costs the others nothing: when it comes back, its
// pages are still kept, or are read for it alone.
type reader struct {
	bus       *Bus
	topic     string
	followers int // guarded by readers.mu

	ctx  context.Context // ends with the last follower, or the bus
	stop context.CancelFunc
	done sync.WaitGroup

	mu      sync.Mutex
	ended   bool
	flights map[place]*flight
	kept    map[Position]*Page
	order   []Position // of kept, the oldest first
	bytes   int        // of kept
	removed int        // how often messages were removed: what was read before is not kept
	size    int        // messages that make a full page
	hint    chan struct{}
	eras    eras // of the last reads
	trail   trail
	turn    int // how often the era has changed
	// idle is the end of the topic at the last read, and idleHint the hint that
	// has to come before it is worth reading from there again.
	idle     Position
	idleHint chan struct{}
}

// place is where a follower is: behind a position, having heard of the changes of the
// era up to a turn.
type place struct {
	behind Position
	turn   int
}

// A flight is the reading of one page that somebody waits for.
type flight struct {
	waiters int
	cancel  context.CancelFunc
	landed  chan struct{} // closed when page or err is set
	page    *Page
	err     error
}

// reader returns the one reader of a topic; leave must be called.
func (b *Bus) reader(topic string) (*reader, error) {
	b.readers.mu.Lock()
	defer b.readers.mu.Unlock()
	if r := b.readers.byTopic[topic]; r != nil {
		r.followers++
		return r, nil
	}
	end, err := b.beginLasting()
	if err != nil {
		return nil, err
	}
	r := &reader{
		bus: b, topic: topic, followers: 1,
		flights: map[place]*flight{}, kept: map[Position]*Page{},
		size: firstPage, hint: make(chan struct{}),
	}
	r.ctx, r.stop = context.WithCancel(b.ctx)
	hints, unwatch := b.engine.Watch(topic)
	r.done.Go(func() {
		defer unwatch()
		r.spread(hints)
	})
	go func() {
		<-r.ctx.Done()
		r.mu.Lock()
		r.ended = true // no flight is started from now on
		r.mu.Unlock()
		r.done.Wait()
		end()
	}()
	b.readers.byTopic[topic] = r
	return r, nil
}

// leave ends the reader with its last follower.
func (r *reader) leave() {
	r.bus.readers.mu.Lock()
	defer r.bus.readers.mu.Unlock()
	if r.followers--; r.followers == 0 {
		delete(r.bus.readers.byTopic, r.topic)
		r.stop()
	}
}

// spread passes hints on to all flights that wait for one.
func (r *reader) spread(hints <-chan struct{}) {
	for {
		select {
		case <-hints:
			r.mu.Lock()
			r.wake()
			r.mu.Unlock()
		case <-r.ctx.Done():
			return
		}
	}
}

// wake has all flights look again.
func (r *reader) wake() {
	close(r.hint)
	r.hint = make(chan struct{})
}

// next returns the page for a place, and waits until there is one.
func (r *reader) next(ctx context.Context, from place) (*Page, error) {
	// Even a follower that never has to wait stops when it should.
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if r.ctx.Err() != nil {
		return nil, ErrClosed
	}
	r.mu.Lock()
	if page := r.kept[from.behind]; page != nil && from.turn == r.turn {
		r.readAhead(page)
		r.mu.Unlock()
		return page, nil
	}
	f := r.flight(from)
	f.waiters++
	r.mu.Unlock()

	select {
	case <-f.landed:
		if f.err != nil {
			if r.ctx.Err() != nil {
				return nil, ErrClosed
			}
			return nil, f.err
		}
		r.mu.Lock()
		r.readAhead(f.page)
		r.mu.Unlock()
		return f.page, nil
	case <-r.ctx.Done():
		return nil, ErrClosed
	case <-ctx.Done():
		r.mu.Lock()
		defer r.mu.Unlock()
		if f.waiters--; f.waiters == 0 {
			f.cancel()
			if r.flights[from] == f {
				delete(r.flights, from)
			}
		}
		return nil, context.Cause(ctx)
	}
}

// readAhead has the page behind this one read while this one is handled.
func (r *reader) readAhead(page *Page) {
	if page.More && r.kept[page.Next] == nil {
		r.flight(place{page.Next, page.turn})
	}
}

// flight returns the flight for a place, and starts it if need be.
func (r *reader) flight(from place) *flight {
	if f := r.flights[from]; f != nil {
		return f
	}
	ctx, cancel := context.WithCancel(r.ctx)
	f := &flight{cancel: cancel, landed: make(chan struct{})}
	if r.ended {
		f.err = ErrClosed
		close(f.landed)
		return f
	}
	r.flights[from] = f
	removed := r.removed
	r.done.Go(func() {
		defer cancel()
		f.page, f.err = r.await(ctx, from)
		r.mu.Lock()
		if f.err == nil {
			r.trail.add(f.page)
			if r.removed == removed {
				r.keep(from.behind, f.page)
			}
		}
		if r.flights[from] == f {
			delete(r.flights, from)
		}
		r.mu.Unlock()
		close(f.landed)
	})
	return f
}

// await reads behind a position until there is something, or it is another turn.
func (r *reader) await(ctx context.Context, at place) (*Page, error) {
	from := at.behind
	var lost retrying
	for {
		hint, known := r.nextHint(from, at.turn)
		if known {
			// The last read came just so far: nothing new without a hint.
			if err := r.wait(ctx, hint); err != nil {
				return nil, err
			}
			hint, _ = r.nextHint("", 0)
		}
		page, err := r.read(ctx, from)
		if err == nil && page.turn != at.turn && from.resumes() {
			page, err = r.goBack(ctx, place{from, at.turn}, page)
		}
		switch {
		case err != nil && transient(err) && ctx.Err() == nil:
			if err := lost.wait(ctx, r.bus.log, "following "+r.topic, err); err != nil {
				return nil, err
			}
			continue
		case err != nil:
			return nil, err
		}
		lost.over(r.bus.log, "following "+r.topic)
		r.mu.Lock()
		if !page.More {
			r.idle, r.idleHint = page.Next, hint
		}
		r.mu.Unlock()
		if page.turn != at.turn && page.Gap == nil {
			page.Gap = &Gap{Topic: r.topic, After: from, Resume: from}
		}
		if len(page.Messages) > 0 || page.Gap != nil {
			return page, nil
		}
		if page.Next != from {
			// A topic that had nothing at this position has given out ids
			// since, and lost them: at its start, that is no gap.
			from = page.Next
		}
	}
}

// nextHint returns the hint to come, and whether a position has been read up to
// the end of the topic, with nothing to be found before that hint.
func (r *reader) nextHint(from Position, turn int) (hint chan struct{}, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if from != "" && from == r.idle && turn == r.turn {
		return r.idleHint, true
	}
	return r.hint, false
}

func (r *reader) wait(ctx context.Context, hint <-chan struct{}) error {
	select {
	case <-hint:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *reader) read(ctx context.Context, from Position) (*Page, error) {
	for {
		r.mu.Lock()
		size, began := r.size, r.turn
		r.mu.Unlock()
		page, err := r.bus.readPage(ctx, r.topic, from, size)
		if err != nil {
			return nil, err
		}
		var stale bool
		if page.turn, stale = r.note(page.Era, began); stale {
			continue
		}
		if len(page.Messages) > 0 {
			r.mu.Lock()
			r.size = page.fits(followBytes)
			r.mu.Unlock()
		}
		return page, nil
	}
}

// keep remembers a page for those who come to it later. What is found at the
// start or from a time on changes when messages are trimmed, so only the pages
// behind a message are kept; and none from before a gap.
func (r *reader) keep(from Position, page *Page) {
	if page.Gap != nil {
		r.forget()
		return
	}
	p, err := from.resolve(time.Now())
	if err != nil || p.Kind != driver.AtID || !from.resumes() || r.kept[from] != nil {
		return
	}
	r.kept[from] = page
	r.order = append(r.order, from)
	r.bytes += page.bytes
	for r.bytes > cacheBytes && len(r.order) > 1 {
		oldest := r.order[0]
		r.order = r.order[1:]
		r.bytes -= r.kept[oldest].bytes
		delete(r.kept, oldest)
	}
}

// forget drops the kept pages.
func (r *reader) forget() {
	clear(r.kept)
	r.order, r.bytes = nil, 0
	r.removed++
}

// forgetPages drops the pages kept of a topic of which messages were removed.
func (b *Bus) forgetPages(topic string) {
	b.readers.mu.Lock()
	defer b.readers.mu.Unlock()
	if r := b.readers.byTopic[topic]; r != nil {
		r.mu.Lock()
		r.forget()
		r.mu.Unlock()
	}
}

// transient reports whether it makes sense to try again.
func transient(err error) bool {
	return errors.Is(err, driver.ErrUnavailable) || errors.Is(err, driver.ErrUncertain) || errors.Is(err, driver.ErrFull)
}
