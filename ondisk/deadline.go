package ondisk

import (
	"container/heap"
	"time"

	"github.com/beckmq/beck/internal/streamid"
)

// deadline is the end of a lease or of a delay: of one message, or of a group.
type deadline struct {
	due    time.Time
	id     streamid.ID // of the message, or of the group's first
	single *pending    // either this
	group  *group      // or this
	place  int         // in the heap
}

// delivery is the message that it is about, or the oldest one of the group.
func (d *deadline) delivery() delivery {
	if d.group != nil {
		return d.group.delivery(d.group.oldest())
	}
	return d.single.delivery()
}

// deadlines orders them by when they are due, then by topic order.
type deadlines []*deadline

func (h *deadlines) add(d *deadline)    { heap.Push(h, d) }
func (h *deadlines) remove(d *deadline) { heap.Remove(h, d.place) }
func (h *deadlines) moved(d *deadline)  { heap.Fix(h, d.place) }

// Len and the others are for container/heap.
func (h deadlines) Len() int { return len(h) }

func (h deadlines) Less(i, j int) bool {
	if c := h[i].due.Compare(h[j].due); c != 0 {
		return c < 0
	}
	return h[i].id.Compare(h[j].id) < 0
}

func (h deadlines) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *deadlines) Push(x any) {
	d := x.(*deadline)
	d.place = len(*h)
	*h = append(*h, d)
}

func (h *deadlines) Pop() any {
	old := *h
	d := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return d
}
