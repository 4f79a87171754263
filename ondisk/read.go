package ondisk

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

const (
	// maxPage is about how many bytes of messages one Read or Fetch returns.
	maxPage = 4 << 20
	// minPage is how many messages a Read returns, if there are so many, however
	// large they are: who goes on from the last one known gets another one.
	minPage = 2
)

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
	run, err := e.readRun(t, durable, start, limit, true)
	if err != nil {
		return driver.Page{}, err
	}
	page := driver.Page{Messages: run.messages, More: run.full}
	if len(run.members) == 0 {
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

// readRun returns messages from start on, up to the newest of durable, or unless
// it may go across holes, to the first hole. It is an error if any is missing.
func (e *engine) readRun(t *topic, durable *topicRecord, start streamid.ID, limit int, across bool) (run, error) {
	if start.Compare(durable.last) > 0 || durable.length() == 0 {
		return run{}, nil
	}
	iter, err := e.messages(t.name, later(start, *t.floor.Load()), durable.last)
	if err != nil {
		return run{}, err
	}
	defer iter.Close()
	var g gathering
	for ok := iter.First(); ok; ok = iter.Next() {
		if g.full = len(g.members) == limit || g.bytes > maxPage && len(g.members) >= minPage; g.full {
			break
		}
		id, value, err := e.stored(iter)
		if err != nil {
			return run{}, err
		}
		if len(g.members) == 0 {
			g.begin(value, durable.appended, limit)
		}
		want := g.first + g.holes + uint64(len(g.members))
		number, err := g.add(id, value)
		if err != nil {
			return run{}, e.corrupt(iter.Key(), err)
		}
		if number == want {
			continue
		}
		if number < want || number > t.dense.Load()+1 {
			return run{}, e.missing(t, want)
		}
		if !across {
			g.dropLast()
			g.full = true
			break
		}
		g.holes += number - want
	}
	if err := iter.Error(); err != nil {
		return run{}, e.problem(err)
	}
	return g.run, e.checkRun(t, durable, start, g.run)
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

// stored is the message under an iterator, valid until the iterator moves.
func (e *engine) stored(iter *pebble.Iterator) (streamid.ID, []byte, error) {
	id, ok := idOf(iter.Key())
	if !ok {
		return id, nil, e.corrupt(iter.Key(), errRecord)
	}
	value, err := iter.ValueAndErr()
	return id, value, e.problem(err)
}

// found is where a message was found.
type found struct {
	id     streamid.ID
	number uint64
	size   int
}

// locate says where the message under an iterator is.
func (e *engine) locate(iter *pebble.Iterator) (found, error) {
	id, value, err := e.stored(iter)
	if err != nil {
		return found{}, err
	}
	var m driver.Message
	number, err := decodeContent(&m, value)
	if err != nil {
		return found{}, e.corrupt(iter.Key(), err)
	}
	return found{id: id, number: number, size: len(value)}, nil
}

// idOf is the id at the end of a key.
func idOf(key []byte) (streamid.ID, bool) {
	if len(key) < streamid.Size {
		return streamid.ID{}, false
	}
	return streamid.FromBytes(key[len(key)-streamid.Size:]), true
}

// checkRun finds out by the messages' numbers whether one is missing at either
// end of a run. Those that were trimmed meanwhile, or deleted with the topic, are
// not missing.
func (e *engine) checkRun(t *topic, durable *topicRecord, start streamid.ID, r run) error {
	trimmed, dense := t.trimmed.Load(), t.dense.Load()
	gone := max(trimmed, dense)
	if len(r.members) == 0 {
		if gone < durable.appended {
			return e.missing(t, durable.appended)
		}
		return nil
	}
	if start.IsZero() && r.first > gone+1 {
		return e.missing(t, gone+1)
	}
	if last := r.last(); !r.full && last != durable.appended && dense < durable.appended {
		return e.missing(t, last+1)
	}
	return nil
}

func (e *engine) missing(t *topic, number uint64) error {
	return fmt.Errorf("%w in %s: message number %d of topic %s is missing", driver.ErrCorrupt, e.dir, number, t.name)
}
