package drivertest

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

func delayCases() []Case {
	return []Case{
		{Name: "not before its time", Promise: "a delayed message comes to a consumer that waits, never early; until then it is no part of the topic, but counted as delayed", run: delayConsumer},
		{Name: "at a time", Promise: "a message may name the moment at which it enters the topic", run: delayAt},
		{Name: "reader", Promise: "a reader that waits for hints alone gets a delayed message", run: delayReader},
		{Name: "fetch alone", Promise: "a consumer that asks now and then, without watching, gets a delayed message", run: delayFetch},
		{Name: "order", Promise: "delayed messages enter the topic in the order in which they are due, in front of what is published later", run: delayOrder},
		{Name: "contents", Promise: "a delayed message keeps its key, headers and body, and tells its former id in the header beck-delayed-id", run: delayContents},
		{Name: "beside others", Promise: "in one call there may be delayed and other messages; ids are returned in their order", run: delayMixed},
		{Name: "many", Promise: "hundreds of delayed messages come once each to consumers that wait, none early", run: delayMany},
		{Name: "from when it enters", Promise: "a subscription that began at the end of the topic gets messages that were delayed before and enter after", run: delayEnd},
		{Name: "peek", Promise: "delayed messages are listed by when they are due, page by page, also behind one that has gone", run: delayPeek},
		{Name: "cancel", Promise: "a delayed message that is cancelled never comes, and ids that are not there are named", run: delayCancel},
		{Name: "far", Promise: "a message may be delayed for ten years", run: delayFar},
		{Name: "full topic", Promise: "a full topic takes delayed messages; those that are due wait for room, and hold up no other topic", run: delayFull},
		{Name: "deduplicated", Promise: "a delayed message with a DedupeID is stored once, also after it has entered the topic; a cancelled one is forgotten", run: delayDedupe},
		{Name: "deleted topic", Promise: "deleting a topic removes its delayed messages", run: delayDelete},
		{Name: "restart", needs: needReopen, Promise: "delayed messages survive a restart, and come in time after it", run: func(t *T) { delayRestart(t, t.reopen) }},
		{Name: "crash", needs: needCrash, Promise: "delayed messages survive a crash, and come in time after it", run: func(t *T) { delayRestart(t, t.crash) }},
	}
}

// soon is a delay that is long enough for a few calls.
const soon = 300 * time.Millisecond

func (t *T) delayed(topic string, want int64) {
	t.Helper()
	if n := t.topic(topic).Delayed; n != want {
		t.Errorf("%s has %d delayed messages, want %d", topic, n, want)
	}
}

func delayConsumer(t *T) {
	t.joinStart(orders, billing, long)
	t.delay(orders, "much later", time.Hour)
	t.none(orders, billing, "c")
	t.left(orders, 0)
	t.delayed(orders, 1)
	began := time.Now()
	id := t.delay(orders, "a", soon)
	if !strings.HasPrefix(id, "d") {
		t.Errorf("a delayed message has the id %q, want one that begins with d", id)
	}
	t.awake(orders, billing, "c", 1, func(m driver.Message) {
		t.notBefore("a delayed message came", began, soon)
		if late := time.Since(began) - soon; late > t.promptly() {
			t.Errorf("a delayed message came %v late", late)
		}
		if m.Attempt != 1 || m.ID == id {
			t.Errorf("it has the attempt %d and the id %s, want 1 and one of the topic", m.Attempt, m.ID)
		}
	})
	t.left(orders, 1)
	t.delayed(orders, 1)
}

func delayAt(t *T) {
	t.joinStart(orders, billing, long)
	due := time.Now().Add(soon)
	id := t.appendMessages(orders, driver.Message{Body: []byte("a"), At: due})[0]
	if !strings.HasPrefix(id, "d") {
		t.Errorf("a delayed message has the id %q, want one that begins with d", id)
	}
	t.awake(orders, billing, "c", 1, func(driver.Message) {
		if early := time.Until(due); early > slack {
			t.Errorf("the message came %v early", early)
		}
	})
}

func delayReader(t *T) {
	hints := t.watch(orders)
	began := time.Now()
	t.delay(orders, "a", soon)
	deadline := time.After(t.patience)
	for {
		if got := t.read(orders, start, 10).Messages; len(got) > 0 {
			t.wantBodies("the topic", got, "a")
			break
		}
		select {
		case <-hints:
		case <-deadline:
			t.Fatalf("no hint brought the reader its delayed message")
		}
	}
	t.notBefore("a delayed message was read", began, soon)
}

func delayFetch(t *T) {
	t.joinStart(orders, billing, long)
	began := time.Now()
	t.delay(orders, "a", soon)
	t.wantBodies("the delayed message", t.take(orders, billing, "c", 1), "a")
	t.notBefore("a delayed message was fetched", began, soon)
}

func delayOrder(t *T) {
	t.joinStart(orders, billing, long)
	// One call, so that the delays count from one moment, however slow this is.
	var messages []driver.Message
	for _, by := range []time.Duration{400, 200, 300, 100, 200} {
		messages = append(messages, driver.Message{Body: fmt.Append(nil, int(by)), Delay: by * time.Millisecond})
	}
	ids := t.appendMessages(orders, messages...)
	for i, later := range []int{1, 2, 0} { // 100, 200, 300, 400
		if earlier := []int{3, 1, 2}[i]; ids[earlier] >= ids[later] {
			t.Errorf("the id %s of a message that is due later does not sort behind %s", ids[later], ids[earlier])
		}
	}
	var got []string
	t.awake(orders, billing, "c", 5, func(m driver.Message) { got = append(got, string(m.Body)) })
	t.append(orders, "last")
	if want := "[100 200 200 300 400]"; fmt.Sprint(got) != want {
		t.Errorf("they came as %v, want %s", got, want)
	}
	all := t.readAll(orders, start)
	t.wantBodies("the topic", all, "100", "200", "200", "300", "400", "last")
	for i := range all[1:] {
		if all[i+1].ID <= all[i].ID || all[i+1].Time.Before(all[i].Time) {
			t.Errorf("message %d of the topic has a smaller id or an earlier time than the one before", i+1)
		}
	}
}

func delayContents(t *T) {
	m := driver.Message{Key: "k", Headers: map[string]string{"h": "Zürich"}, Body: []byte("a\x00\xff"), Delay: 50 * time.Millisecond}
	t.joinStart(orders, billing, long)
	id := t.appendMessages(orders, m)[0]
	bare := t.appendMessages(orders, driver.Message{Body: []byte{}, Delay: 100 * time.Millisecond})[0]
	var got []driver.Message
	t.awake(orders, billing, "c", 2, func(m driver.Message) { got = append(got, m) })
	m.Headers = map[string]string{"h": "Zürich", "beck-delayed-id": id}
	t.wantContent("the delayed message", got[0], m)
	t.wantContent("the empty one", got[1], driver.Message{Body: []byte{}, Headers: map[string]string{"beck-delayed-id": bare}})
	for _, m := range got {
		if m.Delay != 0 || !m.At.IsZero() || m.DedupeID != "" {
			t.Errorf("what came has Delay %v, At %v, DedupeID %q, want none", m.Delay, m.At, m.DedupeID)
		}
	}
}

func delayMixed(t *T) {
	ids := t.appendMessages(orders,
		driver.Message{Body: []byte("a")}, driver.Message{Body: []byte("later"), Delay: long},
		driver.Message{Body: []byte("b")}, driver.Message{Body: []byte("later still"), Delay: 2 * long})
	t.wantIDs("the topic", t.readAll(orders, start), ids[0], ids[2])
	t.wantIDs("what is delayed", messagesOf(t.peek(orders, "", driver.Delayed)), ids[1], ids[3])
}

func delayMany(t *T) {
	const count, crew = 200, 3
	t.joinStart(orders, billing, long)
	messages := make([]driver.Message, count)
	for i := range messages {
		messages[i] = driver.Message{Body: fmt.Append(nil, i), Delay: time.Duration(1+(i*37)%500) * time.Millisecond}
	}
	began := time.Now()
	t.appendMessages(orders, messages...)
	var mu sync.Mutex
	came := map[string]int{}
	var worst time.Duration
	done := make(chan struct{})
	var wg sync.WaitGroup
	for w := range crew {
		wg.Go(func() {
			hints, stop := t.engine.Watch(orders)
			defer stop()
			for {
				ctx, cancel := t.ctx()
				f, err := t.engine.Fetch(ctx, orders, billing, driver.FetchRequest{Consumer: fmt.Sprint("c", w), Max: 20})
				cancel()
				if err != nil {
					t.Errorf("Fetch: %v", err)
					return
				}
				mu.Lock()
				for _, m := range f.Messages {
					var i int
					if _, err := fmt.Sscan(string(m.Body), &i); err != nil || i >= count {
						t.Errorf("%q came, which nobody published", m.Body)
						continue
					}
					if early := messages[i].Delay - time.Since(began); early > slack {
						worst = max(worst, early)
					}
					came[string(m.Body)]++
				}
				mu.Unlock()
				if f.More {
					continue
				}
				select {
				case <-hints:
				case <-done:
					return
				}
			}
		})
	}
	deadline := time.Now().Add(t.patience)
	for all := false; !all && !time.Now().After(deadline); time.Sleep(5 * time.Millisecond) {
		mu.Lock()
		all = len(came) >= count
		mu.Unlock()
	}
	close(done)
	wg.Wait()
	if worst > 0 {
		t.Errorf("a message came %v early", worst)
	}
	for _, body := range numbers(0, count) {
		if came[body] != 1 {
			t.Fatalf("message %s came %d times, want once (%d of %d have come)", body, came[body], len(came), count)
		}
	}
}

func delayEnd(t *T) {
	t.append(orders, "before")
	t.delay(orders, "a", soon)
	t.join(orders, billing, driver.JoinConfig{From: end, Lease: long})
	t.wantBodies("a subscription from the end", t.take(orders, billing, "c", 1), "a")
}

func delayPeek(t *T) {
	var ids []string
	began := time.Now()
	for i := range 20 { // from the last to the first
		ids = append([]string{t.delay(orders, fmt.Sprint(i), long-time.Duration(i)*time.Minute)}, ids...)
	}
	m := driver.Message{Key: "k", Headers: map[string]string{"h": "v"}, Body: []byte("whole"), Delay: 2 * long}
	ids = append(ids, t.appendMessages(orders, m)[0])
	entries := t.peek(orders, "", driver.Delayed)
	t.wantIDs("the list", messagesOf(entries), ids...)
	last := entries[len(entries)-1]
	t.wantContent("the last one", last.Message, m)
	if early, late := began.Add(2*long-time.Second), time.Now().Add(2*long+time.Second); last.Due.Before(early) || last.Due.After(late) {
		t.Errorf("the last one is due at %v, want about %v", last.Due, began.Add(2*long))
	}
	if last.Message.Attempt != 0 || last.Consumer != "" {
		t.Errorf("the last one has the attempt %d and the consumer %q, want none", last.Message.Attempt, last.Consumer)
	}
	t.cancel(orders, ids[4])
	t.delayed(orders, 20)
	got := t.peekSome(orders, "", driver.PeekRequest{State: driver.Delayed, After: ids[4], Max: 3})
	t.wantIDs("behind one that has gone", messagesOf(got.Entries), ids[5:8]...)
	if !got.More {
		t.Errorf("Peek does not say that there are more")
	}
}

func delayCancel(t *T) {
	t.joinStart(orders, billing, long)
	stored := t.append(orders, "stored")[0]
	ids := []string{t.delay(orders, "a", soon), t.delay(orders, "b", soon), t.delay(orders, "c", soon)}
	if missing := t.cancel(orders, ids[0], stored, ids[2]); fmt.Sprint(missing) != fmt.Sprint([]string{stored}) {
		t.Errorf("Cancel: %v are missing, want %s, which is not delayed", missing, stored)
	}
	if missing := t.cancel(orders, ids[0], "d0000000000001-1"); len(missing) != 2 {
		t.Errorf("Cancel: %v are missing, want both: one was cancelled before, one never was", missing)
	}
	t.delayed(orders, 1)
	var got []string
	t.awake(orders, billing, "c", 2, func(m driver.Message) { got = append(got, string(m.Body)) })
	if fmt.Sprint(got) != "[stored b]" {
		t.Errorf("%v came, want [stored b]", got)
	}
	if missing := t.cancel(orders, ids[1]); len(missing) != 1 {
		t.Errorf("a message that has entered the topic could be cancelled")
	}
	time.Sleep(soon / 4) // the others were due together with b
	t.none(orders, billing, "c")
	t.left(orders, 2)
}

func delayFar(t *T) {
	const far = 10 * 365 * 24 * time.Hour
	id := t.delay(orders, "a", far)
	near := t.delay(orders, "b", long)
	entries := t.peek(orders, "", driver.Delayed)
	t.wantIDs("the list", messagesOf(entries), near, id)
	if off := time.Until(entries[1].Due) - far; off.Abs() > time.Minute {
		t.Errorf("due at %v, want in ten years", entries[1].Due)
	}
	t.left(orders, 0)
}

func delayFull(t *T) {
	t.joinStart(orders, billing, long)
	t.joinStart("other", billing, long)
	t.bounded(orders, 1, false)
	id := t.append(orders, "a")[0]
	t.take(orders, billing, "c", 1)
	hints := t.watch(orders)
	t.delay(orders, "b", 50*time.Millisecond)
	t.delay("other", "x", 100*time.Millisecond)
	t.wantBodies("the other topic", t.take("other", billing, "c", 1), "x")
	t.none(orders, billing, "c")
	t.delayed(orders, 1)
	t.wantBodies("the full topic", t.readAll(orders, start), "a")
	drain(hints)
	t.settle(orders, billing, "c", driver.Acknowledge, id)
	t.wantBodies("once there is room", t.take(orders, billing, "c", 1), "b")
	t.delayed(orders, 0)
}

func delayDedupe(t *T) {
	t.joinStart(orders, billing, long)
	once := driver.Message{Body: []byte("a"), Delay: soon, DedupeID: "once"}
	id := t.appendMessages(orders, once)[0]
	if again := t.appendMessages(orders, once)[0]; again != id {
		t.Errorf("published twice, the delayed message has the ids %s and %s", id, again)
	}
	t.take(orders, billing, "c", 1)
	if again := t.appendMessages(orders, driver.Message{Body: []byte("a"), DedupeID: "once"})[0]; again != id {
		t.Errorf("published again after it came, it has the id %s, want %s", again, id)
	}
	t.none(orders, billing, "c")
	once = driver.Message{Body: []byte("b"), Delay: long, DedupeID: "cancelled"}
	id = t.appendMessages(orders, once)[0]
	t.cancel(orders, id)
	if again := t.appendMessages(orders, once)[0]; again == id {
		t.Errorf("a message that was cancelled is taken for published")
	}
	t.delayed(orders, 1)
}

func delayDelete(t *T) {
	t.delay(orders, "a", soon)
	t.delay(orders, "b", long)
	t.deleteTopic(orders)
	t.joinStart(orders, billing, long)
	t.delayed(orders, 0)
	var got []string
	t.delay(orders, "c", soon+50*time.Millisecond)
	t.awake(orders, billing, "c", 1, func(m driver.Message) { got = append(got, string(m.Body)) })
	if fmt.Sprint(got) != "[c]" {
		t.Errorf("%v came, want c alone: a was deleted with its topic", got)
	}
}

func delayRestart(t *T, again func()) {
	t.joinStart(orders, billing, long)
	began := time.Now()
	ids := []string{t.delay(orders, "a", soon), t.delay(orders, "b", 2*soon), t.delay(orders, "c", long)}
	again()
	if there := messagesOf(t.peek(orders, "", driver.Delayed)); time.Since(began) < soon {
		t.wantIDs("after the restart", there, ids...)
	}
	var got []string
	t.awake(orders, billing, "c", 2, func(m driver.Message) {
		got = append(got, string(m.Body))
		t.notBefore("message "+string(m.Body)+" came", began, time.Duration(len(got))*soon)
	})
	if fmt.Sprint(got) != "[a b]" {
		t.Errorf("%v came, want [a b]", got)
	}
	t.delayed(orders, 1)
}
