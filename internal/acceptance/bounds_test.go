package acceptance

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/beckmq/beck"
)

const bound = 1000

// overfill publishes to a bounded topic, of which a subscription has seen nothing,
// and returns how many messages were stored.
func overfill(t *testing.T, bus *beck.Bus, topic string, drop bool) (ids []string, err error) {
	t.Helper()
	if err := bus.Configure(t.Context(), topic, beck.TopicConfig{MaxMessages: bound, DropOldest: drop}); err != nil {
		t.Fatal(err)
	}
	if _, err := bus.Join(t.Context(), topic, "slow", nil); err != nil {
		t.Fatal(err)
	}
	for i := range bound * 3 / 2 {
		var got []string
		if got, err = bus.Publish(t.Context(), topic, beck.Message{Body: strconv.AppendInt(nil, int64(i), 10)}); err != nil {
			break
		}
		ids = append(ids, got...)
	}
	return ids, err
}

// consume handles what a subscription gets until it has seen a message.
func consume(t *testing.T, bus *beck.Bus, topic, last string) (seen []string) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	err := bus.Subscribe(ctx, topic, "slow", func(_ context.Context, m *beck.Message) error {
		if seen = append(seen, m.ID); m.ID == last {
			stop()
		}
		return nil
	}, nil)
	if err != nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Fatalf("%d seen: %v", len(seen), err)
	}
	return seen
}

func TestFullTopicRefuses(t *testing.T) {
	onEach(t, func(t *testing.T, d deployment) {
		bus := open(t, d)
		ids, err := overfill(t, bus, "topic", false)
		if !errors.Is(err, beck.ErrTopicFull) || len(ids) != bound {
			t.Fatalf("%d were stored, and then: %v", len(ids), err)
		}
		if seen := consume(t, bus, "topic", ids[bound-1]); len(seen) != bound || seen[0] != ids[0] {
			t.Errorf("the subscription saw %d of %d, from %s on", len(seen), bound, seen[0])
		}
		if _, err := bus.Publish(t.Context(), "topic", beck.Message{Body: []byte("more")}); err != nil {
			t.Errorf("after it was consumed: %v", err)
		}
		t.Logf("message %d was refused (%v); the subscription saw all %d", len(ids)+1, err, bound)
	})
}

func TestFullTopicDrops(t *testing.T) {
	onEach(t, func(t *testing.T, d deployment) {
		bus := open(t, d)
		begin, err := bus.Publish(t.Context(), "topic", beck.Message{Body: []byte("seen by the follower")})
		if err != nil {
			t.Fatal(err)
		}
		ids, err := overfill(t, bus, "topic", true)
		if err != nil {
			t.Fatal(err)
		}
		lost := len(begin) + len(ids) - bound
		got, err := bus.Fetch(t.Context(), "topic", "slow", &beck.FetchOptions{Consumer: "c", Max: 1})
		if err != nil || got.Lost != int64(lost) {
			t.Errorf("the subscription is told of %d lost, not %d: %v", got.Lost, lost, err)
		}
		if err := bus.Settle(t.Context(), "topic", "slow", "c", beck.Release(got.Messages[0].ID)); err != nil {
			t.Fatal(err)
		}
		seen := consume(t, bus, "topic", ids[len(ids)-1])
		info, err := bus.Topic(t.Context(), "topic")
		if err != nil {
			t.Fatal(err)
		}
		if s := info.Subscriptions[0]; len(seen) != bound || s.Lost != int64(lost) || info.Dropped != int64(lost) || info.Length != bound {
			t.Errorf("seen %d of %d, %d counted as lost, %d as dropped, of %d", len(seen), bound, s.Lost, info.Dropped, lost)
		}
		var gap *beck.Gap
		for _, err := range bus.Follow(t.Context(), "topic", beck.FromID(begin[0])) {
			if !errors.As(err, &gap) {
				t.Errorf("a follower that had come to a dropped message got no gap: %v", err)
			}
			break
		}
		t.Logf("of %d published, %d were dropped, counted, told to the subscription, and a gap to the follower; it saw the other %d", len(ids)+1, lost, len(seen))
	})
}
