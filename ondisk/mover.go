package ondisk

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// mover knows when each topic's first delayed message is due, and has it moved
// then. One timer does for all topics.
type mover struct {
	mu     sync.Mutex
	byName map[string]*dueTopic
	byDue  dueTopics
	wake   chan struct{} // has room for one
}

// dueTopic is a topic with delayed messages.
type dueTopic struct {
	name  string
	due   int64 // ms since 1970
	place int   // in the heap
}

func newMover() *mover {
	return &mover{byName: map[string]*dueTopic{}, wake: make(chan struct{}, 1)}
}

// set says when a topic's first message is due; 0 that it has none.
func (m *mover) set(name string, due int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.byName[name]
	switch {
	case due == 0 && d == nil:
		return
	case due == 0:
		heap.Remove(&m.byDue, d.place)
		delete(m.byName, name)
		return
	case d == nil:
		d = &dueTopic{name: name, due: due}
		m.byName[name] = d
		heap.Push(&m.byDue, d)
	default:
		d.due = due
		heap.Fix(&m.byDue, d.place)
	}
	if d.place == 0 {
		select {
		case m.wake <- struct{}{}:
		default:
		}
	}
}

// take removes the topics that are due, most at once, and says when the next one
// is; 0 if there is none.
func (m *mover) take(now int64, most int) (names []string, next int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.byDue) > 0 && m.byDue[0].due <= now && len(names) < most {
		d := heap.Pop(&m.byDue).(*dueTopic)
		delete(m.byName, d.name)
		names = append(names, d.name)
	}
	if len(m.byDue) > 0 {
		next = m.byDue[0].due
	}
	return names, next
}

const (
	moveTopics = 64 // at a time
	// clockCheck is how long the mover sleeps at most, for a clock that jumps.
	clockCheck = 10 * time.Second
	// moveLater is when a topic is tried again that could not be moved.
	moveLater = time.Second
)

// moveLoop moves what is due until the context ends.
func (e *engine) moveLoop(ctx context.Context) {
	timer := time.NewTimer(clockCheck)
	defer timer.Stop()
	for ctx.Err() == nil {
		wait := clockCheck
		if e.mover.any() {
			now := e.now().UnixMilli()
			names, next := e.mover.take(now, moveTopics)
			if len(names) > 0 {
				e.moveAll(ctx, names)
				continue
			}
			wait = min(wait, time.Duration(next-now)*time.Millisecond)
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-e.mover.wake:
		case <-ctx.Done():
		}
	}
}

func (m *mover) any() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.byDue) > 0
}

func (e *engine) moveAll(ctx context.Context, names []string) {
	var all sync.WaitGroup
	for _, name := range names {
		all.Go(func() {
			err := e.move(ctx, name)
			if err == nil || ctx.Err() != nil {
				return
			}
			if e.failed() == nil {
				e.log.Error("beck: delayed messages can't enter their topic", "topic", name, "err", err)
			}
			e.mover.set(name, e.now().Add(moveLater).UnixMilli())
		})
	}
	all.Wait()
}

// dueTopics is a heap.
type dueTopics []*dueTopic

// Len and the others are for container/heap.
func (h dueTopics) Len() int           { return len(h) }
func (h dueTopics) Less(i, j int) bool { return h[i].due < h[j].due }

func (h dueTopics) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *dueTopics) Push(x any) {
	d := x.(*dueTopic)
	d.place = len(*h)
	*h = append(*h, d)
}

func (h *dueTopics) Pop() any {
	last := len(*h) - 1
	d := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return d
}
