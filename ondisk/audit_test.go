package ondisk

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// audit compares the record of every topic with all that is stored.
func audit(t testing.TB, e *engine) {
	t.Helper()
	err := e.submit(t.Context(), &request{alone: true, decide: func(*transaction) error {
		for name := range e.state.topics {
			tp, err := e.topic(name)
			if err != nil {
				return err
			}
			if err := auditTopic(e, tp); err != nil {
				return fmt.Errorf("topic %s: %w", name, err)
			}
		}
		return nil
	}})
	if err != nil {
		t.Fatalf("audit: %v", err)
	}
}

func auditTopic(e *engine, tp *topic) error {
	var list []found
	bytes := int64(0)
	err := e.scan(tableKey(tagMessage, tp.name), func(key, value []byte) error {
		id, _ := idOf(key)
		number, err := messageNumber(value)
		list = append(list, found{id, number, len(value)})
		bytes += int64(len(value))
		return err
	})
	if err != nil {
		return err
	}
	rec := &tp.rec
	if rec.length() != int64(len(list)) || rec.counted && rec.bytes != bytes {
		return fmt.Errorf("%d messages of %d bytes are stored, but %+v", len(list), bytes, rec)
	}
	for i, f := range list {
		if f.number <= rec.trimmed || i > 0 && f.number != list[i-1].number+1 && f.number-1 > rec.dense {
			return fmt.Errorf("number %d behind %+v, but %+v", f.number, list[max(0, i-1)], rec)
		}
	}
	if floor := *tp.floor.Load(); len(list) > 0 && floor.Compare(list[0].id) > 0 {
		return fmt.Errorf("its floor is %s, but it begins with %s", floor, list[0].id)
	}
	front := slices.DeleteFunc(slices.Clone(tp.front), func(f found) bool { return f.number <= rec.trimmed || f.size < 0 })
	if len(front) > len(list) || !slices.Equal(front, list[:len(front)]) {
		return fmt.Errorf("its front is %v, but it begins with %v", front, list)
	}
	if q := tp.subs[driver.QueueSubscription]; q != nil && q.rec.queue {
		for _, f := range list {
			if _, pending := q.find(f.id); !pending && f.number <= q.rec.delivered {
				return fmt.Errorf("%s was settled, but is stored", f.id)
			}
		}
	}
	return auditDelayed(e, tp)
}

func auditDelayed(e *engine, tp *topic) error {
	delayed, first := uint64(0), streamid.ID{}
	err := e.scan(tableKey(tagDelayed, tp.name), func(key, _ []byte) error {
		if delayed++; delayed == 1 {
			first, _ = idOf(key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if delayed != tp.rec.delayed || delayed > 0 && first != tp.due || (delayed > 0) != (tp.moves > 0) {
		return fmt.Errorf("%d are delayed, the first is %s, but %+v and %s", delayed, first, tp.rec, tp.due)
	}
	ids, ends := uint64(0), uint64(0)
	err = e.scan(tableKey(tagDedupe, tp.name), func(key, value []byte) error {
		ids++
		names, _, _ := splitNames(key, 2)
		var rec dedupeRecord
		if err := rec.decode(value); err != nil {
			return err
		}
		_, err := e.get(forgetKey(tp.name, names[1], rec.until))
		return err
	})
	if err != nil {
		return err
	}
	err = e.scan(tableKey(tagForget, tp.name), func(_, _ []byte) error { ends++; return nil })
	if ids != tp.rec.remembered || ends != ids {
		return fmt.Errorf("%d ids are remembered, %d to be forgotten, but %+v", ids, ends, tp.rec)
	}
	return err
}

// account is what became of the messages that a subscription was to get.
type account struct{ acked, dead, purged int64 }

// TestNothingGoesSilently does all sorts of things to a topic with bounds at
// random. Whatever happens, the records are right, and every message that entered
// the topic is for each subscription acknowledged, dead, told as lost, or open.
func TestNothingGoesSilently(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			keepAccount(t, rand.New(rand.NewPCG(seed, 3)), seed%2 == 0)
		})
	}
}

func keepAccount(t *testing.T, random *rand.Rand, queue bool) {
	clock := newMovingClock()
	set := settings{fs: vfs.NewMem(), reserve: 1, now: clock.now, sweep: time.Hour}
	e := mustOpen(t, "db", set)
	defer func() { shut(t, e) }()
	subs := map[string]*account{"s": {}, "r": {}}
	if queue {
		subs = map[string]*account{workers: {}}
	}
	for s := range subs {
		join(t, e, "a", s, driver.JoinConfig{Queue: queue, Lease: time.Minute})
	}
	var delayed []string
	told := map[string]int64{}
	for range 120 {
		clock.forward(time.Duration(random.IntN(20_000)) * time.Millisecond)
		switch random.IntN(12) {
		case 0:
			shut(t, e)
			e = mustOpen(t, "db", set)
		case 1:
			config := driver.TopicConfig{DropOldest: random.IntN(2) == 0, MaxAge: time.Minute, DedupeWindow: 30 * time.Second}
			if config.MaxMessages = int64(random.IntN(30)); random.IntN(2) == 0 {
				config.MaxMessages, config.MaxBytes = 0, int64(random.IntN(500))
			}
			if err := e.Configure(t.Context(), "a", config); err != nil {
				t.Fatal(err)
			}
		case 2, 3, 4, 5:
			delayed = append(delayed, appendSome(t, e, random)...)
		case 6:
			e.sweep(t.Context())
		case 7:
			if len(delayed) > 0 {
				if _, err := e.Cancel(t.Context(), "a", delayed[random.IntN(len(delayed)):]); err != nil {
					t.Fatal(err)
				}
			}
		case 8:
			if random.IntN(4) > 0 {
				continue
			}
			moveAll(t, e, "a") // so that it doesn't come between
			for name, info := range accounts(t, e) {
				subs[name].purged += info.Lag + info.Pending + info.Waiting
			}
			if _, err := e.Purge(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
		default:
			for name, s := range subs {
				told[name] += consumeSome(t, e, name, s, random)
			}
		}
		audit(t, e)
		// What is due enters the topic at any moment.
		entered := func() int64 { return int64(e.find("a").durable.Load().appended) }
		before, infos := entered(), accounts(t, e)
		for before != entered() {
			before, infos = entered(), accounts(t, e)
		}
		for name, info := range infos {
			s := subs[name]
			if sum := s.acked + s.dead + s.purged + info.Lost + info.Lag + info.Pending + info.Waiting; sum != before {
				t.Fatalf("%d messages entered, but %s has %+v and %+v", before, name, s, info)
			}
			if told[name] > info.Lost || info.Dead != s.dead {
				t.Fatalf("%s was told of %d, but has %+v and %+v", name, told[name], s, info)
			}
		}
	}
}

func accounts(t *testing.T, e *engine) map[string]driver.SubscriptionInfo {
	t.Helper()
	list := map[string]driver.SubscriptionInfo{}
	for _, s := range topicInfo(t, e, "a").Subscriptions {
		list[s.Name] = s
	}
	return list
}

func appendSome(t *testing.T, e *engine, random *rand.Rand) (delayed []string) {
	t.Helper()
	messages := bodies(0, 1+random.IntN(12))
	for i := range messages {
		m := &messages[i]
		m.Body = make([]byte, random.IntN(40))
		if random.IntN(4) == 0 {
			m.Delay = time.Duration(random.IntN(60_000)) * time.Millisecond
		}
		if random.IntN(3) == 0 {
			m.DedupeID = fmt.Sprint(random.IntN(15))
		}
	}
	ids, err := e.Append(t.Context(), "a", messages)
	if full := err != nil && errors.Is(err, driver.ErrTopicFull); err != nil && !full || !full && len(ids) != len(messages) {
		t.Fatalf("%d ids for %d messages, %v", len(ids), len(messages), err)
	}
	for _, id := range ids {
		if id[0] == 'd' {
			delayed = append(delayed, id)
		}
	}
	return delayed
}

func consumeSome(t *testing.T, e *engine, name string, s *account, random *rand.Rand) (told int64) {
	t.Helper()
	c := []string{"c", "d"}[random.IntN(2)]
	// What is due must not come between, and drop what is held.
	moveAll(t, e, "a")
	f := fetch(t, e, "a", name, c, 1+random.IntN(10))
	for _, m := range f.Messages {
		if m.Body == nil {
			t.Fatalf("%s has no body", m.ID)
		}
		do := []driver.Action{driver.Acknowledge, driver.Acknowledge, driver.DeadLetter, driver.Retry, driver.Release, driver.Renew, 0}[random.IntN(7)]
		if do == 0 {
			continue
		}
		if not := settle(t, e, "a", name, c, driver.Settlement{ID: m.ID, Do: do, After: time.Duration(random.IntN(50)) * time.Second}); len(not) > 0 {
			t.Fatalf("%s is not held", m.ID)
		}
		switch do {
		case driver.Acknowledge:
			s.acked++
		case driver.DeadLetter:
			s.dead++
		}
	}
	return f.Lost
}
