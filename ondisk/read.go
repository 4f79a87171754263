package ondisk

import (
	"context"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// maxPage is about how many bytes of messages one Read or Fetch returns.
const maxPage = 4 << 20

// Read looks into Pebble, up to the newest message that the disk holds.
func (e *engine) Read(ctx context.Context, name string, from driver.Position, limit int) (driver.Page, error) {
	if err := ctx.Err(); err != nil {
		return driver.Page{}, context.Cause(ctx)
	}
	start, err := startOf(from)
	if err != nil {
		return driver.Page{}, err
	}
	t, err := e.findWarm(ctx, name)
	if err != nil || t == nil {
		return driver.Page{}, err
	}
	end, err := e.reading()
	if err != nil {
		return driver.Page{}, err
	}
	defer end()
	durable := t.durable.Load()
	if from.Kind == driver.End {
		return driver.Page{Last: durable.lastID()}, nil
	}
	run, err := e.readRun(t, durable, start, limit)
	if err != nil {
		return driver.Page{}, err
	}
	page := driver.Page{Messages: run.messages, More: run.full}
	if len(run.found) == 0 || from.Kind == driver.AtID && run.found[0].id != start {
		page.Last = durable.lastID()
	}
	return page, nil
}

// startOf is the first id that a position may mean; the highest for End.
func startOf(p driver.Position) (streamid.ID, error) {
	switch p.Kind {
	case driver.Start:
		return streamid.ID{}, nil
	case driver.End:
		return streamid.Max, nil
	case driver.AtTime:
		return streamid.At(p.Time), nil
	case driver.AtID:
		id, err := streamid.Parse(p.ID)
		if err != nil {
			return id, fmt.Errorf("%w: %.40q is not a message id", driver.ErrPosition, p.ID)
		}
		return id, nil
	}
	return streamid.ID{}, fmt.Errorf("%w: of unknown kind %d", driver.ErrPosition, p.Kind)
}

// found is where a message was found.
type found struct {
	id     streamid.ID
	number uint64
	size   int
}

// run is a part of a topic without holes.
type run struct {
	found    []found
	messages []driver.Message // as many
	full     bool             // there was no room for more
	slab     []byte           // room for values
}

// Small values are copied into one piece of memory: that is faster, and a
// message that is kept keeps no more than that from being freed.
const (
	slabSize   = 32 << 10
	smallValue = 4 << 10
)

// keep returns a copy of a value.
func (r *run) keep(value []byte) []byte {
	if len(value) > smallValue {
		return slices.Clone(value)
	}
	if len(value) > cap(r.slab)-len(r.slab) {
		r.slab = make([]byte, 0, slabSize)
	}
	start := len(r.slab)
	r.slab = append(r.slab, value...)
	return r.slab[start:len(r.slab):len(r.slab)]
}

// readRun returns messages from start on, up to the newest of durable. It is an
// error if any is missing.
func (e *engine) readRun(t *topic, durable *topicRecord, start streamid.ID, limit int) (run, error) {
	var r run
	if start.Compare(durable.last) > 0 || durable.length() == 0 {
		return r, nil
	}
	iter, err := e.messages(t.name, start, durable.last)
	if err != nil {
		return r, err
	}
	defer iter.Close()
	bytes := 0
	for ok := iter.First(); ok; ok = iter.Next() {
		if r.full = len(r.found) == limit || bytes > maxPage; r.full {
			break
		}
		f, m, err := e.decodeStored(iter, r.keep)
		if err != nil {
			return r, err
		}
		if len(r.found) == 0 {
			most := int(min(uint64(limit), durable.appended-min(durable.appended, f.number)+1))
			r.found, r.messages = make([]found, 0, most), make([]driver.Message, 0, most)
		}
		r.found = append(r.found, f)
		r.messages = append(r.messages, m)
		bytes += f.size
	}
	if err := iter.Error(); err != nil {
		return r, e.problem(err)
	}
	return r, e.checkRun(t, durable, start, r)
}

// messages iterates over a topic from one id to another, both included.
func (e *engine) messages(name string, from, to streamid.ID) (*pebble.Iterator, error) {
	iter, err := e.db.NewIter(&pebble.IterOptions{
		LowerBound: idKey(from, tagMessage, name),
		UpperBound: append(idKey(to, tagMessage, name), 0),
	})
	if err != nil {
		return nil, e.problem(err)
	}
	return iter, nil
}

// decodeStored reads the message under an iterator, from a copy that keep makes
// of its value.
func (e *engine) decodeStored(iter *pebble.Iterator, keep func([]byte) []byte) (found, driver.Message, error) {
	id, ok := idOf(iter.Key())
	if !ok {
		return found{}, driver.Message{}, e.corrupt(iter.Key(), errRecord)
	}
	value, err := iter.ValueAndErr()
	if err != nil {
		return found{}, driver.Message{}, e.problem(err)
	}
	m, number, err := decodeMessage(keep(value), id)
	if err != nil {
		return found{}, m, e.corrupt(iter.Key(), err)
	}
	return found{id: id, number: number, size: len(value)}, m, nil
}

// locate reads only where the message under an iterator is.
func (e *engine) locate(iter *pebble.Iterator) (found, error) {
	f, _, err := e.decodeStored(iter, func(value []byte) []byte { return value })
	return f, err
}

// idOf is the id at the end of a key.
func idOf(key []byte) (streamid.ID, bool) {
	if len(key) < streamid.Size {
		return streamid.ID{}, false
	}
	return streamid.FromBytes(key[len(key)-streamid.Size:]), true
}

// checkRun finds out by the messages' numbers whether one is missing. Those that
// were trimmed meanwhile, or deleted with the topic, are not missing.
func (e *engine) checkRun(t *topic, durable *topicRecord, start streamid.ID, r run) error {
	trimmed := t.trimmed.Load()
	missing := func(number uint64) error {
		return fmt.Errorf("%w in %s: message number %d of topic %s is missing", driver.ErrCorrupt, e.dir, number, t.name)
	}
	for i := 1; i < len(r.found); i++ {
		if want := r.found[i-1].number + 1; r.found[i].number != want {
			return missing(want)
		}
	}
	if len(r.found) == 0 {
		if trimmed < durable.appended {
			return missing(durable.appended)
		}
		return nil
	}
	first, last := r.found[0].number, r.found[len(r.found)-1].number
	if start.IsZero() && first > trimmed+1 {
		return missing(trimmed + 1)
	}
	if !r.full && last != durable.appended {
		return missing(last + 1)
	}
	return nil
}
