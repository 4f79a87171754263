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
)

const workers = driver.QueueSubscription

func makeQueue(t testing.TB, e *engine, name string) {
	t.Helper()
	join(t, e, name, workers, driver.JoinConfig{Queue: true, Lease: time.Minute})
}

func topicInfo(t testing.TB, e *engine, name string) driver.TopicInfo {
	t.Helper()
	info, err := e.Topic(t.Context(), name)
	if err != nil {
		t.Fatalf("topic: %v", err)
	}
	return info
}

func each(do driver.Action, ids ...string) (list []driver.Settlement) {
	for _, id := range ids {
		list = append(list, driver.Settlement{ID: id, Do: do})
	}
	return list
}

func idsOf(messages []driver.Message) (ids []string) {
	for _, m := range messages {
		ids = append(ids, m.ID)
	}
	return ids
}

// stored counts the keys of a topic in a table, whatever the engine thinks.
func stored(t testing.TB, e *engine, tag byte, names ...string) int {
	t.Helper()
	n := 0
	if err := e.scan(tableKey(tag, names...), func(_, _ []byte) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// What a queue is done with goes from the disk, though an older task is held.
func TestQueueRemovesWhatIsDone(t *testing.T) {
	clock := newClock()
	set := settings{fs: vfs.NewMem(), reserve: 1, now: clock.now}
	e := mustOpen(t, "db", set)
	makeQueue(t, e, "q")
	ids := publish(t, e, "q", bodies(0, 10)...)
	fetch(t, e, "q", workers, "slow", 1)
	if got := text(fetch(t, e, "q", workers, "c", 5).Messages); got != "1/1 2/1 3/1 4/1 5/1 " {
		t.Fatalf("fetched %q", got)
	}
	settle(t, e, "q", workers, "c", each(driver.Acknowledge, ids[2], ids[3])...)
	settle(t, e, "q", workers, "c", each(driver.DeadLetter, ids[4])...)
	settle(t, e, "q", workers, "c", each(driver.Retry, ids[5])...)
	for range 2 {
		info := topicInfo(t, e, "q")
		s := info.Subscriptions[0]
		if !info.Queue || info.Length != 7 || info.FirstID != ids[0] || s.Lag != 4 || s.Pending != 2 || s.Waiting != 1 || s.Dead != 1 {
			t.Errorf("%+v", info)
		}
		if n := stored(t, e, tagMessage, "q"); n != 7 {
			t.Errorf("%d messages on disk", n)
		}
		if got := text(read(t, e, "q", driver.Position{}, 4).Messages); got != "0 1 5 6 " {
			t.Errorf("read %q", got)
		}
		shut(t, e)
		e = mustOpen(t, "db", set)
	}
	defer shut(t, e)
	settle(t, e, "q", workers, "slow", each(driver.Acknowledge, ids[0])...)
	if got := text(fetch(t, e, "q", workers, "d", 10).Messages); got != "5/2 6/1 7/1 8/1 9/1 " {
		t.Errorf("fetched %q", got)
	}
	settle(t, e, "q", workers, "d", each(driver.Acknowledge, ids[1:]...)...)
	info := topicInfo(t, e, "q")
	if info.Length != 0 || info.FirstID != "" || info.LastID != ids[9] || stored(t, e, tagMessage, "q") != 0 {
		t.Errorf("%+v", info)
	}
	if list, err := e.Topics(t.Context()); err != nil || len(list) != 1 || !list[0].Queue || list[0].Length != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestQueuesAndTopicsDontMix(t *testing.T) {
	e := open(t, "db", inMemory())
	refused := func(what, topic, subscription string, config driver.JoinConfig) {
		t.Helper()
		if _, err := e.Join(t.Context(), topic, subscription, config); !errors.Is(err, driver.ErrWrongType) {
			t.Errorf("%s: %v", what, err)
		}
	}
	makeQueue(t, e, "q")
	refused("another subscription of a queue", "q", "s", driver.JoinConfig{})
	makeQueue(t, e, "q")
	join(t, e, "q", workers, driver.JoinConfig{})
	join(t, e, "a", "s", driver.JoinConfig{})
	refused("a queue where there is a subscription", "a", workers, driver.JoinConfig{Queue: true})
	join(t, e, "b", workers, driver.JoinConfig{})
	refused("a queue where workers is a subscription", "b", workers, driver.JoinConfig{Queue: true})

	// Without its subscription a queue is a topic like any other.
	ids := publish(t, e, "q", bodies(0, 4)...)
	fetch(t, e, "q", workers, "c", 3)
	settle(t, e, "q", workers, "c", each(driver.Acknowledge, ids[1])...)
	if err := e.DeleteSubscription(t.Context(), "q", workers); err != nil {
		t.Fatal(err)
	}
	join(t, e, "q", "s", driver.JoinConfig{})
	if s := topicInfo(t, e, "q").Subscriptions[0]; s.Lag != 3 {
		t.Errorf("lag %d", s.Lag)
	}
	seen := ""
	for range 4 {
		seen += text(fetch(t, e, "q", "s", "c", 10).Messages)
	}
	if seen != "0/1 2/1 3/1 " {
		t.Errorf("fetched %q", seen)
	}
	settle(t, e, "q", "s", "c", each(driver.Acknowledge, ids...)...)
	if n, err := e.Trim(t.Context(), "q", driver.Position{Kind: driver.End}); n != 3 || err != nil {
		t.Errorf("trimmed %d, %v", n, err)
	}
}

// A topic that becomes a queue keeps only what its workers will get.
func TestQueueFromTheEnd(t *testing.T) {
	e := open(t, "db", inMemory())
	publish(t, e, "q", bodies(0, 5)...)
	join(t, e, "q", workers, driver.JoinConfig{Queue: true, From: driver.Position{Kind: driver.End}})
	if info := topicInfo(t, e, "q"); info.Length != 0 || stored(t, e, tagMessage, "q") != 0 {
		t.Errorf("%+v", info)
	}
	publish(t, e, "q", bodies(5, 1)...)
	if got := text(fetch(t, e, "q", workers, "c", 9).Messages); got != "5/1 " {
		t.Errorf("fetched %q", got)
	}
}

// TestQueueLikeSet has a queue do at random what queues do; what is stored must
// be what was pushed and not acknowledged.
func TestQueueLikeSet(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			queueLikeSet(t, rand.New(rand.NewPCG(seed, 2)))
		})
	}
}

func queueLikeSet(t *testing.T, random *rand.Rand) {
	t.Helper()
	clock := newClock()
	set := settings{fs: vfs.NewMem(), reserve: 1, now: clock.now}
	e := mustOpen(t, "db", set)
	makeQueue(t, e, "q")
	var open []string // pushed and not done
	for range 150 {
		clock.at = clock.at.Add(time.Duration(random.IntN(20)) * time.Second)
		switch random.IntN(12) {
		case 0:
			shut(t, e)
			e = mustOpen(t, "db", set)
		case 1, 2, 3:
			open = append(open, publish(t, e, "q", bodies(0, 1+random.IntN(10))...)...)
		default:
			c := []string{"c", "d"}[random.IntN(2)]
			for _, m := range fetch(t, e, "q", workers, c, 1+random.IntN(8)).Messages {
				do := []driver.Action{driver.Acknowledge, driver.Acknowledge, driver.DeadLetter, driver.Retry, driver.Release, 0}[random.IntN(6)]
				if do == 0 {
					continue
				}
				if not := settle(t, e, "q", workers, c, each(do, m.ID)...); len(not) > 0 {
					t.Fatalf("not held: %v", not)
				}
				if do <= driver.Acknowledge || do == driver.DeadLetter {
					open = slices.DeleteFunc(open, func(id string) bool { return id == m.ID })
				}
			}
		}
		if got := idsOf(readAll(t, e, "q")); !slices.Equal(got, open) {
			t.Fatalf("stored %v, want %v", got, open)
		}
		info := topicInfo(t, e, "q")
		s := info.Subscriptions[0]
		if info.Length != int64(len(open)) || s.Lag+s.Pending+s.Waiting != info.Length {
			t.Fatalf("%+v, want %d messages", info, len(open))
		}
	}
	shut(t, e)
}
