package ondisk

import (
	"context"
	"time"

	"github.com/beckmq/beck/internal/streamid"
)

// Requeue makes pending messages of dead letters. Such a message has a record of
// its own, since the topic may not have it any more.
func (e *engine) Requeue(ctx context.Context, name, subscription string, ids []string) (missing []string, err error) {
	return e.exhume(ctx, exhuming{engine: e, topic: name, name: subscription, ids: ids, requeue: true})
}

// Drop removes dead letters.
func (e *engine) Drop(ctx context.Context, name, subscription string, ids []string) (missing []string, err error) {
	return e.exhume(ctx, exhuming{engine: e, topic: name, name: subscription, ids: ids})
}

// exhume does it in portions of about maxBatch bytes.
func (e *engine) exhume(ctx context.Context, x exhuming) (missing []string, err error) {
	x.done = map[streamid.ID]bool{}
	for {
		portion := x // belongs to the committer until it has answered
		if err := e.submit(ctx, &request{alone: true, decide: portion.decide}); err != nil {
			return nil, err
		}
		missing = append(missing, portion.missing...)
		x.ids = x.ids[portion.count:]
		if len(x.ids) == 0 {
			return missing, nil
		}
	}
}

// exhuming is a Requeue or Drop, or a portion of it.
type exhuming struct {
	engine      *engine
	topic, name string
	ids         []string
	requeue     bool
	done        map[streamid.ID]bool // who is named twice is taken once

	count   int // of the ids that were seen to
	missing []string
}

// exhumed is a dead letter that was found.
type exhumed struct {
	id  streamid.ID
	rec deadRecord
	// comes says that its message is delivered anyhow, since the subscription was
	// sent back by a Seek.
	comes bool
}

// decide looks into Pebble, and is alone.
func (x *exhuming) decide(tx *transaction) error {
	s, err := x.engine.needSubscription(x.topic, x.name)
	if err != nil {
		return err
	}
	letters, err := x.find(s)
	if err != nil {
		return err
	}
	for _, l := range letters {
		tx.removeLetter(s, l.id, l.rec)
		if x.requeue && !l.comes {
			tx.requeue(s, l, x.engine.now())
		}
	}
	if x.requeue && len(letters) > 0 {
		// Whoever looked for a letter, and missed it, has to look again.
		s.requeued.Add(1)
		tx.hint(s.topic)
	}
	return nil
}

// find reads the next letters.
func (x *exhuming) find(s *subscription) (letters []exhumed, err error) {
	for size := 0; x.count < len(x.ids) && size <= maxBatch; {
		text := x.ids[x.count]
		x.count++
		l := exhumed{}
		found := false
		if l.id, err = streamid.Parse(text); err == nil {
			if x.done[l.id] {
				continue
			}
			l.rec, found, err = x.engine.letter(s, l.id)
			if err != nil {
				return nil, err
			}
		}
		if !found {
			x.missing = append(x.missing, text)
			continue
		}
		if l.comes, err = x.engine.comes(s, l.id); err != nil {
			return nil, err
		}
		x.done[l.id] = true
		letters = append(letters, l)
		size += len(l.rec.message)
	}
	return letters, nil
}

// comes reports whether a message will be delivered, or is.
func (e *engine) comes(s *subscription, id streamid.ID) (bool, error) {
	if _, delivered := s.find(id); delivered || id.Compare(s.rec.cursor) <= 0 {
		return delivered, nil
	}
	return e.has(idKey(id, tagMessage, s.topic))
}

// requeue has a dead letter's message delivered again.
func (tx *transaction) requeue(s *subscription, l exhumed, now time.Time) {
	p := &pending{waiting: true, copied: true, size: len(l.rec.message), since: now.UnixMilli()}
	p.deadline = deadline{id: l.id, due: now}
	s.add(p)
	tx.setPending(s, p)
	tx.set(idKey(l.id, tagCopy, s.topic, s.name), l.rec.message)
}
