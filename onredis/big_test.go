package onredis

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/redistest"
)

// lazilyFreed is how many values Redis has freed beside its work.
func lazilyFreed(s *redistest.Server) int {
	m := regexp.MustCompile(`lazyfreed_objects:(\d+)`).FindStringSubmatch(s.Do("INFO", "memory"))
	n, _ := strconv.Atoi(m[1])
	return n
}

// TestMuchIsFreedInTheBackground removes much that waits and is delayed: Redis serves
// others meanwhile.
func TestMuchIsFreedInTheBackground(t *testing.T) {
	e, s := start(t)
	join(t, e, "orders", "s", time.Hour)
	for name, remove := range map[string]func() error{
		"seek":  func() error { return e.Seek(t.Context(), "orders", "s", driver.Position{Kind: driver.End}) },
		"purge": func() error { _, err := e.Purge(t.Context(), "orders"); return err },
	} {
		ids := publish(t, e, "orders", numbered(1000)...)
		var list []driver.Settlement
		for len(list) < len(ids) {
			got := fetch(t, e, "orders", "s", "c", 1000).Messages
			if len(got) == 0 {
				t.Fatalf("%d of %d messages came", len(list), len(ids))
			}
			for _, m := range got {
				list = append(list, driver.Settlement{ID: m.ID, Do: driver.Retry, After: time.Hour})
			}
		}
		if _, err := e.Settle(t.Context(), "orders", "s", "c", list); err != nil {
			t.Fatal(err)
		}
		want := lazilyFreed(s) + 2 // waiting and retry
		if name == "purge" {
			later := make([]time.Duration, 1000)
			for i := range later {
				later[i] = time.Hour
			}
			delay(t, e, "orders", later...)
			want += 2 // delayed, and its fields
		}
		if err := remove(); err != nil {
			t.Fatal(err)
		}
		for limit := time.Now().Add(5 * time.Second); lazilyFreed(s) < want; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatalf("%s: of what was large, only %d of %d values were freed in the background", name, lazilyFreed(s), want)
			}
		}
		if left := s.Do("KEYS", "*:waiting:*"); left != "" {
			t.Errorf("%s leaves %s", name, left)
		}
	}
}

// TestBoundsSetLate bounds topics that have much more than that: what comes next makes
// up for it by several scripts, each of which is short.
func TestBoundsSetLate(t *testing.T) {
	const stored, most = 35_000, 100
	e, s := start(t)
	for name, add := range map[string]func(topic string) error{
		"publish": func(topic string) error {
			ids, err := e.Append(t.Context(), topic, batchOf(3))
			if len(ids) != 3 {
				t.Errorf("%d of 3 messages published", len(ids))
			}
			return err
		},
		"delayed": func(topic string) error {
			delay(t, e, topic, time.Millisecond, time.Millisecond, time.Millisecond)
			time.Sleep(5 * time.Millisecond)
			for {
				if next, err := e.moveDue(t.Context(), topic); next != 0 || err != nil {
					return err
				}
			}
		},
		"tick": func(topic string) error {
			schedule := driver.Schedule{Name: topic, Topic: topic, Version: "1"}
			if err := e.PutSchedule(t.Context(), schedule); err != nil {
				return err
			}
			for i := range 3 {
				_, done, err := e.Tick(t.Context(), schedule, time.Now().Add(time.Duration(i)*time.Second), batchOf(1)[0])
				if err != nil || !done {
					return errors.Join(err, fmt.Errorf("tick done: %v", done))
				}
			}
			return nil
		},
	} {
		for _, needed := range []bool{true, false} {
			topic := fmt.Sprint(name, needed)
			join(t, e, topic, "s", time.Hour)
			s.Do("EVAL", "for i=1,ARGV[1] do redis.call('XADD',KEYS[1],'*','body','x') end", "1", "beck:"+topic, fmt.Sprint(stored))
			if !needed {
				if err := e.Seek(t.Context(), topic, "s", driver.Position{Kind: driver.End}); err != nil {
					t.Fatal(err)
				}
			}
			configure(t, e, topic, func(c *driver.TopicConfig) { c.MaxMessages, c.DropOldest = most, needed })
			before := calls(s)["evalsha"]
			if err := add(topic); err != nil {
				t.Fatalf("%s: %v", topic, err)
			}
			if n := calls(s)["evalsha"] - before; n < stored/10_000 {
				t.Errorf("%s: %d messages were removed by %d scripts: want them short", topic, stored, n)
			}
			dropped := int64(0)
			if needed {
				dropped = stored + 3 - most
			}
			info, err := e.Topic(t.Context(), topic)
			if err != nil || info.Length != most || info.Dropped != dropped || info.Subscriptions[0].Lost != dropped {
				t.Errorf("%s: %d messages, %d dropped, %d lost (%v), want %d, %d, %d", topic,
					info.Length, info.Dropped, info.Subscriptions[0].Lost, err, most, dropped, dropped)
			}
		}
	}
}
