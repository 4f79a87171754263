package beck

import (
	"context"
	"hash/crc32"
	"slices"
	"strings"
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

// Two servers may give the same id to two messages in the same millisecond, so the sum
// of a body tells whether it is the same message.
type step struct {
	id   string
	sum  uint32
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
			*t = append(*t, step{m.ID, crc32.ChecksumIEEE(m.Body), page.turn})
		}
	}
	if n := len(*t); n > 2*maxTrail {
		*t = append(trail(nil), (*t)[n-maxTrail:]...)
	}
}

// before lists what a follower may have seen up to an id of a turn, in order.
func (t trail) before(id string, turn int) []step {
	var list []step
	for _, s := range t {
		if s.turn <= turn && s.id <= id {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b step) int { return strings.Compare(a.id, b.id) })
	return list
}

// goBack is for a page in another era than that of a follower at a place, whose last
// message may not be there any more. It returns the page behind the newest message
// that the follower saw and that is there, or the page as it is if none is known.
func (r *reader) goBack(ctx context.Context, at place, page *Page) (*Page, error) {
	r.mu.Lock()
	list := r.trail.before(string(at.behind), at.turn)
	r.mu.Unlock()
	if last := len(list) - 1; page.Gap == nil && (last < 0 || FromID(list[last].id) != at.behind) {
		return page, nil // it is there, and nothing speaks for its being another one
	}
	// What two eras have in common is their beginning.
	var failed error
	n, _ := slices.BinarySearchFunc(list, 0, func(s step, _ int) int {
		if failed != nil {
			return 1
		}
		var found *Page
		found, failed = r.bus.readPage(ctx, r.topic, AtID(s.id), 1)
		if failed == nil && len(found.Messages) > 0 && found.Messages[0].ID == s.id && crc32.ChecksumIEEE(found.Messages[0].Body) == s.sum {
			return -1
		}
		return 1
	})
	if failed != nil {
		return nil, failed
	}
	if n == 0 || FromID(list[n-1].id) == at.behind {
		return page, nil
	}
	common := FromID(list[n-1].id)
	again, err := r.read(ctx, common)
	if err != nil {
		return nil, err
	}
	again.Gap = &Gap{Topic: r.topic, After: at.behind, Resume: common}
	return again, nil
}
