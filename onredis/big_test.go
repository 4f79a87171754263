package onredis

import (
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
