package beck

import (
	"context"
	"iter"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// Follow yields the messages of a topic from a position on: those stored, then
// those to come, each once, in order, until ctx ends or the loop is left. A
// [*Gap] is yielded as an error before messages of which some before them may be
// missing; the loop may go on. After any other error it ends; it ends with that
// of ctx, too. Once it has begun, a lost connection is no error: following goes
// on where it was.
func (b *Bus) Follow(ctx context.Context, topic string, from Position) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		for page, err := range b.FollowPages(ctx, topic, from) {
			if err != nil {
				yield(nil, err)
				return
			}
			if page.Gap != nil && !yield(nil, page.Gap) {
				return
			}
			for _, m := range page.Messages {
				if !yield(m, nil) {
					return
				}
			}
		}
	}
}

// FollowPages is Follow by pages, for those who serve many followers: all that
// are at the same place of a topic are given the same pages. The first page has
// no messages; its Next is the position where following begins. A gap is not an
// error here, but Page.Gap.
func (b *Bus) FollowPages(ctx context.Context, topic string, from Position) iter.Seq2[*Page, error] {
	return func(yield func(*Page, error) bool) {
		begin, of, err := b.beginning(ctx, topic, from)
		if err != nil {
			yield(nil, err)
			return
		}
		if !yield(&Page{Next: begin, Era: of}, nil) {
			return
		}
		r, err := b.reader(topic)
		if err != nil {
			yield(nil, wrap("follow", at{topic}, err))
			return
		}
		defer r.leave()
		b.stats.followers.Add(1)
		defer b.stats.followers.Add(-1)
		for next := (place{begin, r.enter(ctx, of)}); ; {
			page, err := r.next(ctx, next)
			if err != nil {
				yield(nil, wrap("follow", at{topic}, err))
				return
			}
			if page.Gap != nil {
				b.stats.gaps.Add(1)
			}
			b.stats.followed.Add(uint64(len(page.Messages)))
			if !yield(page, nil) {
				return
			}
			next = place{page.Next, page.turn}
		}
	}
}

// beginning makes of a position one that stays what it is while time goes on and
// messages come, and returns it with the era it is of. It reads once, so that what
// can't be followed is said at once.
func (b *Bus) beginning(ctx context.Context, topic string, from Position) (begin Position, of string, err error) {
	err = b.do("follow", at{topic}, func() error {
		p, err := from.resolve(time.Now())
		if err != nil {
			return err
		}
		found, err := b.engine.Read(ctx, topic, p, 1)
		of = b.marked(found.Era)
		switch p.Kind {
		case driver.End:
			from = behind(found.Last)
		case driver.AtTime:
			from = FromTime(p.Time)
		}
		return err
	})
	return from, of, err
}
