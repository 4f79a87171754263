package onredis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// TestReshardOfLongAgo has a mover wake that was stopped while others went to its set
// and back again: it must not move topics to places where nobody looks for them.
func TestReshardOfLongAgo(t *testing.T) {
	t.Parallel()
	s := startSeveral(t, 3)
	names := keys{prefix: "beck:"}
	e := s.open(t, names, s.hosts[:2]...)
	t.Cleanup(func() { closeShards(t, e) })
	ctx, topic := t.Context(), topicsAt(s.hosts)[s.hosts[2]]
	if _, err := e.Append(ctx, topic, []driver.Message{{Body: []byte("a")}}); err != nil {
		t.Fatal(err)
	}
	from := placeOf(s.hosts[:2], topic)
	s.reshard(t, names, s.hosts[:2], s.hosts)
	s.reshard(t, names, s.hosts, s.hosts[:2])

	open := s.one(names)
	engines := map[string]*engine{}
	for _, host := range s.hosts {
		one, err := open(ctx, host)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = one.Close(context.Background()) })
		engines[host] = one
	}
	m := &topicMove{
		topic: topic, from: engines[from], to: engines[s.hosts[2]], name: s.hosts[2], generation: 2, lease: time.Second,
		instance: func(name string) *engine { return engines[name] }, step: func(string, string) {},
	}
	done, err := m.run(ctx)
	t.Logf("moved %v, %v", done, err)
	if done || err == nil {
		t.Errorf("moved %v, %v", done, err)
	}
	page, err := e.Read(ctx, topic, driver.Position{}, 10)
	if bodies(page.Messages) != bodies([]driver.Message{{Body: []byte("a")}}) || err != nil {
		t.Errorf("the topic has %s, %v", bodies(page.Messages), err)
	}
}

// TestReshardSeen lists topics and puts schedules while topics move: no error, and none
// is missing.
func TestReshardSeen(t *testing.T) {
	t.Parallel()
	s := startSeveral(t, 3)
	names := keys{prefix: "beck:"}
	e := s.open(t, names, s.hosts[:2]...)
	t.Cleanup(func() { closeShards(t, e) })
	ctx := t.Context()
	const topics = 200
	for i := range topics {
		name := fmt.Sprintf("t-%d", i)
		if _, err := e.Append(ctx, name, []driver.Message{{Body: []byte("a")}}); err != nil {
			t.Fatal(err)
		}
		if err := e.PutSchedule(ctx, driver.Schedule{Name: "of-" + name, Topic: name, Version: "1", Config: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
	}
	// One that is put by someone who is slow: its topic goes before the index tells of it.
	late := topicsAt(s.hosts)[s.hosts[2]]
	old, err := s.one(names)(ctx, placeOf(s.hosts[:2], late))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = old.Close(context.Background()) })
	if _, err := old.do(ctx, "", "HSET", names.topic(late).schedules, "late", "{}"); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var working sync.WaitGroup
	working.Go(func() {
		n := 0
		for ; !stop.Load(); n++ {
			began := time.Now()
			list, err := e.Topics(ctx)
			// A topic that is on its way for long is left out.
			if took := time.Since(began); err != nil || len(list) != topics && took < beatTimeout {
				t.Errorf("%d topics after %v, %v", len(list), took, err)
			}
		}
		t.Logf("listed %d times", n)
	})
	working.Go(func() {
		for !stop.Load() {
			began := time.Now()
			list, err := e.Schedules(ctx)
			took, n := time.Since(began), 0
			for _, one := range list {
				if strings.HasPrefix(one.Name, "of-") {
					n++
				}
			}
			if err != nil || n != topics && took < time.Second { // as above
				t.Errorf("%d schedules after %v, %v", n, took, err)
			}
		}
	})
	put := make([][]string, 2)
	for p := range put {
		working.Go(func() {
			for n := 0; !stop.Load(); n++ {
				name := fmt.Sprintf("s-%d-%d", p, n)
				err := e.PutSchedule(ctx, driver.Schedule{Name: name, Topic: fmt.Sprintf("t-%d", n%topics), Version: "1", Config: []byte("{}")})
				if err != nil {
					t.Errorf("PutSchedule: %v", err)
				}
				put[p] = append(put[p], name)
			}
		})
	}
	s.reshard(t, names, s.hosts[:2], s.hosts)
	stop.Store(true)
	working.Wait()
	if err := old.keptSchedule(ctx, driver.Schedule{Name: "late", Topic: late}); err == nil {
		t.Error("a schedule was put where its topic is no more")
	}
	list, err := e.Schedules(ctx)
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, one := range list {
		there[one.Name] = true
	}
	lost := 0
	for _, names := range put {
		for _, name := range names {
			if !there[name] {
				lost++
			}
		}
	}
	if lost > 0 {
		t.Errorf("%d schedules of %d+ are lost", lost, len(put[0]))
	}
}

// TestReshardFull takes topics away from an instance whose memory is full.
func TestReshardFull(t *testing.T) {
	t.Parallel()
	s := startSeveral(t, 3, "--maxmemory-policy", "noeviction")
	names := keys{prefix: "beck:"}
	e := s.open(t, names, s.hosts[:2]...)
	t.Cleanup(func() { closeShards(t, e) })
	ctx, topic := t.Context(), topicsAt(s.hosts)[s.hosts[2]]
	ids, err := e.Append(ctx, topic, []driver.Message{{Body: make([]byte, 100_000)}})
	if err != nil {
		t.Fatal(err)
	}
	full := s.at(e, topic)
	full.Do("CONFIG", "SET", "maxmemory", "100000")
	r := s.newMover(names, s.hosts[:2], s.hosts)
	if err := r.run(ctx); err != nil {
		t.Fatal(err)
	}
	if page, err := e.Read(ctx, topic, driver.Position{}, 10); len(page.Messages) != 1 || page.Messages[0].ID != ids[0] || err != nil {
		t.Errorf("%d messages, %v", len(page.Messages), err)
	}
	s.checkPlaces(t, names, s.hosts)
}

// TestReshardForeign finds somebody else's keys in the way: they stay, and the error
// says so.
func TestReshardForeign(t *testing.T) {
	t.Parallel()
	s := startSeveral(t, 3)
	names := keys{prefix: "beck:"}
	e := s.open(t, names, s.hosts[:2]...)
	t.Cleanup(func() { closeShards(t, e) })
	ctx, topic := t.Context(), topicsAt(s.hosts)[s.hosts[2]]
	if _, err := e.Append(ctx, topic, []driver.Message{{Body: []byte("a")}}); err != nil {
		t.Fatal(err)
	}
	subs := names.topic(topic).subs
	s.at(e, topic).Do("SET", subs, "x")
	if _, err := e.Fetch(ctx, topic, "x", driver.FetchRequest{Consumer: "c", Max: 1}); !errors.Is(err, driver.ErrWrongType) {
		t.Errorf("a key of the topic that is not beck's: %v", err)
	}
	s.at(e, topic).Do("DEL", subs)

	next := s.servers[s.hosts[2]]
	for _, put := range [][]string{{"LPUSH", names.stream(topic), "x"}, {"SET", names.stream(topic), "x"}} {
		next.Do(put...)
		if err := s.newMover(names, s.hosts[:2], s.hosts).run(ctx); !errors.Is(err, driver.ErrWrongType) {
			t.Errorf("moved to where there is a key of %s: %v", put[0], err)
		}
		if n := next.Do("DEL", names.stream(topic)); n != "1" {
			t.Errorf("what %s had put was removed", put[0])
		}
	}
	s.reshard(t, names, s.hosts[:2], s.hosts)
	if page, err := e.Read(ctx, topic, driver.Position{}, 10); len(page.Messages) != 1 || err != nil {
		t.Errorf("%d messages, %v", len(page.Messages), err)
	}
}
