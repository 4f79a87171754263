package drivertest

import (
	"context"
	"errors"

	"github.com/beckmq/beck/internal/driver"
)

// stepInspect compares all that both engines tell about a topic.
func (h *history) stepInspect() { h.inspect(pick(h, historyTopics)) }

func (h *history) inspect(topic string) {
	h.Helper()
	h.note("inspect %s", topic)
	var infos []driver.TopicInfo
	if !h.both("Topic", func(ctx context.Context, e driver.Engine) error {
		info, err := e.Topic(ctx, topic)
		infos = append(infos, info)
		return err
	}) {
		return
	}
	got, want := infos[0], infos[1]
	if got.Queue != want.Queue || got.Delayed != want.Delayed || got.Dropped != 0 {
		h.Fatalf("Topic: queue %v, %d delayed, %d dropped, want %v, %d, 0", got.Queue, got.Delayed, got.Dropped, want.Queue, want.Delayed)
	}
	if h.loose(topic) {
		got.Length, got.FirstID, want.Length, want.FirstID = 0, "", 0, ""
	}
	if got.Length != want.Length || h.modelID(topic, got.FirstID) != want.FirstID ||
		want.LastID != "" && h.modelID(topic, got.LastID) != want.LastID {
		h.Fatalf("Topic: %d messages from %s to %s, want %d from %s to %s", got.Length, got.FirstID, got.LastID,
			want.Length, h.toReal[topic+" "+want.FirstID], h.toReal[topic+" "+want.LastID])
	}
	if len(got.Subscriptions) != len(want.Subscriptions) {
		h.Fatalf("Topic: %d subscriptions, want %d", len(got.Subscriptions), len(want.Subscriptions))
	}
	for i, s := range got.Subscriptions {
		h.sameSubscription(topic, s, want.Subscriptions[i])
	}
}

func (h *history) sameSubscription(topic string, got, want driver.SubscriptionInfo) {
	h.Helper()
	last := want.LastDelivered == "" || h.modelID(topic, got.LastDelivered) == want.LastDelivered
	if got.Name != want.Name || !last || got.Lag != want.Lag && got.Lag != -1 || got.Lease != want.Lease ||
		got.Pending != want.Pending || got.Waiting != want.Waiting || got.Dead != want.Dead || got.Lost != 0 || got.Paused != want.Paused {
		h.Fatalf("Topic: subscription %+v\nwant, in the model's ids, %+v", got, want)
	}
	// Consumers that hold nothing may be forgotten, and those that only settled
	// need not be known.
	holding := func(list []driver.ConsumerInfo) map[string]int64 {
		m := map[string]int64{}
		for _, c := range list {
			if c.Pending != 0 {
				m[c.Name] = c.Pending
			}
		}
		return m
	}
	g, w := holding(got.Consumers), holding(want.Consumers)
	for name := range g {
		if g[name] != w[name] {
			h.Fatalf("Topic: consumer %s holds %d, want %d", name, g[name], w[name])
		}
	}
	if len(g) != len(w) {
		h.Fatalf("Topic: %d consumers hold something, want %d", len(g), len(w))
	}
}

// drain has one consumer end everything, and looks whether something is stuck.
func (h *history) drain() {
	for _, topic := range historyTopics {
		h.inspect(topic)
		for _, s := range subscriptionsOf(topic) {
			h.pauseBoth(topic, s, false)
			// Other consumers give back what they hold.
			for _, c := range historyConsumers {
				h.giveBack(topic, s, c)
			}
			for h.takeSome(topic, s) {
			}
		}
		h.inspect(topic)
		ctx, cancel := h.ctx()
		info, err := h.engine.Topic(ctx, topic)
		cancel()
		if err != nil && !errors.Is(err, driver.ErrTopicNotFound) {
			h.Fatalf("Topic: %v", err)
		}
		for _, s := range info.Subscriptions {
			if s.Pending != 0 || s.Lag > 0 {
				h.Fatalf("%d messages of %s of %s are stuck with a consumer, %d were never delivered", s.Pending, s.Name, topic, s.Lag)
			}
		}
	}
}

func (h *history) giveBack(topic, s, consumer string) {
	h.Helper()
	held := h.model.Held(topic, s, consumer)
	if len(held) == 0 {
		return
	}
	h.note("give back %d of %s of %s as %s", len(held), s, topic, consumer)
	real := make([]string, len(held))
	for i, id := range held {
		real[i] = h.toReal[topic+" "+id]
	}
	h.settle(topic, s, consumer, driver.Release, real...)
	if _, err := h.model.Settle(context.Background(), topic, s, consumer, each(driver.Release, held...)); err != nil {
		h.Fatalf("the model: %v", err)
	}
}

// takeSome fetches and acknowledges, and reports whether there was anything.
func (h *history) takeSome(topic, s string) bool {
	h.Helper()
	got := h.fetchBoth(topic, s, driver.FetchRequest{Consumer: "last", Max: 50})
	if len(got) == 0 {
		return false
	}
	ids := idsOf(got)
	h.note("acknowledge them")
	h.settle(topic, s, "last", driver.Acknowledge, ids...)
	if _, err := h.model.Settle(context.Background(), topic, s, "last", each(driver.Acknowledge, h.modelIDs(topic, ids)...)); err != nil {
		h.Fatalf("the model: %v", err)
	}
	return true
}
