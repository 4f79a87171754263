package server

import "sync"

const (
	// outboxItems and outboxBytes bound what waits for a client that is slower
	// than what it gets.
	outboxItems = 1024
	outboxBytes = 4 << 20
)

// An outbox is what one client is to be sent. It never blocks whoever fills it.
type outbox[T any] struct {
	filled chan struct{} // has room for one

	mu    sync.Mutex
	items []T
	bytes int
}

func newOutbox[T any]() *outbox[T] { return &outbox[T]{filled: make(chan struct{}, 1)} }

// add adds an item unless too much is waiting. A single one may be of any size.
func (o *outbox[T]) add(item T, size int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.items) >= outboxItems || len(o.items) > 0 && o.bytes+size > outboxBytes {
		return false
	}
	o.bytes += size
	o.push(item)
	return true
}

// force adds a small item in any case, but not behind one that does as well.
func (o *outbox[T]) force(item T, does func(last T) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n := len(o.items); n == 0 || !does(o.items[n-1]) {
		o.push(item)
	}
}

func (o *outbox[T]) push(item T) {
	o.items = append(o.items, item)
	select {
	case o.filled <- struct{}{}:
	default:
	}
}

// take takes all that is waiting.
func (o *outbox[T]) take() []T {
	o.mu.Lock()
	defer o.mu.Unlock()
	items := o.items
	o.items, o.bytes = nil, 0
	return items
}

// writeAll sends items, in portions.
func writeAll[T any](t *stream, items []T, add func(b []byte, item T) []byte) error {
	buffer, ok := t.server.buffers.Get().(*[]byte)
	if !ok {
		buffer = new([]byte)
	}
	b := (*buffer)[:0]
	var err error
	for i, item := range items {
		b = add(b, item)
		if last := i == len(items)-1; len(b) > 0 && (last || len(b) >= portion) {
			if err = t.write(b); err != nil {
				break
			}
			b = b[:0]
		}
	}
	if cap(b) <= maxPooled {
		*buffer = b[:0]
		t.server.buffers.Put(buffer)
	}
	return err
}
