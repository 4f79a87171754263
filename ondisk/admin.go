package ondisk

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// Topics lists what the disk holds, from memory.
func (e *engine) Topics(ctx context.Context) ([]driver.TopicSummary, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	end, err := e.reading()
	if err != nil {
		return nil, err
	}
	defer end()
	e.mu.RLock()
	list := make([]driver.TopicSummary, 0, len(e.visible))
	for name, t := range e.visible {
		rec := t.durable.Load()
		list = append(list, driver.TopicSummary{
			Name: name, Length: rec.length(), LastID: rec.lastID(), Subscriptions: len(t.visible),
			Queue: t.visible[driver.QueueSubscription] != nil && t.visible[driver.QueueSubscription].queue,
		})
	}
	e.mu.RUnlock()
	slices.SortFunc(list, func(a, b driver.TopicSummary) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// Topic asks the committer, since it alone knows what is pending.
func (e *engine) Topic(ctx context.Context, name string) (driver.TopicInfo, error) {
	var info driver.TopicInfo
	err := e.submit(ctx, &request{alone: true, decide: func(*transaction) error {
		t, err := e.needTopic(name)
		if err != nil {
			return err
		}
		info = driver.TopicInfo{
			Name: name, Length: t.rec.length(), LastID: t.rec.lastID(), Queue: t.isQueue(),
			Bytes: t.rec.bytes, Delayed: int64(t.rec.delayed), Dropped: int64(t.rec.dropped), Config: *t.config,
		}
		if !t.rec.counted {
			info.Bytes = -1
		}
		if info.FirstID, err = e.firstID(t); err != nil {
			return err
		}
		for _, s := range t.subs {
			described, err := e.describeSubscription(t, s)
			if err != nil {
				return err
			}
			info.Subscriptions = append(info.Subscriptions, described)
		}
		return nil
	}})
	if err != nil {
		return driver.TopicInfo{}, err
	}
	slices.SortFunc(info.Subscriptions, func(a, b driver.SubscriptionInfo) int { return strings.Compare(a.Name, b.Name) })
	return info, nil
}

func (e *engine) firstID(t *topic) (string, error) {
	if t.rec.length() == 0 {
		return "", nil
	}
	from := *t.floor.Load()
	if t.isQueue() {
		// Do not look at all that was removed before.
		from = later(from, t.neededFrom(streamid.Max))
		t.floor.Store(&from)
	}
	first, exists, err := e.firstFrom(t, from)
	if err == nil && !exists {
		err = e.corruptTopic(t, "all of its %d messages are missing", t.rec.length())
	}
	return first.id.String(), err
}

// firstFrom returns the first message at or behind an id. Only the committer may
// call it, for a request that is alone in its transaction.
func (e *engine) firstFrom(t *topic, id streamid.ID) (first found, exists bool, err error) {
	iter, err := e.messages(t.name, id, streamid.Max)
	if err != nil {
		return first, false, err
	}
	defer iter.Close()
	if !iter.First() {
		return first, false, e.problem(iter.Error())
	}
	first, err = e.locate(iter)
	return first, err == nil, err
}

// lastBefore returns the last message before an id, under the same terms.
func (e *engine) lastBefore(t *topic, id streamid.ID) (last found, exists bool, err error) {
	iter, err := e.messages(t.name, streamid.ID{}, streamid.Max)
	if err != nil {
		return last, false, err
	}
	defer iter.Close()
	if !iter.SeekLT(idKey(id, tagMessage, t.name)) {
		return last, false, e.problem(iter.Error())
	}
	last, err = e.locate(iter)
	return last, err == nil, err
}

func (e *engine) describeSubscription(t *topic, s *subscription) (driver.SubscriptionInfo, error) {
	now := e.now()
	s.forgetIdle(now)
	lag, err := e.lag(t, s)
	if err != nil {
		return driver.SubscriptionInfo{}, err
	}
	info := driver.SubscriptionInfo{
		Name: s.name, Lease: s.rec.lease, Dead: int64(s.rec.dead), Lag: lag, Paused: s.rec.paused,
		Waiting: int64(s.waiting), Lost: int64(s.rec.lost),
		Expires: s.rec.expires, Unread: s.unread(now),
		Pending: int64(s.grouped + len(s.pending) - s.waiting),
	}
	if !s.rec.cursor.IsZero() {
		info.LastDelivered = s.rec.cursor.String()
	}
	for name, c := range s.consumers {
		info.Consumers = append(info.Consumers, driver.ConsumerInfo{
			Name: name, Pending: int64(c.held), Idle: max(0, now.Sub(c.seen)),
		})
	}
	slices.SortFunc(info.Consumers, func(a, b driver.ConsumerInfo) int { return cmp.Compare(a.Name, b.Name) })
	return info, nil
}

// lag counts the messages behind the cursor, as firstFrom does, or returns -1 if
// there are too many holes among them.
func (e *engine) lag(t *topic, s *subscription) (int64, error) {
	if s.rec.delivered >= t.rec.dense || t.rec.holes == 0 {
		return int64(t.rec.appended - max(s.rec.delivered, t.rec.trimmed)), nil
	}
	iter, err := e.messages(t.name, s.rec.cursor.Next(), streamid.Max)
	if err != nil {
		return 0, err
	}
	defer iter.Close()
	counted := int64(0)
	for ok := iter.First(); ok; ok = iter.Next() {
		f, err := e.locate(iter)
		if err != nil {
			return 0, err
		}
		if f.number > t.rec.dense {
			break
		}
		if counted++; counted > maxSurvey {
			return -1, nil
		}
	}
	return counted + int64(t.rec.appended-t.rec.dense), e.problem(iter.Error())
}

// Join makes the subscription, and the topic, in one batch.
func (e *engine) Join(ctx context.Context, name, subscription string, config driver.JoinConfig) (existed bool, err error) {
	start, err := startOf(config.From)
	if err != nil {
		return false, err
	}
	found := false // belongs to the committer until it has answered
	err = e.submit(ctx, &request{alone: true, decide: func(tx *transaction) error {
		t, err := e.topic(name)
		if err != nil {
			return err
		}
		if err := t.checkQueue(subscription, config.Queue); err != nil {
			return err
		}
		if t != nil && t.subs[subscription] != nil {
			found = true
			changeSubscription(tx, t.subs[subscription], config, e.now())
			t.mayExpire(t.subs[subscription])
			return nil
		}
		rec, err := e.begin(t, config, start)
		if err != nil {
			return err
		}
		rec.queue, rec.expires, rec.read = config.Queue, max(0, config.Expires), e.now().UnixMilli()
		if rec.queue && t != nil {
			if err := e.emptyBefore(tx, t, rec.cursor); err != nil {
				return err
			}
		}
		if t, err = e.makeTopic(tx, name); err != nil {
			return err
		}
		s := newSubscription(name, subscription, rec)
		t.subs[subscription] = s
		t.mayExpire(s)
		tx.touchSub(s)
		tx.onDurable(func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			t.visible[subscription] = s
		})
		return nil
	}})
	if err != nil {
		return false, err
	}
	return found, nil
}

func changeSubscription(tx *transaction, s *subscription, config driver.JoinConfig, now time.Time) {
	if config.Lease > 0 {
		s.rec.lease = config.Lease
	}
	if config.Expires > 0 {
		s.rec.expires = config.Expires
	}
	s.reads(tx, now)
	if config.Lease > 0 || config.Expires > 0 {
		tx.touchSub(s)
	}
}

// begin works out where a new subscription begins. The topic may be nil.
func (e *engine) begin(t *topic, config driver.JoinConfig, start streamid.ID) (subscriptionRecord, error) {
	rec := subscriptionRecord{lease: cmp.Or(max(0, config.Lease), driver.DefaultLease)}
	if t == nil || t.rec.appended == 0 {
		if config.From.Kind == driver.AtID {
			return rec, notGivenOut(config.From)
		}
		return rec, nil
	}
	before := start // the cursor stands behind the messages before this id
	switch config.From.Kind {
	case driver.End:
		rec.cursor, rec.delivered = t.rec.last, t.rec.appended
		return rec, nil
	case driver.AtID:
		if start.Compare(t.rec.last) > 0 {
			return rec, notGivenOut(config.From)
		}
		before = start.Next()
	}
	last, exists, err := e.lastBefore(t, before)
	if err != nil {
		return rec, err
	}
	rec.delivered = t.rec.trimmed
	if exists {
		rec.cursor, rec.delivered = last.id, last.number
	}
	if config.From.Kind == driver.AtID {
		rec.cursor = start
	}
	return rec, nil
}

func notGivenOut(p driver.Position) error {
	return fmt.Errorf("%w: the topic has not given out the id %.40q yet", driver.ErrPosition, p.ID)
}
