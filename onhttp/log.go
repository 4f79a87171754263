package onhttp

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/wire"
)

// Append sends all messages in one request.
func (e *engine) Append(ctx context.Context, topic string, messages []driver.Message) ([]string, error) {
	if len(messages) == 0 {
		return nil, nil
	}
	size := 0
	for i := range messages {
		size += 64 + len(messages[i].Key) + len(messages[i].Body) + len(messages[i].Body)/8
	}
	body := make([]byte, 0, size)
	for i := range messages {
		body = wire.AppendLine(body, (*beck.Message)(&messages[i]))
	}
	c := call{method: http.MethodPost, path: topicPath(topic) + "/messages", kind: kindNDJSON, body: body, waits: waitOf(messages...)}
	answer, err := e.call(ctx, c)
	if err != nil {
		p, ok := errors.AsType[*wire.Problem](err)
		if !ok {
			return nil, err
		}
		if p.Code == wire.CodeDurability && len(p.IDs) != len(messages) {
			return nil, e.unreadable(c, errors.New("not an id for each message that is stored"))
		}
		return p.IDs, err
	}
	ids, err := wire.DecodeIDs(answer)
	if err == nil && len(ids) != len(messages) {
		err = errors.New("not an id for each message")
	}
	if err != nil {
		return nil, e.unreadable(c, err)
	}
	return ids, nil
}

// waitOf is how long the server may be silent because it waits for the durability of
// messages.
func waitOf(messages ...driver.Message) time.Duration {
	wait := time.Duration(0)
	for i := range messages {
		if d := messages[i].Durability; d != nil {
			wait = max(wait, d.Within)
		}
	}
	return wait
}

// Read asks for a page. The newest id is told by a page only if it is empty; if
// the message that reading was to begin with isn't there, it is asked for.
func (e *engine) Read(ctx context.Context, topic string, from driver.Position, max int) (driver.Page, error) {
	at, err := position(from)
	switch {
	case err != nil:
		return driver.Page{}, err
	case from.Kind == driver.AtID:
		at = beck.AtID(from.ID) // the message itself, not what is behind it
	case from.Kind == driver.AtTime && from.Time.After(time.Now()):
		at = beck.FromNew // the API refuses a time to come, of which there is nothing
	}
	got, err := e.readPage(ctx, topic, at, min(max, beck.MaxFetch))
	if err != nil {
		return driver.Page{}, err
	}
	page := driver.Page{Messages: asDriver(got.Messages), More: got.More, Era: got.Era}
	if len(page.Messages) == 0 && got.Next != beck.FromStart {
		page.Last = string(got.Next)
	}
	return page, nil
}

func (e *engine) readPage(ctx context.Context, topic string, from beck.Position, limit int) (*wire.Page, error) {
	c := call{method: http.MethodGet, path: topicPath(topic) + "/messages", query: url.Values{
		"from": {string(from)}, "limit": {strconv.Itoa(limit)},
	}}
	body, err := e.call(ctx, c)
	if err != nil {
		return nil, err
	}
	page, err := wire.DecodePage(body)
	if err != nil {
		return nil, e.unreadable(c, err)
	}
	return page, nil
}
