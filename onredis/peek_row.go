package onredis

import (
	"fmt"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// row is one of the lists that the scripts of Peek return. It keeps the first
// error.
type row struct {
	parts []rueidis.RedisMessage
	err   error
}

func readRow(m *rueidis.RedisMessage, count int) *row {
	parts, err := m.ToArray()
	if err != nil || len(parts) != count {
		err = fmt.Errorf("%w: a script returned an entry of %d parts: %v", driver.ErrCorrupt, len(parts), err)
		parts = make([]rueidis.RedisMessage, count)
	}
	return &row{parts, err}
}

func (r *row) text(i int) string {
	if r.err != nil {
		return ""
	}
	var s string
	s, r.err = r.parts[i].ToString()
	return s
}

func (r *row) number(i int) int64 {
	if r.err != nil {
		return 0
	}
	var n int64
	n, r.err = r.parts[i].AsInt64()
	return n
}

// time reads ms since 1970, which come as a number or as the text of a score.
func (r *row) time(i int) time.Time {
	if r.err != nil {
		return time.Time{}
	}
	ms, err := r.parts[i].AsFloat64()
	if err != nil {
		var n int64
		n, r.err = r.parts[i].AsInt64()
		ms = float64(n)
	}
	return time.UnixMilli(int64(ms)).UTC()
}

// message reads a message, given which parts are its id and its fields.
func (r *row) message(to *driver.Message, id, fields int) {
	text := r.text(id)
	if r.err != nil {
		return
	}
	var list []rueidis.RedisMessage
	if list, r.err = r.parts[fields].ToArray(); r.err != nil {
		return
	}
	// The id of a delayed message is none of the topic's.
	parsed, err := streamid.Parse(text)
	*to, r.err = readMessage(parsed, list)
	if err != nil {
		to.ID, to.Time = text, time.Time{}
	}
}

// maxPlaces is how many ends of pages are remembered.
const maxPlaces = 256

// placeID is an entry in a key.
type placeID struct{ key, id string }

// places remembers where the pages ended that Peek has returned: an entry may have
// gone, or be at another place, when the next page is asked for. Where it is not
// remembered, because another process asked before, an entry that has gone means
// that one begins again.
type places struct {
	mu    sync.Mutex
	known map[placeID]string
	order []placeID
}

func (p *places) get(id placeID) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known[id]
}

func (p *places) put(id placeID, place string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		p.known = map[placeID]string{}
	}
	if _, known := p.known[id]; !known {
		if len(p.order) >= maxPlaces {
			delete(p.known, p.order[0])
			p.order = p.order[1:]
		}
		p.order = append(p.order, id)
	}
	p.known[id] = place
}
