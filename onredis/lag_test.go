package onredis

import (
	"testing"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/redistest"
)

// A replica of Redis 7.0 that has been a primary keeps the count of what it had
// delivered then. Should it be the primary again, the lag that it tells is wrong, and
// stays so. Here the count is set by hand.
func TestLagWithAWrongCount(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	bus, err := Open(t.Context(), s.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close(t.Context()) })
	if _, err := bus.Join(t.Context(), "orders", "billing", nil); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for range 8 {
		got, err := bus.Publish(t.Context(), "orders", beck.Message{Body: []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, got...)
	}
	for read, lag := range map[int]int64{3: 5, 8: 0} {
		s.Do("XGROUP", "SETID", "beck:orders", "billing", redisID(ids[read-1]), "ENTRIESREAD", "1")
		info, err := bus.Topic(t.Context(), "orders")
		if err != nil || len(info.Subscriptions) != 1 {
			t.Fatalf("%+v, %v", info, err)
		}
		if got := info.Subscriptions[0].Lag; got != lag {
			t.Errorf("the lag is %d, not %d", got, lag)
		}
	}
}
