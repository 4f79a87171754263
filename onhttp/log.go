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
	c := call{method: http.MethodPost, path: topicPath(topic) + "/messages", kind: kindNDJSON, body: body}
	answer, err := e.call(ctx, c)
	if err != nil {
		if p, ok := errors.AsType[*wire.Problem](err); ok {
			return p.IDs, err
		}
		return nil, err
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

// Read asks for a page.
//
// The API applies the continuity rule itself: from an id, it answers with what
// is behind that message, and with a gap if the message is not there. The
// contract of the seam is to begin with the message. It is put back, by its id
// alone: whoever reads from an id has seen that message.
func (e *engine) Read(ctx context.Context, topic string, from driver.Position, max int) (driver.Page, error) {
	at, err := position(from)
	if err != nil {
		return driver.Page{}, err
	}
	if from.Kind == driver.AtTime && from.Time.After(time.Now()) {
		at = beck.FromNew // the API refuses a time to come, of which there is nothing
	}
	limit := min(max, beck.MaxFetch)
	c := call{method: http.MethodGet, path: topicPath(topic) + "/messages", query: url.Values{
		"from": {string(at)}, "limit": {strconv.Itoa(limit)},
	}}
	body, err := e.call(ctx, c)
	if err != nil {
		return driver.Page{}, err
	}
	got, err := wire.DecodePage(body)
	if err != nil {
		return driver.Page{}, e.unreadable(c, err)
	}
	page := driver.Page{Messages: asDriver(got.Messages), More: got.More}
	if from.Kind == driver.AtID && got.Gap == nil {
		seen := driver.Message{ID: from.ID, Body: []byte{}}
		page.Messages = append([]driver.Message{seen}, page.Messages...)
		if len(page.Messages) > max {
			page.Messages, page.More = page.Messages[:max], true
		}
	}
	if len(page.Messages) == 0 && got.Next != beck.FromStart {
		page.Last = string(got.Next)
	}
	return page, nil
}
