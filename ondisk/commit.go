package ondisk

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/beckmq/beck/internal/driver"
)

const (
	// maxBatch is about how many bytes one batch takes.
	maxBatch = 4 << 20
	// inFlight is how many batches may wait for the disk while the committer
	// gathers the next. Pebble lets those that wait share a sync.
	inFlight = 4
)

// transaction is what the committer has decided and the disk does not yet hold.
type transaction struct {
	batch    *pebble.Batch
	err      error // of writing into the batch
	requests []*request
	// makesRoom says that ranges of messages are removed.
	makesRoom bool
	// empty says that nothing is written. A large batch can't be asked for that
	// once Pebble has been given it, since its content is no longer there then.
	empty bool

	// What readers get to see once the disk holds the batch.
	topics  map[*topic]*topicRecord
	subs    map[*subscription]struct{} // to be written
	groups  []*group                   // to be written
	changes []func()
	hints   map[string]struct{}
}

func (e *engine) newTransaction() *transaction {
	return &transaction{
		batch:  e.db.NewBatch(),
		topics: map[*topic]*topicRecord{},
		subs:   map[*subscription]struct{}{},
		hints:  map[string]struct{}{},
	}
}

func (tx *transaction) note(err error) {
	if tx.err == nil {
		tx.err = err
	}
}

func (tx *transaction) set(key, value []byte) { tx.note(tx.batch.Set(key, value, nil)) }
func (tx *transaction) delete(key []byte)     { tx.note(tx.batch.Delete(key, nil)) }
func (tx *transaction) deleteRange(start, end []byte) {
	tx.makesRoom = true
	tx.note(tx.batch.DeleteRange(start, end, nil))
}

// touch has the topic's record written at the end of the transaction.
func (tx *transaction) touch(t *topic) { tx.topics[t] = nil }

func (tx *transaction) touchSub(s *subscription) { tx.subs[s] = struct{}{} }

func (tx *transaction) onDurable(change func()) { tx.changes = append(tx.changes, change) }

// hint wakes whoever watches the topic.
func (tx *transaction) hint(topic string) { tx.hints[topic] = struct{}{} }

// seal writes the records that were touched, as they are now.
func (tx *transaction) seal(global *globalRecord) {
	for t := range tx.topics {
		rec := t.rec
		tx.topics[t] = &rec
		tx.set(tableKey(tagTopic, t.name), rec.encode())
	}
	for s := range tx.subs {
		tx.set(tableKey(tagSub, s.topic, s.name), s.rec.encode())
	}
	for _, g := range tx.groups {
		tx.sealGroup(g)
	}
	if !tx.batch.Empty() {
		global.commits++
		tx.set(tableKey(tagGlobal), global.encode())
	}
}

// commitLoop is the committer.
func (e *engine) commitLoop(finish chan<- *transaction) {
	defer close(finish)
	// If Pebble ends this goroutine, this goes on answering.
	defer e.refuse()
	for {
		if len(e.taken) == 0 {
			e.taken = e.queue.take(maxBatch)
		}
		if len(e.taken) == 0 {
			return
		}
		e.commit(finish)
	}
}

func (e *engine) refuse() {
	for {
		for _, r := range e.taken {
			r.answer(e.failed())
		}
		if e.taken = e.queue.take(maxBatch); len(e.taken) == 0 {
			return
		}
	}
}

// commit decides the requests taken, up to the first that needs a transaction of
// its own, and has Pebble write what they change.
func (e *engine) commit(finish chan<- *transaction) {
	tx := e.newTransaction()
	e.state.recent.turn(e.state.batch)
	e.state.batch++
	defer func() { finish <- tx }()
	for first := true; len(e.taken) > 0; first = false {
		r := e.taken[0]
		err := e.decide(tx, r)
		if err == errLater && !first {
			break
		}
		e.taken = e.taken[1:]
		if err != nil {
			r.answer(err)
		} else {
			tx.requests = append(tx.requests, r)
		}
	}
	e.apply(tx)
	e.applied.Store(e.state.batch)
}

// errLater is what decide returns if it has to look into Pebble for something
// that the transaction may have changed, see transaction.unseen: it is asked
// again in the next one.
var errLater = errors.New("to be decided in another transaction")

// unseen reports whether the transaction changes something about the topic that
// can't be read from Pebble yet.
func (tx *transaction) unseen(t *topic) bool {
	_, touched := tx.topics[t]
	return touched
}

func (e *engine) decide(tx *transaction, r *request) error {
	if err := e.failed(); err != nil {
		return err
	}
	return r.decide(tx)
}

// apply hands the batch to Pebble. The finisher sees whether that failed.
func (e *engine) apply(tx *transaction) {
	tx.seal(&e.state.global)
	tx.empty = tx.batch.Empty()
	if tx.err == nil {
		tx.err = e.failed()
	}
	if tx.err != nil || tx.empty {
		return
	}
	tx.err = errNotApplied
	defer func() {
		// Pebble panics when it can't go on to a next log file, for example.
		if p := recover(); p != nil {
			tx.err = fmt.Errorf("pebble: %v", p)
			if cause, ok := p.(error); ok {
				tx.err = cause
			}
		}
		if tx.err != nil {
			e.fail(tx.err)
		}
	}()
	tx.err = e.db.ApplyNoSyncWait(tx.batch, pebble.Sync)
	if tx.err == nil && tx.makesRoom && e.room.tight() {
		// What was removed leaves the disk only when the memtable is written.
		_, tx.err = e.db.AsyncFlush()
	}
}

// errNotApplied is what is left if Pebble ended the goroutine.
var errNotApplied = errors.New("pebble gave up")

// finishLoop is the finisher.
func (e *engine) finishLoop(finish <-chan *transaction) {
	for tx := range finish {
		e.finish(tx)
	}
}

func (e *engine) finish(tx *transaction) {
	if tx.err == nil && !tx.empty {
		tx.err = tx.batch.SyncWait()
	}
	if tx.err == nil {
		// Something earlier may have failed that this was decided on.
		tx.err = e.failed()
	}
	if tx.err != nil {
		e.giveUp(tx)
		return
	}
	tx.publish()
	e.hub.hint(slices.Collect(maps.Keys(tx.hints)))
	for _, r := range tx.requests {
		r.answer(nil)
	}
	if err := tx.batch.Close(); err != nil {
		e.log.Warn("beck: closing a batch", "err", err)
	}
}

// publish shows readers what changed. Topics and subscriptions are shown last,
// when their records are right.
func (tx *transaction) publish() {
	for t, rec := range tx.topics {
		t.durable.Store(rec)
	}
	for _, change := range tx.changes {
		change()
	}
}

// giveUp answers the requests of a transaction that may or may not be on disk.
// Nobody can know: after a failed sync the system may have dropped the data, and
// a second sync that succeeds says nothing.
func (e *engine) giveUp(tx *transaction) {
	cause := tx.err
	e.fail(cause)
	err := fmt.Errorf("%w: writing to %s failed: %w", driver.ErrUncertain, e.dir, plain(cause))
	if tx.empty {
		err = e.failed()
	}
	for _, r := range tx.requests {
		r.answer(err)
	}
}

// plain keeps an error's text, but not what it is: an uncertain outcome must not
// look like one of the certain ones.
func plain(err error) error { return errors.New(err.Error()) }
