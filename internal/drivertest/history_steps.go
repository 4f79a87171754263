package drivertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// kind is the error of the seam that an error is.
func kind(err error) error {
	for _, k := range []error{driver.ErrTopicNotFound, driver.ErrSubscriptionNotFound, driver.ErrPosition, driver.ErrWrongType} {
		if errors.Is(err, k) {
			return k
		}
	}
	return err
}

func (h *history) stepAppend() {
	topic := pick(h, historyTopics)
	messages := make([]driver.Message, 1+h.random.IntN(5))
	for i := range messages {
		messages[i].Body = fmt.Appendf(nil, "%s %d", topic, len(h.given[topic])+i)
		if h.random.IntN(3) == 0 {
			messages[i].Key = fmt.Sprint("k", h.random.IntN(3))
			messages[i].Headers = map[string]string{"h": fmt.Sprint(h.random.IntN(100))}
		}
		if h.random.IntN(5) == 0 {
			messages[i].DedupeID = fmt.Sprint("d", h.random.IntN(12))
		}
	}
	h.note("append %d to %s", len(messages), topic)
	if h.bound[topic] > 0 {
		h.appendBounded(topic, messages)
		return
	}
	ids := h.appendMessages(topic, messages...)
	expected, err := h.model.Append(context.Background(), topic, messages)
	if err != nil {
		h.Fatalf("the model: %v", err)
	}
	h.learn(topic, ids, expected)
}

// learn notes the ids that the engine and the model gave to the same messages. A
// message with a DedupeID may have got its id before.
func (h *history) learn(topic string, ids, expected []string) {
	h.Helper()
	for i, id := range ids {
		former, known := h.toModel[topic+" "+id]
		if known && former != expected[i] || !known && h.toReal[topic+" "+expected[i]] != "" {
			h.Fatalf("Append: message %d has the id %s, which to the model is %q, want %s (%s)", i+1, id, former, expected[i], h.toReal[topic+" "+expected[i]])
		}
		if !known {
			h.toModel[topic+" "+id], h.toReal[topic+" "+expected[i]] = expected[i], id
			h.given[topic] = append(h.given[topic], id)
		}
	}
}

func (h *history) stepRead() {
	topic := pick(h, historyTopics)
	from, modelFrom := h.position(topic, h.given[topic])
	max := 1 + h.random.IntN(20)
	h.note("read %s from %s, at most %d", topic, show(from), max)
	got := h.read(topic, from, max)
	want, err := h.model.Read(context.Background(), topic, modelFrom, max)
	if err != nil {
		h.Fatalf("the model: %v", err)
	}
	if h.loose(topic) {
		return
	}
	if n := len(got.Messages); n > len(want.Messages) || n < len(want.Messages) && !(got.More && n > 0) {
		h.Fatalf("Read: %d messages, More %v, want %d", n, got.More, len(want.Messages))
	}
	if want.More && !got.More {
		h.Fatalf("Read: no More, though there are more than %d", max)
	}
	h.same(topic, "Read", got.Messages, want.Messages[:len(got.Messages)])
	if len(got.Messages) == 0 && want.Last != "" && h.modelID(topic, got.Last) != want.Last {
		h.Fatalf("Read: Last is %q, want %q", got.Last, h.toReal[topic+" "+want.Last])
	}
}

// same compares messages with those of the model, one by one.
func (h *history) same(topic, what string, got, want []driver.Message) {
	h.Helper()
	for i, m := range got {
		if id := h.modelID(topic, m.ID); id != want[i].ID || m.Attempt != want[i].Attempt {
			h.Fatalf("%s: message %d is %s with attempt %d, want %s with %d",
				what, i+1, m.ID, m.Attempt, h.toReal[topic+" "+want[i].ID], want[i].Attempt)
		}
		h.wantContent(what, m, want[i])
	}
}

func (h *history) stepJoin() {
	topic := pick(h, historyTopics)
	s := pick(h, subscriptionsOf(topic))
	// Not behind an id of a topic that was deleted: whether the new topic
	// knows it, is the engine's affair.
	from, modelFrom := h.position(topic, h.given[topic][h.former[topic]:])
	if topic == historyQueue {
		from, modelFrom = start, start // what a queue keeps in front is the engine's affair
	}
	h.note("join %s of %s from %s", s, topic, show(from))
	var existed []bool
	h.both("Join", func(ctx context.Context, e driver.Engine) error {
		config := driver.JoinConfig{From: from, Lease: h.lease(), Queue: topic == historyQueue}
		if e == h.model {
			config.From = modelFrom
		}
		ex, err := e.Join(ctx, topic, s, config)
		existed = append(existed, ex)
		return err
	})
	if existed[0] != existed[1] {
		h.Fatalf("Join says that the subscription existed: %v, want %v", existed[0], existed[1])
	}
}

func (h *history) stepFetch() {
	req := driver.FetchRequest{Consumer: pick(h, historyConsumers), Max: 1 + h.random.IntN(10), Recover: h.random.IntN(6) == 0}
	topic := pick(h, historyTopics)
	h.fetchBoth(topic, pick(h, subscriptionsOf(topic)), req)
}

// fetchBoth fetches from the engine and has the model judge what it got.
func (h *history) fetchBoth(topic, s string, req driver.FetchRequest) (got []driver.Message) {
	h.Helper()
	h.note("fetch %s of %s as %s, at most %d, recover %v", s, topic, req.Consumer, req.Max, req.Recover)
	deadline := time.Now().Add(h.patience)
	for {
		ctx, cancel := h.ctx()
		f, err := h.engine.Fetch(ctx, topic, s, req)
		cancel()
		ready, want := h.model.Ready(topic, s, req)
		if kind(err) != kind(want) {
			h.Fatalf("Fetch: the engine returns %v, the model %v", err, want)
		}
		if err != nil {
			return nil
		}
		if len(f.Messages) > req.Max {
			h.Fatalf("Fetch of at most %d messages returned %d", req.Max, len(f.Messages))
		}
		ids := idsOf(f.Messages)
		h.note("      → %d: %v", len(ids), ids)
		if req.Recover && len(ready) > 0 { // not paused
			h.oldestFirst(topic, s, req, ids)
		}
		delivered, err := h.model.Deliver(topic, s, req, h.modelIDs(topic, ids))
		if err != nil {
			h.Fatalf("Fetch: %v", err)
		}
		h.same(topic, "Fetch", f.Messages, delivered)
		if len(ids) > 0 || len(ready) == 0 {
			if !f.More && len(ids) < min(req.Max, len(ready)) && !req.Recover {
				h.Fatalf("Fetch: %d messages without More, though %d were ready", len(ids), len(ready))
			}
			return f.Messages
		}
		// A retry of this very millisecond may need one more.
		if time.Now().After(deadline) {
			h.Fatalf("Fetch: nothing for %v, though %d messages are ready, the first %s", h.patience, len(ready), h.toReal[topic+" "+ready[0].ID])
		}
		time.Sleep(time.Millisecond)
	}
}

// oldestFirst checks that what a consumer holds comes before anything else.
func (h *history) oldestFirst(topic, s string, req driver.FetchRequest, ids []string) {
	h.Helper()
	held := h.model.Held(topic, s, req.Consumer)
	held = held[:min(len(held), req.Max)]
	if got := h.modelIDs(topic, ids); len(got) < len(held) || !slices.Equal(got[:len(held)], held) {
		h.Fatalf("Fetch with Recover: %v, want first the %d oldest that %s holds", ids, len(held), req.Consumer)
	}
}

func (h *history) stepSettle() {
	topic, consumer := pick(h, historyTopics), pick(h, historyConsumers)
	s := pick(h, subscriptionsOf(topic))
	candidates := h.model.Held(topic, s, consumer)
	if len(candidates) == 0 || h.random.IntN(4) == 0 {
		candidates = append(candidates, h.model.Held(topic, s, "")...)
	}
	if given := h.given[topic]; len(given) > 0 && h.random.IntN(4) == 0 {
		candidates = append(candidates, h.modelID(topic, pick(h, given)))
	}
	if len(candidates) == 0 {
		return
	}
	candidates = slices.Compact(slices.Sorted(slices.Values(candidates))) // each once
	h.random.Shuffle(len(candidates), func(i, j int) { candidates[i], candidates[j] = candidates[j], candidates[i] })
	candidates = candidates[:1+h.random.IntN(min(len(candidates), 8))]
	actions := []driver.Action{driver.Acknowledge, driver.Acknowledge, driver.Acknowledge, driver.Retry, driver.Release, driver.DeadLetter, driver.Renew}
	var forEngine, forModel []driver.Settlement
	line := ""
	for _, id := range candidates {
		c := driver.Settlement{ID: id, Do: pick(h, actions), Reason: "history"}
		if c.Do == driver.Retry && h.random.IntN(2) == 0 {
			c.After = h.lease()
		}
		forModel = append(forModel, c)
		c.ID = h.toReal[topic+" "+id]
		forEngine = append(forEngine, c)
		line += fmt.Sprintf(" %s %s %v;", name(c.Do), c.ID, c.After)
	}
	h.note("settle for %s of %s as %s:%s", s, topic, consumer, line)
	ctx, cancel := h.ctx()
	defer cancel()
	got, err := h.engine.Settle(ctx, topic, s, consumer, forEngine)
	want, wantErr := h.model.Settle(ctx, topic, s, consumer, forModel)
	if wantErr != nil { // there is no such subscription; see the case settle/missing subscription
		return
	}
	if err != nil {
		h.Fatalf("Settle: %v", err)
	}
	notHeld := h.modelIDs(topic, got)
	slices.Sort(notHeld)
	slices.Sort(want)
	if !slices.Equal(notHeld, want) {
		h.Fatalf("Settle: not held are %v (to the model %v), want %v", got, notHeld, want)
	}
}

func (h *history) stepLeave() {
	topic, c := pick(h, historyTopics), pick(h, historyConsumers)
	s := pick(h, subscriptionsOf(topic))
	h.note("leave %s of %s as %s", s, topic, c)
	h.both("Leave", func(ctx context.Context, e driver.Engine) error { return e.Leave(ctx, topic, s, c) })
}

func (h *history) stepTrim() {
	topic := pick(h, historyTopics[:2])
	before, modelBefore := h.position(topic, h.given[topic])
	h.note("trim %s before %s", topic, show(before))
	least, most := h.model.Trimmable(topic, modelBefore)
	ctx, cancel := h.ctx()
	defer cancel()
	removed, err := h.engine.Trim(ctx, topic, before)
	if err != nil && !errors.Is(err, driver.ErrTopicNotFound) {
		h.Fatalf("Trim: %v", err)
	}
	if removed < least || removed > most {
		h.Fatalf("Trim removed %d messages, want %d (at least %d, if those that wait are kept)", removed, most, least)
	}
	h.model.Discard(topic, removed)
}

func (h *history) stepDeleteSubscription() {
	topic := pick(h, historyTopics)
	s := pick(h, subscriptionsOf(topic))
	if h.loose(topic) {
		return // then what stays is the engine's affair
	}
	h.note("delete %s of %s", s, topic)
	h.both("DeleteSubscription", func(ctx context.Context, e driver.Engine) error {
		err := e.DeleteSubscription(ctx, topic, s)
		if errors.Is(err, driver.ErrTopicNotFound) {
			return driver.ErrSubscriptionNotFound // either will do
		}
		return err
	})
}

func (h *history) stepDeleteTopic() {
	topic := pick(h, historyTopics)
	h.note("delete %s", topic)
	if h.both("DeleteTopic", func(ctx context.Context, e driver.Engine) error { return e.DeleteTopic(ctx, topic) }) {
		h.former[topic] = len(h.given[topic])
		h.bound[topic] = 0
	}
}
