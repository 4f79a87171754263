package ondisk

import (
	"context"
	"fmt"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// Outstanding asks the committer what is delivered, and Pebble what is dead.
func (e *engine) Outstanding(ctx context.Context, name, subscription string, texts []string) (map[string]driver.State, error) {
	ids := make([]streamid.ID, len(texts))
	for i, text := range texts {
		id, err := streamid.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("%w: %.40q is not a message id", driver.ErrPosition, text)
		}
		ids[i] = id
	}
	for {
		o := &outstanding{engine: e, topic: name, name: subscription, ids: ids}
		if err := o.lookAhead(ctx); err != nil {
			return nil, err
		}
		if err := e.submit(ctx, &request{decide: o.decide}); err != nil {
			return nil, err
		}
		if err := o.findDead(); err != nil {
			return nil, err
		}
		if o.again {
			continue
		}
		open := map[string]driver.State{}
		for i, state := range o.states {
			if state != "" {
				open[texts[i]] = state
			}
		}
		return open, nil
	}
}

// outstanding is one look at where messages stand.
type outstanding struct {
	engine      *engine
	topic, name string
	ids         []streamid.ID

	// Before decide: which were not delivered yet, and of them, which are not in
	// the topic.
	ahead, absent []bool

	sub      *subscription
	again    bool           // what is known from before is of no use
	states   []driver.State // nothing: done, or dead
	dead     bool           // there are dead letters
	requeued uint64         // sub.requeued, then
}

// lookAhead looks which messages that have not been delivered are in the topic.
// They may be removed later, but don't come later.
func (o *outstanding) lookAhead(ctx context.Context) error {
	t, err := o.engine.findWarm(ctx, o.topic)
	if err != nil {
		return err
	}
	s := o.engine.findSubscription(t, o.name)
	if s == nil {
		return driver.ErrSubscriptionNotFound
	}
	end, err := o.engine.reading()
	if err != nil {
		return err
	}
	defer end()
	o.ahead, o.absent = make([]bool, len(o.ids)), make([]bool, len(o.ids))
	cursor := *s.cursor.Load()
	last := t.durable.Load().last
	for i, id := range o.ids {
		if id.Compare(last) > 0 {
			return notGivenOut(driver.Position{ID: id.String()})
		}
		if id.Compare(cursor) > 0 {
			there, err := o.engine.has(idKey(id, tagMessage, o.topic))
			if err != nil {
				return err
			}
			o.ahead[i], o.absent[i] = true, !there
		}
	}
	return nil
}

func (o *outstanding) decide(*transaction) error {
	t, err := o.engine.topic(o.topic)
	if err != nil {
		return err
	}
	if t != nil {
		o.sub = t.subs[o.name]
	}
	s := o.sub
	if s == nil {
		return driver.ErrSubscriptionNotFound
	}
	o.states = make([]driver.State, len(o.ids))
	for i, id := range o.ids {
		d, delivered := s.find(id)
		switch {
		case delivered && d.waiting:
			o.states[i] = driver.Waiting
		case delivered:
			o.states[i] = driver.Held
		case id.Compare(s.rec.cursor) <= 0:
		case !o.ahead[i]: // the subscription was sent back
			o.again = true
		case !o.absent[i]:
			o.states[i] = driver.Ready
		}
	}
	o.dead, o.requeued = s.rec.dead > 0, s.requeued.Load()
	return nil
}

// findDead looks for dead letters among what is not delivered any more. If some
// were taken back meanwhile, all has to be looked at again.
func (o *outstanding) findDead() error {
	if !o.dead || o.again {
		return nil
	}
	end, err := o.engine.reading()
	if err != nil {
		return err
	}
	defer end()
	for i, id := range o.ids {
		if o.states[i] != "" {
			continue
		}
		dead, err := o.engine.has(idKey(id, tagDead, o.topic, o.name))
		if err != nil {
			return err
		}
		if dead {
			o.states[i] = driver.Buried
		}
	}
	o.again = o.requeued != o.sub.requeued.Load()
	return nil
}
