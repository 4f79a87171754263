package onredis

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
)

// newMover is a resharder for tests: it gives up soon.
func (s *several) newMover(names keys, from, to []string) *resharder {
	r := newResharder(from, to, names, (&Options{}).logger(), s.one(names))
	r.lease, r.wait = time.Second, 30*time.Second
	return r
}

// reshard moves topics from one set to another.
func (s *several) reshard(t testing.TB, names keys, from, to []string) ReshardProgress {
	t.Helper()
	var last ReshardProgress
	r := s.newMover(names, from, to)
	r.progress = func(p ReshardProgress) { last = p }
	if err := r.run(t.Context()); err != nil {
		t.Fatalf("reshard from %v to %v: %v", from, to, err)
	}
	return last
}

// whole is all that can be seen of a topic, and what is in it.
type whole struct {
	Info   driver.TopicInfo
	Page   driver.Page
	States map[driver.State][]driver.Entry
}

func lookAt(t testing.TB, e *shards, topic string) whole {
	t.Helper()
	ctx, w := t.Context(), whole{States: map[driver.State][]driver.Entry{}}
	var err error
	if w.Info, err = e.Topic(ctx, topic); err != nil {
		t.Fatal(err)
	}
	w.Info.Bytes = 0 // Redis packs anew
	for i := range w.Info.Subscriptions {
		s := &w.Info.Subscriptions[i]
		s.Unread = 0
		for j := range s.Consumers {
			s.Consumers[j].Idle = 0
		}
	}
	if w.Page, err = e.Read(ctx, topic, driver.Position{}, 1000); err != nil {
		t.Fatal(err)
	}
	for _, state := range []driver.State{driver.Ready, driver.Held, driver.Waiting, driver.Buried, driver.Delayed} {
		name := "billing"
		if state == driver.Delayed {
			name = ""
		}
		p, err := e.Peek(ctx, topic, name, driver.PeekRequest{State: state, Max: 1000})
		if err != nil {
			t.Fatalf("%s: %v", state, err)
		}
		w.States[state] = p.Entries
	}
	return w
}

// fill gives a topic something of all kinds, and returns the ids of its messages.
func fill(t testing.TB, e *shards, topic string) []string {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	config := driver.DefaultTopicConfig
	config.MaxMessages = 1000
	must(e.Configure(ctx, topic, config))
	for _, name := range []string{"billing", "audit"} {
		_, err := e.Join(ctx, topic, name, driver.JoinConfig{Lease: time.Hour, Expires: 24 * time.Hour})
		must(err)
	}
	var list []driver.Message
	for i := range 20 {
		list = append(list, driver.Message{Body: fmt.Append(nil, i), Key: "k", Headers: map[string]string{"h": "v"}})
	}
	list[0].DedupeID = "once"
	ids, err := e.Append(ctx, topic, list)
	must(err)
	_, err = e.Append(ctx, topic, []driver.Message{{Body: []byte("later"), Delay: time.Hour}, {Body: []byte("much later"), Delay: 2 * time.Hour}})
	must(err)
	_, err = e.Fetch(ctx, topic, "billing", driver.FetchRequest{Consumer: "c", Max: 10})
	must(err)
	_, err = e.Settle(ctx, topic, "billing", "c", []driver.Settlement{
		{ID: ids[0], Do: driver.Acknowledge}, {ID: ids[1], Do: driver.Retry, After: time.Hour, Reason: "r"},
		{ID: ids[2], Do: driver.DeadLetter, Reason: "d"}, {ID: ids[3], Do: driver.Retry}, {ID: ids[4], Do: driver.Retry},
	})
	must(err)
	_, err = e.Fetch(ctx, topic, "billing", driver.FetchRequest{Consumer: "d", Max: 1}) // holds a retry
	must(err)
	must(e.PutSchedule(ctx, driver.Schedule{Name: "nightly-" + topic, Topic: topic, Version: "7", Config: []byte("{}"), Last: time.UnixMilli(1000)}))
	return ids
}

// TestReshardMovesAll moves topics with something of all kinds to a third instance and
// back again: nothing that can be seen of them changes.
func TestReshardMovesAll(t *testing.T) {
	t.Parallel()
	s := startSeveral(t, 3)
	names := keys{prefix: "beck:"}
	e := s.open(t, names, s.hosts[:2]...)
	t.Cleanup(func() { closeShards(t, e) })
	ctx := t.Context()
	topic := topicsAt(s.hosts)[s.hosts[2]] // it will have to move
	stays := ""
	for i := 0; stays == ""; i++ {
		if name := fmt.Sprintf("stays-%d", i); placeOf(s.hosts, name) != s.hosts[2] {
			stays = name
		}
	}
	ids := fill(t, e, topic)
	fill(t, e, stays)
	if err := e.PutSchedule(ctx, driver.Schedule{Name: "alone", Topic: topic + ".x", Version: "1", Config: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	schedules, err := e.Schedules(ctx)
	if len(schedules) != 3 || err != nil {
		t.Fatalf("%d schedules, %v", len(schedules), err)
	}
	before, old := lookAt(t, e, topic), s.at(e, topic)
	hints, stop := e.Watch(topic)
	defer stop()
	drain(hints)

	for _, sets := range [][2][]string{{s.hosts[:2], s.hosts}, {s.hosts, s.hosts[:2]}} {
		told := s.reshard(t, names, sets[0], sets[1])
		if told.Moved < 1 || told.Left != 0 || told.Bytes == 0 || told.Doing != "done" {
			t.Errorf("told of %+v", told)
		}
		now := lookAt(t, e, topic)
		for state, list := range now.States {
			for i, was := range before.States[state] {
				// Leases are told as counted from now, so they may differ by a little.
				if i < len(list) && list[i].Since.Sub(was.Since).Abs() < time.Second && list[i].Due.Sub(was.Due).Abs() < time.Second {
					list[i].Since, list[i].Due = was.Since, was.Due
				}
			}
		}
		if !reflect.DeepEqual(now, before) {
			t.Errorf("it was\n%+v\nand is\n%+v", before, now)
		}
		if list, err := e.Schedules(ctx); !reflect.DeepEqual(list, schedules) || err != nil {
			t.Errorf("schedules %+v, %v", list, err)
		}
		hinted(t, hints, 30*time.Second, "the topic has moved")
		s.checkPlaces(t, names, sets[1])
	}
	if s.at(e, topic) != old {
		t.Error("it is not where it was at first")
	}

	// What was held is held, what was published once is known.
	again, err := e.Append(ctx, topic, []driver.Message{{Body: []byte("0"), DedupeID: "once"}})
	if err != nil || again[0] != ids[0] {
		t.Errorf("published again: %v, %v", again, err)
	}
	missing, err := e.Settle(ctx, topic, "billing", "c", []driver.Settlement{{ID: ids[5], Do: driver.Acknowledge}, {ID: ids[6], Do: driver.Renew}})
	if len(missing) != 0 || err != nil {
		t.Errorf("not held: %v, %v", missing, err)
	}
	if ids2, err := e.Append(ctx, topic, []driver.Message{{Body: []byte("new")}}); err != nil || ids2[0] <= ids[19] {
		t.Errorf("the next id is %v behind %s, %v", ids2, ids[19], err)
	}
	if _, err := openShards(ctx, s.hosts, names, (&Options{}).logger(), s.one(names)); !errors.Is(err, beck.ErrOption) {
		t.Errorf("opened with the former set: %v", err)
	}
}

// checkPlaces looks for anything that is where it does not belong.
func (s *several) checkPlaces(t testing.TB, names keys, set []string) {
	t.Helper()
	open := s.one(names)
	for _, host := range s.hosts {
		e, err := open(t.Context(), host)
		if err != nil {
			t.Fatal(err)
		}
		found, err := e.strays(t.Context(), func(topic string) bool { return placeOf(set, topic) == host })
		if err != nil {
			t.Error(err)
		}
		if len(found.came) > 0 {
			t.Errorf("%s has what has come of moves: %v", host, found.came)
		}
		for _, topic := range found.topics {
			m, err := e.readMark(t.Context(), topic)
			if m == nil || m.State != stateMoved || err != nil {
				t.Errorf("%s has %s: %+v, %v", host, topic, m, err)
			}
			for _, key := range append(names.all(topic, []string{"billing", "audit", workers})[1:11], names.note(topic, movingPart)) {
				if n := s.servers[host].Do("EXISTS", key); n != "0" {
					t.Errorf("%s has %s", host, key)
				}
			}
		}
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

func TestReshardRefuses(t *testing.T) {
	t.Parallel()
	s := startSeveral(t, 3)
	names := keys{prefix: "beck:"}
	run := func(from, to []string) error { return s.newMover(names, from, to).run(t.Context()) }
	if err := run(s.hosts[:1], s.hosts[:2]); !errors.Is(err, beck.ErrOption) || !strings.Contains(err.Error(), "nothing has been opened") {
		t.Errorf("of a set that is not there: %v", err)
	}
	e := s.open(t, names, s.hosts[:2]...)
	t.Cleanup(func() { closeShards(t, e) })
	if err := run(s.hosts[1:], s.hosts); !errors.Is(err, beck.ErrOption) || !strings.Contains(err.Error(), named(sorted(s.hosts[:2]))) {
		t.Errorf("from another set: %v", err)
	}
	s.servers[s.hosts[2]].Do("XADD", "beck:mine", "*", "body", "x")
	if err := run(s.hosts[:2], s.hosts); !errors.Is(err, beck.ErrOption) || !strings.Contains(err.Error(), "mine") {
		t.Errorf("to an instance that has topics: %v", err)
	}
	s.servers[s.hosts[2]].Do("DEL", "beck:mine")
	s.servers[s.hosts[2]].Kill()
	if err := run(s.hosts[:2], s.hosts); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("to an instance that is down: %v", err)
	}
	s.servers[s.hosts[2]].Restart()
	if err := Reshard(t.Context(), "redis+shards://a", "redis://a", nil); !errors.Is(err, beck.ErrOption) {
		t.Errorf("to what is no set: %v", err)
	}
	// Nothing was begun by all that.
	if set := e.set.Load(); set.Generation != 1 {
		t.Errorf("the set is %s", set.text())
	}
}

// TestReshardStopped has a mover stop for longer than its lease, right before it would
// decide: the topic goes on at its old place meanwhile, and the mover finds out.
func TestReshardStopped(t *testing.T) {
	t.Parallel()
	s := startSeveral(t, 3)
	names := keys{prefix: "beck:"}
	e := s.open(t, names, s.hosts[:2]...)
	t.Cleanup(func() { closeShards(t, e) })
	ctx, topic := t.Context(), topicsAt(s.hosts)[s.hosts[2]]
	var want []driver.Message
	publish := func(body string) {
		t.Helper()
		want = append(want, driver.Message{Body: []byte(body)})
		if _, err := e.Append(ctx, topic, []driver.Message{{Body: []byte(body)}}); err != nil {
			t.Fatal(err)
		}
	}
	publish("a")
	r := s.newMover(names, s.hosts[:2], s.hosts)
	r.lease = 300 * time.Millisecond
	fenced := 0
	r.step = func(step, _ string) {
		if step == stepFenced {
			fenced++
		}
		if step == stepCopied && fenced <= moveAttempts {
			publish("b") // which waits for the end of the lease, and puts the topic back
		}
	}
	if err := r.run(ctx); !errors.Is(err, errTooSlow) || fenced != moveAttempts {
		t.Errorf("the mover that stopped each time: %v, after %d attempts", err, fenced)
	}
	publish("c")
	if keys := s.servers[s.hosts[2]].Do("KEYS", "*arriving*"); keys != "" {
		t.Errorf("what it copied is still there: %s", keys)
	}
	s.reshard(t, names, s.hosts[:2], s.hosts)
	publish("d")
	page, err := e.Read(ctx, topic, driver.Position{}, 20)
	if bodies(page.Messages) != bodies(want) || err != nil {
		t.Errorf("the topic has %s, want %s, %v", bodies(page.Messages), bodies(want), err)
	}
	s.checkPlaces(t, names, s.hosts)
}
