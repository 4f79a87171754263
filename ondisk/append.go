package ondisk

import (
	"context"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// Append writes large calls in portions of about maxBatch bytes.
func (e *engine) Append(ctx context.Context, name string, messages []driver.Message) (ids []string, err error) {
	ids = make([]string, 0, len(messages))
	var texts idTexts
	texts.grow(len(messages))
	for len(messages) > 0 {
		n, size := portion(messages)
		first, err := e.append(ctx, name, messages[:n], size)
		if err != nil {
			return ids, err
		}
		for id := first; n > 0; n-- {
			ids = append(ids, texts.add(id))
			id = id.Next()
			messages = messages[1:]
		}
	}
	return ids, nil
}

// portion says how many messages go into one batch, at least one, and about how
// many bytes they take.
func portion(messages []driver.Message) (n, size int) {
	for i := range messages {
		more := messageSize(&messages[i], 0) + maxNumberSize + 64
		if n > 0 && size+more > maxBatch {
			break
		}
		n, size = n+1, size+more
	}
	return n, size
}

// append adds messages in one batch and returns the first one's id; each of the
// others is the next.
func (e *engine) append(ctx context.Context, name string, messages []driver.Message, size int) (first streamid.ID, err error) {
	var given streamid.ID // belongs to the committer until it has answered
	err = e.submit(ctx, &request{size: size, decide: func(tx *transaction) error {
		if err := e.room.check(size); err != nil {
			return err
		}
		t, err := e.makeTopic(tx, name)
		if err != nil {
			return err
		}
		given = newID(t.rec.last, e.now())
		id := given
		for i := range messages {
			t.rec.last = id
			t.rec.appended++
			tx.setMessage(t, &messages[i])
			id = id.Next()
		}
		tx.touch(t)
		tx.hint(name)
		return nil
	}})
	if err != nil {
		return streamid.ID{}, err
	}
	return given, nil
}

// setMessage writes the topic's newest message straight into the batch.
func (tx *transaction) setMessage(t *topic, m *driver.Message) {
	number := t.rec.appended
	keyLen := 2 + len(t.name) + streamid.Size
	op := tx.batch.SetDeferred(keyLen, messageSize(m, number))
	key := append(op.Key[:0], tagMessage, byte(len(t.name)))
	t.rec.last.Append(append(key, t.name...))
	appendMessage(op.Value[:0], m, number)
	tx.note(op.Finish())
}
