package ondisk

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// Settle reads the messages that become dead letters ahead of time, so that the
// committer need not look into Pebble.
func (e *engine) Settle(ctx context.Context, name, subscription, consumer string, settlements []driver.Settlement) (notHeld []string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	t, err := e.findWarm(ctx, name)
	if err != nil {
		return nil, err
	}
	s := e.findSubscription(t, subscription)
	if s == nil {
		return nil, driver.ErrSubscriptionNotFound
	}
	for again := false; ; again = true {
		g := &settling{engine: e, topic: t, sub: s, consumer: consumer, settlements: settlements}
		if err := g.readDying(); err != nil {
			return nil, err
		}
		err := e.submit(ctx, &request{size: g.size, decide: g.decide})
		switch {
		case err == nil:
			return g.notHeld, nil
		case again || !errors.Is(err, errMissing):
			return nil, err
		}
		// A message that was looked for may have got its copy just now.
	}
}

// settling is one Settle.
type settling struct {
	engine      *engine
	topic       *topic
	sub         *subscription
	consumer    string
	settlements []driver.Settlement

	dying   map[streamid.ID][]byte     // stored messages that may become dead letters
	former  map[streamid.ID]deadRecord // dead letters that they replace
	size    int
	notHeld []string
}

// readDying reads the messages that are to become dead letters. Those that are
// not there can't be held either.
func (g *settling) readDying() error {
	g.size = 64 * len(g.settlements)
	for _, s := range g.settlements {
		if s.Do != driver.DeadLetter {
			continue
		}
		id, err := streamid.Parse(s.ID)
		if err != nil {
			continue
		}
		if err := g.readDyingMessage(id); err != nil {
			return err
		}
	}
	return nil
}

func (g *settling) readDyingMessage(id streamid.ID) error {
	end, err := g.engine.reading()
	if err != nil {
		return err
	}
	defer end()
	value, err := g.engine.get(idKey(id, tagMessage, g.topic.name))
	if errors.Is(err, pebble.ErrNotFound) {
		value, err = g.engine.get(idKey(id, tagCopy, g.topic.name, g.sub.name))
	}
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return g.engine.problem(err)
	}
	if g.dying == nil {
		g.dying = map[streamid.ID][]byte{}
	}
	g.dying[id] = value
	g.size += len(value)
	return nil
}

func (g *settling) decide(tx *transaction) error {
	t, err := g.engine.topic(g.topic.name)
	if err != nil {
		return err
	}
	if t == nil || t.subs[g.sub.name] != g.sub {
		return driver.ErrSubscriptionNotFound
	}
	if err := g.checkDying(tx); err != nil {
		return err
	}
	g.sub.consumer(g.consumer, g.engine.now())
	for _, s := range g.settlements {
		id, err := streamid.Parse(s.ID)
		if err != nil || !g.settle(tx, id, s) {
			g.notHeld = append(g.notHeld, s.ID)
		}
	}
	return nil
}

// checkDying makes sure, before anything is changed, that each message that is
// held and to become a dead letter was found, and looks whether it is one already:
// no dead letter comes or goes in the same transaction as a message that has one
// is delivered again.
func (g *settling) checkDying(tx *transaction) error {
	for _, s := range g.settlements {
		if s.Do != driver.DeadLetter {
			continue
		}
		id, err := streamid.Parse(s.ID)
		if err != nil {
			continue
		}
		if _, delivered := g.sub.find(id); !delivered {
			continue
		}
		if g.dying[id] == nil {
			return g.engine.corrupt(idKey(id, tagMessage, g.topic.name), errMissing)
		}
		if g.sub.rec.dead == 0 {
			continue
		}
		if err := g.engine.placeLetters(tx, g.sub); err != nil {
			return err
		}
		former, found, err := g.engine.letter(g.sub, id)
		if err != nil {
			return err
		}
		if found {
			if g.former == nil {
				g.former = map[streamid.ID]deadRecord{}
			}
			g.former[id] = former
		}
	}
	return nil
}

// settle does one settlement and says whether the message was held.
func (g *settling) settle(tx *transaction, id streamid.ID, s driver.Settlement) bool {
	d, ok := g.sub.find(id)
	if !ok || d.waiting || s.Do != driver.Acknowledge && d.owner != g.consumer {
		return false
	}
	now := g.engine.now()
	switch s.Do {
	case driver.Acknowledge:
		g.end(tx, d)
	case driver.Renew:
		p := g.sub.single(tx, d)
		g.sub.setDue(p, now.Add(g.sub.rec.lease))
		tx.setPending(g.sub, p)
	case driver.Retry:
		p := g.sub.single(tx, d)
		g.sub.wait(p, now, now.Add(max(0, s.After)), s.Reason)
		tx.setPending(g.sub, p)
		tx.hint(g.topic.name)
	case driver.Release:
		p := g.sub.single(tx, d)
		p.attempt--
		g.sub.wait(p, now, now, p.reason)
		tx.setPending(g.sub, p)
		tx.hint(g.topic.name)
	case driver.DeadLetter:
		if former, found := g.former[id]; found {
			tx.removeLetter(g.sub, id, former)
		}
		dead := deadRecord{attempt: uint64(d.attempt), owner: d.owner, reason: s.Reason, message: g.dying[id]}
		tx.addLetter(g.sub, id, dead, now)
		g.end(tx, d)
	default:
		return false
	}
	return true
}

// end ends a delivery. A queue has no more use for its message.
func (g *settling) end(tx *transaction, d delivery) {
	if g.sub.rec.queue && !d.copied() {
		tx.removeTask(g.topic, g.sub, d)
	}
	g.sub.end(tx, d)
}

// Leave forgets a consumer that holds nothing.
func (e *engine) Leave(ctx context.Context, name, subscription, consumer string) error {
	return e.submit(ctx, &request{decide: func(*transaction) error {
		t, err := e.topic(name)
		if err != nil || t == nil {
			return err
		}
		s := t.subs[subscription]
		if s == nil {
			return nil
		}
		if c := s.consumers[consumer]; c != nil && c.held == 0 {
			delete(s.consumers, consumer)
		}
		return nil
	}})
}
