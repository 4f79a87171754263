package beck

import (
	"context"
	"iter"
)

// Read returns a page of at most max messages, up to MaxFetch, from a position
// on, without waiting. A topic that doesn't exist reads as empty. If messages
// may be missing before the page, it has a Gap.
func (b *Bus) Read(ctx context.Context, topic string, from Position, max int) (*Page, error) {
	panic("coming")
}

// Follow yields the messages of a topic from a position on: those stored, then
// those to come, each once, in order, until ctx ends or the loop is left. A
// [*Gap] is yielded as an error before messages of which some before them may be
// missing; the loop may go on. After any other error it ends. A lost connection
// is no error: following goes on where it was.
func (b *Bus) Follow(ctx context.Context, topic string, from Position) iter.Seq2[*Message, error] {
	panic("coming")
}

// FollowPages is Follow by pages, for those who serve many followers: all that
// are near the end of a topic are given the same pages. The first page has no
// messages; its Next is the position where following begins.
// A gap is not an error here, but Page.Gap.
func (b *Bus) FollowPages(ctx context.Context, topic string, from Position) iter.Seq2[*Page, error] {
	panic("coming")
}

type tails struct{ byTopic map[string]*tail }

type tail struct{}
