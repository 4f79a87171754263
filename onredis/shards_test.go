package onredis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
)

// topicsAt makes up a topic of each instance.
func topicsAt(hosts []string) map[string]string {
	at := map[string]string{}
	for i := 0; len(at) < len(hosts); i++ {
		topic := fmt.Sprintf("topic-%d", i)
		if place := placeOf(hosts, topic); at[place] == "" {
			at[place] = topic
		}
	}
	return at
}

func within(t testing.TB, limit time.Duration, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// TestShardsOneDown ends one of three instances: nothing but its own topics is harmed,
// and those go on when it is back.
func TestShardsOneDown(t *testing.T) {
	t.Parallel()
	s := startSeveral(t, 3, "--appendonly", "yes", "--appendfsync", "always")
	names := keys{prefix: "beck:"}
	e := s.open(t, names, s.hosts...)
	t.Cleanup(func() { closeShards(t, e) })
	ctx, at := t.Context(), topicsAt(s.hosts)
	for _, topic := range at {
		if _, err := e.Append(ctx, topic, []driver.Message{{Body: []byte("a")}}); err != nil {
			t.Fatal(err)
		}
		if err := e.PutSchedule(ctx, driver.Schedule{Name: "s-" + topic, Topic: topic, Version: "1", Config: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
	}
	down := s.hosts[0]
	s.servers[down].Kill()

	check := func(e *shards) {
		t.Helper()
		limited, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		for _, host := range s.hosts[1:] {
			if _, err := e.Append(limited, at[host], []driver.Message{{Body: []byte("b")}}); err != nil {
				t.Errorf("a topic of another instance: %v", err)
			}
		}
		_, err := e.Append(limited, at[down], []driver.Message{{Body: []byte("b")}})
		if !errors.Is(err, driver.ErrUnavailable) || !strings.Contains(err.Error(), down) {
			t.Errorf("a topic of the instance that is down: %v", err)
		}
		list, err := e.Topics(limited)
		if len(list) != 2 || !errors.Is(err, driver.ErrUnavailable) || !strings.Contains(err.Error(), down) {
			t.Errorf("%d topics, %v", len(list), err)
		}
		if list, err := e.Schedules(limited); len(list) != 2 || err != nil {
			t.Errorf("%d schedules, %v", len(list), err)
		}
		if err := e.Ping(limited); err != nil {
			t.Errorf("Ping: %v", err)
		}
		var mu sync.Mutex
		var heard []string
		leave, err := e.Listen(limited, "*", driver.Listener{Receive: func(subject string, _ []byte) {
			mu.Lock()
			defer mu.Unlock()
			heard = append(heard, subject)
		}, Missed: func() {}})
		if err != nil {
			t.Fatalf("Listen: %v", err)
		}
		if n, err := e.Broadcast(limited, at[s.hosts[1]], []byte("x")); n != 1 || err != nil {
			t.Errorf("Broadcast: %d, %v", n, err)
		}
		within(t, 30*time.Second, "a broadcast", func() bool { mu.Lock(); defer mu.Unlock(); return len(heard) == 1 })
		leave()
	}
	check(e)

	// One that starts now goes on with the others.
	late := s.open(t, names, s.hosts...)
	defer closeShards(t, late)
	check(late)
	hints, stop := late.Watch(at[down])
	defer stop()

	s.servers[down].Restart()
	for _, e := range []*shards{e, late} {
		within(t, time.Minute, "the instance is used again", func() bool {
			_, err := e.Append(ctx, at[down], []driver.Message{{Body: []byte("c")}})
			return err == nil
		})
	}
	hinted(t, hints, 30*time.Second, "the instance is there")
	if list, err := late.Topics(ctx); len(list) != 3 || err != nil {
		t.Errorf("%d topics, %v", len(list), err)
	}
}

func TestShardsRefuseAnotherSet(t *testing.T) {
	t.Parallel()
	s := startSeveral(t, 3)
	names := keys{prefix: "beck:"}
	first := s.open(t, names, s.hosts[:2]...)
	closeShards(t, first)
	for _, hosts := range [][]string{s.hosts, s.hosts[1:], s.hosts[:1]} {
		_, err := openShards(t.Context(), hosts, names, (&Options{}).logger(), s.one(names))
		if !errors.Is(err, beck.ErrOption) || !strings.Contains(err.Error(), "beck reshard") ||
			!strings.Contains(err.Error(), named(sorted(hosts))) || !strings.Contains(err.Error(), named(sorted(s.hosts[:2]))) {
			t.Errorf("opened as %v: %v", hosts, err)
		}
	}
	if set := s.servers[s.hosts[2]].Do("GET", "beck:~shards"); set != "" {
		t.Errorf("one that was refused left %s", set)
	}
	_, err := openAny(t.Context(), "redis://"+s.hosts[0], &Options{})
	if !errors.Is(err, beck.ErrOption) || !strings.Contains(err.Error(), "redis+shards://"+named(sorted(s.hosts[:2]))) {
		t.Errorf("opened as one Redis: %v", err)
	}
	swapped := s.open(t, names, s.hosts[1], s.hosts[0])
	closeShards(t, swapped)
}

// TestShardsFirstStart has processes start for the first time at once with different
// sets: one of these is there afterwards, whole, and nothing of the other.
func TestShardsFirstStart(t *testing.T) {
	t.Parallel()
	s := startSeveral(t, 3)
	for round := range 10 {
		names := keys{prefix: fmt.Sprintf("round%d:", round)}
		sets := [][]string{{s.hosts[0], s.hosts[1]}, {s.hosts[1], s.hosts[2]}, {s.hosts[0], s.hosts[1]}}
		opened := make([]*shards, len(sets))
		var starts sync.WaitGroup
		for i, hosts := range sets {
			starts.Go(func() {
				e, err := openShards(t.Context(), hosts, names, (&Options{}).logger(), s.one(names))
				if err == nil {
					opened[i] = e
				} else if !errors.Is(err, beck.ErrOption) {
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		starts.Wait()
		var won *shardSet
		for _, e := range opened {
			if e == nil {
				continue
			}
			set := e.set.Load()
			if won != nil && won.text() != set.text() {
				t.Errorf("round %d: two sets: %s and %s", round, won.text(), set.text())
			}
			won = set
			closeShards(t, e)
		}
		if won == nil {
			t.Fatalf("round %d: nobody could start", round)
		}
		for _, host := range s.hosts {
			want := ""
			if strings.Contains(named(won.Instances), host) {
				want = won.text()
			}
			if got := s.servers[host].Do("GET", names.shards()); got != want {
				t.Errorf("round %d: %s has %s, and %s won", round, host, got, won.text())
			}
		}
	}
}
