package beck

import (
	"context"
	"fmt"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// Read returns a page of at most max messages, up to MaxFetch, from a position
// on, without waiting. The page may be shorter, with More set, if its bodies are
// large. A topic that doesn't exist reads as empty. If messages may be missing
// before the page, it has a Gap; who reads page by page should also see whether
// their Era changes.
func (b *Bus) Read(ctx context.Context, topic string, from Position, max int) (*Page, error) {
	var page *Page
	err := b.do("read", at{topic}, func() error {
		if max < 1 || max > MaxFetch {
			return fmt.Errorf("%w: a page of %d messages; it takes 1 to %d", ErrOption, max, MaxFetch)
		}
		var err error
		page, err = b.readUpTo(ctx, topic, from, max)
		return err
	})
	return page, err
}

const (
	// firstPage is how many messages are asked for before anything is known
	// about their size.
	firstPage = 16
	// pageBytes is the size at which a page is full, give or take what the
	// engine returned at once.
	pageBytes = 4 << 20
	// messageOverhead is about what a message costs in memory beside its body.
	messageOverhead = 128
)

// readUpTo reads in portions that grow with what is known about the size of the
// messages, so that a page of large ones doesn't take all memory.
func (b *Bus) readUpTo(ctx context.Context, topic string, from Position, max int) (*Page, error) {
	page, err := b.readPage(ctx, topic, from, min(max, firstPage))
	for err == nil && page.More && len(page.Messages) < max && page.bytes < pageBytes {
		n := min(max-len(page.Messages), page.fits(pageBytes))
		var next *Page
		next, err = b.readPage(ctx, topic, page.Next, n)
		if err != nil {
			break
		}
		if next.Gap != nil || page.Era != "" && next.Era != "" && next.Era != page.Era {
			break // The next Read finds it again, and tells of it first.
		}
		page.Messages = append(page.Messages, next.Messages...)
		page.Next, page.More, page.bytes = next.Next, next.More, page.bytes+next.bytes
	}
	return page, err
}

// fits is how many messages of the size of this page's make a page of so many
// bytes.
func (p *Page) fits(bytes int) int {
	if len(p.Messages) == 0 {
		return firstPage
	}
	each := max(1, p.bytes/len(p.Messages))
	return min(max(bytes/each, 2), MaxFetch)
}

// readPage reads once, and applies the continuity rule: a reader resumes with
// the last message it saw. If that is the first one found, nothing was missed.
func (b *Bus) readPage(ctx context.Context, topic string, from Position, max int) (*Page, error) {
	p, err := from.resolve(time.Now())
	if err != nil {
		return nil, err
	}
	resume := p.Kind == driver.AtID && from.resumes()
	if resume {
		max++ // for the message it has seen
	}
	got, err := b.engine.Read(ctx, topic, p, max)
	if err != nil {
		return nil, err
	}
	page := &Page{More: got.More, Next: behind(got.Last), Era: b.marked(got.Era)}
	messages := got.Messages
	if resume {
		switch {
		case len(messages) > 0 && messages[0].ID == p.ID:
			messages, page.Next = messages[1:], from
		case len(messages) == 0 && got.Last == p.ID:
			page.Next = from
		case len(messages) == 0:
			page.Gap = &Gap{Topic: topic, After: from, Resume: page.Next}
		default:
			page.Gap = &Gap{Topic: topic, After: from, Resume: from}
		}
	}
	page.Messages = shared(topic, messages)
	for _, m := range page.Messages {
		page.bytes += messageOverhead + len(m.Body) + len(m.Key)
		for name, value := range m.Headers {
			page.bytes += len(name) + len(value)
		}
	}
	if n := len(messages); n > 0 {
		page.Next = FromID(messages[n-1].ID)
		b.stats.read.Add(uint64(n))
	}
	return page, nil
}
