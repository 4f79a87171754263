package drivertest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/beckmq/beck/internal/driver"
)

// historyQueue is the topic that is joined as a queue.
const historyQueue = "q0"

// subscriptions of a topic that are used.
func subscriptionsOf(topic string) []string {
	if topic == historyQueue {
		return []string{workers}
	}
	return historySubscriptions
}

// loose reports whether what a topic has stored is left to the engine: a queue may
// keep what is retried elsewhere.
func (h *history) loose(topic string) bool {
	return topic == historyQueue && h.model.Copied(topic)
}

// stepBound bounds a topic, or lifts the bound. The model has none: it stores what
// the engine took, and removes what the engine removed, if that was allowed.
func (h *history) stepBound() {
	topic := historyTopics[1]
	bound := int64(0)
	if h.random.IntN(3) > 0 {
		bound = int64(5 + h.random.IntN(20))
	}
	h.note("bound %s to %d", topic, bound)
	h.bounded(topic, bound, false)
	h.do("the model", func(ctx context.Context) error { return h.model.Configure(ctx, topic, driver.DefaultTopicConfig) })
	h.bound[topic] = bound
}

// appendBounded appends to a topic that may be full, and has the model follow.
func (h *history) appendBounded(topic string, messages []driver.Message) []string {
	h.Helper()
	before := h.length(h.model, topic)
	ctx, cancel := h.ctx()
	defer cancel()
	ids, err := h.engine.Append(ctx, topic, messages)
	full := errors.Is(err, driver.ErrTopicFull)
	if err != nil && !full || !full && len(ids) != len(messages) || len(ids) > len(messages) {
		h.Fatalf("Append: %d ids, %v", len(ids), err)
	}
	expected, err := h.model.Append(ctx, topic, messages[:len(ids)])
	if err != nil {
		h.Fatalf("the model: %v", err)
	}
	h.learn(topic, ids, expected)
	bound, stored := h.bound[topic], h.length(h.engine, topic)
	grown := h.length(h.model, topic)
	least, most := h.model.Trimmable(topic, end)
	removed := grown - stored
	h.note("      → %d stored, full %v, %d removed to make room", len(ids), full, removed)
	switch {
	case removed < 0 || removed > most:
		h.Fatalf("Append: %d messages went, of which %d are needed by nobody", removed, most)
	case stored > bound && grown > before:
		h.Fatalf("Append: there are %d messages, more than the bound of %d", stored, bound)
	case removed > max(0, grown-bound):
		h.Fatalf("Append: %d messages went, more than %d that had to", removed, max(0, grown-bound))
	case full && (stored < bound || removed < least):
		h.Fatalf("Append: the topic is full with %d messages, though %d are allowed, and %d could have gone", stored, bound, least-removed)
	}
	h.model.Discard(topic, removed)
	return ids
}

func (h *history) length(e driver.Engine, topic string) int64 {
	h.Helper()
	ctx, cancel := h.ctx()
	defer cancel()
	info, err := e.Topic(ctx, topic)
	if err != nil && !errors.Is(err, driver.ErrTopicNotFound) {
		h.Fatalf("Topic: %v", err)
	}
	return info.Length
}

// stepDeadLetters requeues or drops some dead letters, and what is none.
func (h *history) stepDeadLetters() {
	topic := pick(h, historyTopics)
	s := pick(h, subscriptionsOf(topic))
	candidates := h.model.Dead(topic, s)
	if len(candidates) == 0 && h.random.IntN(4) > 0 {
		return
	}
	h.random.Shuffle(len(candidates), func(i, j int) { candidates[i], candidates[j] = candidates[j], candidates[i] })
	candidates = candidates[:min(len(candidates), 1+h.random.IntN(4))]
	var ids []string
	for _, id := range candidates {
		ids = append(ids, h.toReal[topic+" "+id])
	}
	ids, candidates = append(ids, "unknown"), append(candidates, "unknown")
	what := driver.Engine.Requeue
	if h.random.IntN(3) == 0 {
		what = driver.Engine.Drop
		h.note("drop for %s of %s: %v", s, topic, ids)
	} else {
		h.note("requeue for %s of %s: %v", s, topic, ids)
	}
	var missing [][]string
	if h.both("Requeue or Drop", func(ctx context.Context, e driver.Engine) error {
		ask := ids
		if e == h.model {
			ask = candidates
		}
		got, err := what(e, ctx, topic, s, ask)
		missing = append(missing, got)
		if errors.Is(err, driver.ErrTopicNotFound) {
			return driver.ErrSubscriptionNotFound // either will do
		}
		return err
	}) && !slices.Equal(missing[0], missing[1]) {
		h.Fatalf("Requeue or Drop: %v are missing, want %v", missing[0], missing[1])
	}
}

func (h *history) stepSeek() {
	topic, s := pick(h, historyTopics[:2]), pick(h, historySubscriptions)
	to, modelTo := h.position(topic, h.given[topic][h.former[topic]:])
	h.note("seek %s of %s to %s", s, topic, show(to))
	h.steer("Seek", func(ctx context.Context, e driver.Engine) error {
		if e == h.model {
			return e.Seek(ctx, topic, s, modelTo)
		}
		return e.Seek(ctx, topic, s, to)
	})
}

func (h *history) stepPause() {
	topic := pick(h, historyTopics)
	h.pauseBoth(topic, pick(h, subscriptionsOf(topic)), h.random.IntN(3) == 0)
}

func (h *history) pauseBoth(topic, s string, paused bool) {
	h.Helper()
	h.note("pause %s of %s: %v", s, topic, paused)
	h.steer("Pause", func(ctx context.Context, e driver.Engine) error { return e.Pause(ctx, topic, s, paused) })
}

// steer makes a call on both; which of two missing things is named is the engine's
// affair.
func (h *history) steer(what string, call func(ctx context.Context, e driver.Engine) error) bool {
	h.Helper()
	return h.both(what, func(ctx context.Context, e driver.Engine) error {
		err := call(ctx, e)
		if errors.Is(err, driver.ErrTopicNotFound) {
			return driver.ErrSubscriptionNotFound
		}
		return err
	})
}

func (h *history) stepPurge() {
	topic := pick(h, historyTopics)
	h.note("purge %s", topic)
	loose := h.loose(topic)
	var removed []int64
	if h.both("Purge", func(ctx context.Context, e driver.Engine) error {
		n, err := e.Purge(ctx, topic)
		removed = append(removed, n)
		return err
	}) && removed[0] != removed[1] && !loose {
		h.Fatalf("Purge removed %d, want %d", removed[0], removed[1])
	}
}

// stepDelay publishes a message that doesn't come while a history runs, or cancels
// some.
func (h *history) stepDelay() {
	topic := pick(h, historyTopics)
	if late := h.late[topic]; len(late) > 0 && h.random.IntN(2) == 0 {
		id := pick(h, late)
		h.note("cancel %s of %s", id, topic)
		var missing []int
		h.both("Cancel", func(ctx context.Context, e driver.Engine) error {
			ask := id
			if e == h.model {
				ask = h.modelID(topic, id)
			}
			got, err := e.Cancel(ctx, topic, []string{ask})
			missing = append(missing, len(got))
			return err
		})
		if missing[0] != missing[1] {
			h.Fatalf("Cancel: missing are %d of 1, want %d", missing[0], missing[1])
		}
		return
	}
	m := driver.Message{Body: fmt.Appendf(nil, "late %d", len(h.late[topic])), Delay: long}
	h.note("delay one of %s", topic)
	ids := h.appendMessages(topic, m)
	expected, err := h.model.Append(context.Background(), topic, []driver.Message{m})
	if err != nil {
		h.Fatalf("the model: %v", err)
	}
	h.toModel[topic+" "+ids[0]], h.toReal[topic+" "+expected[0]] = expected[0], ids[0]
	h.late[topic] = append(h.late[topic], ids[0])
}

// stepLook compares what Outstanding and Peek tell.
func (h *history) stepLook() {
	topic := pick(h, historyTopics)
	s := pick(h, subscriptionsOf(topic))
	var ids []string
	for range min(8, len(h.given[topic])-h.former[topic]) {
		ids = append(ids, pick(h, h.given[topic][h.former[topic]:]))
	}
	h.note("look at %s of %s, and for %v", s, topic, ids)
	var open []map[string]driver.State
	if len(ids) == 0 || !h.steer("Outstanding", func(ctx context.Context, e driver.Engine) error {
		ask := ids
		if e == h.model {
			ask = h.modelIDs(topic, ids)
		}
		got, err := e.Outstanding(ctx, topic, s, ask)
		open = append(open, got)
		return err
	}) {
		return
	}
	for _, id := range ids {
		got, want := open[0][id], open[1][h.modelID(topic, id)]
		// What is to come at once may be called either.
		given := func(s driver.State) bool { return s == driver.Ready || s == driver.Waiting }
		if got != want && !(given(got) && given(want)) {
			h.Fatalf("Outstanding: %s is %q, want %q", id, got, want)
		}
	}
	for _, state := range []driver.State{driver.Ready, driver.Held, driver.Waiting, driver.Buried} {
		h.samePeek(topic, s, state)
	}
	h.samePeek(topic, "", driver.Delayed)
}

func (h *history) samePeek(topic, s string, state driver.State) {
	h.Helper()
	got := h.modelIDs(topic, idsOf(messagesOf(h.peek(topic, s, state))))
	on := *h.T
	on.engine = h.model
	want := idsOf(messagesOf(on.peek(topic, s, state)))
	if state == driver.Waiting { // retries of one millisecond
		slices.Sort(got)
		slices.Sort(want)
	}
	if !slices.Equal(got, want) {
		h.Fatalf("Peek (%s) of %s: to the model %v, want %v", state, s, got, want)
	}
}
