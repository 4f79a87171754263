package beck

import (
	"context"
	"slices"
)

// maxTrail is how many ids of late a reader remembers, to find the way back.
const maxTrail = 1024

// trail is the ids of the messages that a reader has handed out of late, in an engine
// that has eras. A server that was replaced while it stood still answers for a moment
// when it comes back: what it hands out is of a topic that is no more, with ids above
// those that its successor has given meanwhile. Going on behind these would pass over
// what the successor has. So a follower whose last message is not there after a change
// of the era goes back to the newest one that is.
type trail []step

type step struct {
	id   string
	turn int // of the reader, in which it was handed out
}

// add remembers the messages of a page; those that come late, for a slow follower, are
// known or too old.
func (t *trail) add(page *Page) {
	if page.Era == "" {
		return
	}
	for _, m := range page.Messages {
		if n := len(*t); n == 0 || (*t)[n-1].turn < page.turn || (*t)[n-1].turn == page.turn && (*t)[n-1].id < m.ID {
			*t = append(*t, step{m.ID, page.turn})
		}
	}
	if n := len(*t); n > 2*maxTrail {
		*t = append(trail(nil), (*t)[n-maxTrail:]...)
	}
}

// before lists the ids that a follower may have seen before one of a turn, in order.
func (t trail) before(id string, turn int) []string {
	var ids []string
	for _, s := range t {
		if s.turn <= turn && s.id < id {
			ids = append(ids, s.id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// goBack is for a page in another era than that of a follower at a place, behind a
// message that is not there any more. It returns the page behind the newest message
// that the follower saw and that is there, or the page as it is if none is known.
func (r *reader) goBack(ctx context.Context, at place, page *Page) (*Page, error) {
	r.mu.Lock()
	ids := r.trail.before(string(at.behind), at.turn)
	r.mu.Unlock()
	// What two eras have in common is their beginning.
	var failed error
	n, _ := slices.BinarySearchFunc(ids, true, func(id string, _ bool) int {
		if failed != nil {
			return 1
		}
		found, err := r.bus.readPage(ctx, r.topic, FromID(id), 1)
		if failed = err; err == nil && found.Gap == nil {
			return -1
		}
		return 1
	})
	if failed != nil || n == 0 {
		return page, failed
	}
	common := FromID(ids[n-1])
	again, err := r.read(ctx, common)
	if err != nil {
		return nil, err
	}
	again.Gap = &Gap{Topic: r.topic, After: at.behind, Resume: common}
	return again, nil
}
