package ondisk

import (
	"container/heap"

	"github.com/beckmq/beck/internal/streamid"
)

// idHeap finds the oldest of a subscription's entries. Entries that have ended
// are left in it until they come to its top, or are most of it.
type idHeap []streamid.ID

// add takes in an id; known are the entries there are.
func (h *idHeap) add(id streamid.ID, known map[streamid.ID]*pending) {
	if len(*h) > 64+2*len(known) {
		*h = (*h)[:0]
		for other, p := range known {
			if other != id && !p.copied {
				*h = append(*h, other)
			}
		}
		heap.Init(h)
	}
	heap.Push(h, id)
}

// oldestSingle is the oldest message of the topic that has an entry of its own.
func (s *subscription) oldestSingle() (id streamid.ID, ok bool) {
	for len(s.singles) > 0 {
		id = s.singles[0]
		if p := s.pending[id]; p != nil && !p.copied {
			return id, true
		}
		heap.Pop(&s.singles)
	}
	return streamid.ID{}, false
}

// Len and the others are for container/heap.
func (h idHeap) Len() int           { return len(h) }
func (h idHeap) Less(i, j int) bool { return h[i].Compare(h[j]) < 0 }
func (h idHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

func (h *idHeap) Push(x any) { *h = append(*h, x.(streamid.ID)) }

func (h *idHeap) Pop() any {
	last := len(*h) - 1
	id := (*h)[last]
	*h = (*h)[:last]
	return id
}
