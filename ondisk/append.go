package ondisk

import (
	"context"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// Append writes large calls in portions of about maxBatch bytes.
func (e *engine) Append(ctx context.Context, name string, messages []driver.Message) (ids []string, err error) {
	if err := checkDurability(messages...); err != nil {
		return nil, err
	}
	ids = make([]string, 0, len(messages))
	var texts idTexts
	texts.grow(len(messages))
	for len(messages) > 0 {
		a := &appending{engine: e, name: name}
		n := a.portion(messages)
		a.messages = messages[:n]
		if a.ids {
			if err := a.lookUp(); err != nil {
				return ids, err
			}
		}
		if err := e.submit(ctx, &request{size: a.size, decide: a.decide}); err != nil {
			return ids, err
		}
		if a.placed == nil {
			for id := a.first; n > 0; n-- {
				ids = append(ids, texts.add(id))
				id = id.Next()
			}
		}
		for _, p := range a.placed {
			ids = append(ids, p.text(&texts))
		}
		if a.full != nil {
			return ids, a.full
		}
		messages = messages[a.done:]
	}
	return ids, nil
}

// appending is a portion of one Append.
type appending struct {
	engine   *engine
	name     string
	messages []driver.Message
	size     int  // about how many bytes they take
	special  bool // some are delayed or have deduplication ids
	ids      bool // some have deduplication ids
	known    knownIDs
	over     map[string]int64 // ids whose time is over, and when it was, ms since 1970

	// What became of them belongs to the committer until it has answered: they
	// have the first id and those that follow, or each the one placed.
	first  streamid.ID
	placed []placed
	done   int   // those before this one were decided
	full   error // why the others are refused; if nil, they are to be asked for again
}

// placed is the id that a message got.
type placed struct {
	id      streamid.ID
	delayed bool
}

func (p placed) text(texts *idTexts) string {
	if p.delayed {
		return delayedText(p.id)
	}
	return texts.add(p.id)
}

// portion says how many messages go into one batch, at least one, and sums up
// what they are like.
func (a *appending) portion(messages []driver.Message) (n int) {
	for i := range messages {
		m := &messages[i]
		more := messageSize(m, 0) + maxNumberSize + 64
		if m.DedupeID != "" {
			a.ids, a.special = true, true
			more += 2 * (64 + len(m.DedupeID))
		}
		if m.Delay > 0 || !m.At.IsZero() {
			a.special = true
			more += 64
		}
		if n > 0 && a.size+more > maxBatch {
			break
		}
		n, a.size = n+1, a.size+more
	}
	return n
}

func (a *appending) decide(tx *transaction) error {
	e := a.engine
	if err := e.room.check(a.size); err != nil {
		return err
	}
	t, err := e.makeTopic(tx, a.name)
	if err != nil {
		return err
	}
	if a.special || t.bounded() {
		return a.decideEach(tx, t)
	}
	a.first = newID(t.rec.last, e.now())
	id := a.first
	for i := range a.messages {
		tx.store(t, &a.messages[i], id)
		id = id.Next()
	}
	a.done = len(a.messages)
	tx.touch(t)
	tx.hint(a.name)
	return nil
}

// decideEach decides about messages that may be known already, or have to wait
// for their time, or find no room.
func (a *appending) decideEach(tx *transaction, t *topic) error {
	now := a.engine.now()
	twins, err := a.findTwins(t, now)
	if err != nil {
		return err
	}
	var entering []*driver.Message
	end, refusal := len(a.messages), error(nil)
	for i := range a.messages {
		m := &a.messages[i]
		if twins[i] != nil {
			continue
		}
		if !delayedUntil(m, now).After(now) {
			entering = append(entering, m)
		} else if refusal = t.neverTakes(m); refusal != nil {
			end = i
			break
		}
	}
	room, err := a.engine.findRoom(tx, t, entering)
	if err != nil {
		return err
	}
	if err := a.engine.makeRoom(tx, t, room, now); err != nil {
		return err
	}
	a.placed = make([]placed, 0, len(a.messages))
	entered := 0
	for i := range a.messages {
		m := &a.messages[i]
		p := placed{}
		switch twin := twins[i]; {
		case twin != nil && twin.inBatch:
			a.placed = append(a.placed, a.placed[twin.place])
			continue
		case twin != nil:
			a.placed = append(a.placed, twin.placed)
			continue
		case i == end:
			a.done, a.full = i, refusal
			tx.touch(t)
			tx.hint(a.name)
			return nil
		case delayedUntil(m, now).After(now):
			p = placed{tx.delay(a.engine, t, m, now), true}
		case entered == room.count:
			a.done, a.full = i, room.full
			tx.touch(t)
			tx.hint(a.name)
			return nil
		default:
			p.id = newID(t.rec.last, now)
			tx.store(t, m, p.id)
			entered++
		}
		if m.DedupeID != "" {
			a.remember(tx, t, m.DedupeID, p, now)
		}
		a.placed = append(a.placed, p)
	}
	a.done = len(a.messages)
	tx.touch(t)
	tx.hint(a.name)
	return nil
}

// delayedUntil is when a message enters its topic.
func delayedUntil(m *driver.Message, now time.Time) time.Time {
	if !m.At.IsZero() {
		return m.At
	}
	return now.Add(m.Delay)
}

// store writes the topic's newest message straight into the batch.
func (tx *transaction) store(t *topic, m *driver.Message, id streamid.ID) {
	t.rec.last = id
	t.rec.appended++
	number := t.rec.appended
	size := messageSize(m, number)
	t.rec.bytes += int64(size)
	keyLen := 2 + len(t.name) + streamid.Size
	op := tx.batch.SetDeferred(keyLen, size)
	key := append(op.Key[:0], tagMessage, byte(len(t.name)))
	id.Append(append(key, t.name...))
	appendMessage(op.Value[:0], m, number)
	tx.note(op.Finish())
	t.extendFront(found{id: id, number: number, size: size})
}
