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
	page := driver.Page{Messages: make([]driver.Message, len(run.found)), More: run.full}
	for i := range run.found {
		page.Messages[i] = run.found[i].message
	}
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

// stored is a message as it was found.
type stored struct {
	id      streamid.ID
	number  uint64
	size    int
	message driver.Message
}

// run is a part of a topic without holes.
type run struct {
	found []stored
	full  bool // there was no room for more
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
		s, err := e.decodeStored(t, iter)
		if err != nil {
			return r, err
		}
		r.found = append(r.found, s)
		bytes += s.size
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

func (e *engine) decodeStored(t *topic, iter *pebble.Iterator) (stored, error) {
	id, ok := idOf(iter.Key())
	if !ok {
		return stored{}, e.corrupt(iter.Key(), errRecord)
	}
	value, err := iter.ValueAndErr()
	if err != nil {
		return stored{}, e.problem(err)
	}
	m, number, err := decodeMessage(slices.Clone(value), id)
	if err != nil {
		return stored{}, e.corrupt(iter.Key(), err)
	}
	return stored{id: id, number: number, size: len(value), message: m}, nil
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
