package onredis

import (
	"context"
	"fmt"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// Read implements driver.Log. It is one XRANGE, but for the rare cases where the
// newest id is needed as well.
func (e *engine) Read(ctx context.Context, topic string, from driver.Position, max int) (driver.Page, error) {
	stream := e.names.stream(topic)
	l := e.reader(topic)
	if from.Kind == driver.End {
		last, era, err := e.lastID(ctx, l, stream)
		return driver.Page{Last: last, Era: era}, err
	}
	start := "-"
	var at streamid.ID
	switch from.Kind {
	case driver.AtTime:
		start = streamid.At(from.Time).Redis()
	case driver.AtID:
		var err error
		if at, err = parseID(from.ID); err != nil {
			return driver.Page{}, err
		}
		start = at.Redis()
	}
	replies, era, err := l.doTelling(ctx, true, func() []rueidis.Completed {
		return []rueidis.Completed{e.b.Xrange().Key(stream).Start(start).End("+").Count(int64(max)).Build()}
	})
	if err != nil {
		return driver.Page{}, e.explain(ctx, err, stream, reading)
	}
	reply, err := replies[0].ToMessage()
	if err != nil {
		return driver.Page{}, e.explain(ctx, err, stream, reading)
	}
	page, err := readPage(reply, max)
	page.Era = era
	if err != nil || (len(page.Messages) > 0 && (from.Kind != driver.AtID || page.Messages[0].ID == at.String())) {
		return page, err
	}
	return e.readWithLast(ctx, l, stream, start, max)
}

// readWithLast asks for the newest id before it reads: an id that was given out
// after the reading would look like one that is missing from the page.
func (e *engine) readWithLast(ctx context.Context, l route, stream, start string, max int) (driver.Page, error) {
	b := e.b
	replies, era, err := l.doTelling(ctx, true, func() []rueidis.Completed {
		return []rueidis.Completed{
			b.XinfoStream().Key(stream).Build(),
			b.Xrange().Key(stream).Start(start).End("+").Count(int64(max)).Build(),
		}
	})
	if err != nil {
		return driver.Page{}, e.explain(ctx, err, stream, reading)
	}
	last, err := readLast(replies[0])
	if err != nil {
		return driver.Page{}, e.explain(ctx, err, stream, reading)
	}
	reply, err := replies[1].ToMessage()
	if err != nil {
		return driver.Page{}, e.explain(ctx, err, stream, reading)
	}
	page, err := readPage(reply, max)
	page.Last, page.Era = last, era
	return page, err
}

func readPage(reply rueidis.RedisMessage, max int) (driver.Page, error) {
	list, err := reply.ToArray()
	if err != nil {
		return driver.Page{}, err
	}
	messages, err := readEntries(list)
	return driver.Page{Messages: messages, More: len(messages) >= max}, err
}

// lastID is the newest id that a topic gave out, empty if it doesn't exist.
func (e *engine) lastID(ctx context.Context, l route, stream string) (last, era string, err error) {
	replies, era, err := l.doTelling(ctx, true, func() []rueidis.Completed {
		return []rueidis.Completed{e.b.XinfoStream().Key(stream).Build()}
	})
	if err == nil {
		last, err = readLast(replies[0])
	}
	return last, era, e.explain(ctx, err, stream, reading)
}

// readLast reads the newest id from what XINFO STREAM returned.
func readLast(reply rueidis.RedisResult) (string, error) {
	info, err := reply.AsMap()
	if isReply(err, noSuchKey) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	last := info["last-generated-id"]
	return textID(&last)
}

// textID turns an id of Redis's into one of beck's; 0-0, which comes before
// every message, is empty.
func textID(m *rueidis.RedisMessage) (string, error) {
	s, err := m.ToString()
	if err != nil {
		return "", err
	}
	id, err := streamid.Parse(s)
	if err != nil {
		return "", fmt.Errorf("%w: id %q: %v", driver.ErrCorrupt, s, err)
	}
	if id.IsZero() {
		return "", nil
	}
	return id.String(), nil
}

// parseID reads an id that a caller gave.
func parseID(text string) (streamid.ID, error) {
	id, err := streamid.Parse(text)
	if err != nil {
		return id, fmt.Errorf("%w: %.40q: %v", driver.ErrPosition, text, err)
	}
	return id, nil
}
