package drivertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

func readCases() []Case {
	return []Case{
		{Name: "missing topic", Promise: "a topic that does not exist reads as empty, from every position, and is not created by reading", run: readMissing},
		{Name: "positions", Promise: "start is the oldest message, end is behind the newest, an id is that message itself", run: readPositions},
		{Name: "by time", Promise: "a time is the first message not older than it", run: readTime},
		{Name: "pages", Promise: "a page has at most max messages, in order; More says that it is full, and without More nothing was behind it", run: readPages},
		{Name: "newest id", Promise: "an empty page tells the newest id ever given out", run: readLast},
		{Name: "trimmed position", Promise: "from an id that was trimmed away, reading begins with the first message after it", run: readTrimmed},
		{Name: "future id", Promise: "an id ahead of the topic reads as empty, with the newest id, or is refused as a position", run: readFuture},
		{Name: "malformed id", Promise: "a malformed id is refused as a position", run: readMalformed},
		{Name: "unchanging", Promise: "what was read is not changed by later calls", run: readUnchanging},
		{Name: "large messages", Promise: "a topic of large messages is read whole, page by page", run: readLarge},
		{Name: "huge messages", Promise: "a reader that resumes with a huge message gets the next one as well", run: readHuge},
	}
}

func readMissing(t *T) {
	id := t.append("other", "a")[0]
	for _, from := range []driver.Position{start, end, at(id), {Kind: driver.AtTime, Time: time.Now()}} {
		page := t.read("missing", from, 10)
		if len(page.Messages) > 0 || page.More {
			t.Errorf("from %s: %d messages, More %v, want an empty page", show(from), len(page.Messages), page.More)
		}
	}
	ctx, cancel := t.ctx()
	defer cancel()
	if _, err := t.engine.Topic(ctx, "missing"); !errors.Is(err, driver.ErrTopicNotFound) {
		t.Errorf("Topic of one that was only read: %v, want ErrTopicNotFound", err)
	}
}

func readPositions(t *T) {
	ids := t.append(orders, "a", "b", "c")
	for _, c := range []struct {
		from driver.Position
		want []string
	}{
		{start, []string{"a", "b", "c"}},
		{end, nil},
		{at(ids[0]), []string{"a", "b", "c"}},
		{at(ids[1]), []string{"b", "c"}},
		{at(ids[2]), []string{"c"}},
	} {
		page := t.read(orders, c.from, 10)
		t.wantBodies("from "+show(c.from), page.Messages, c.want...)
	}
}

func readTime(t *T) {
	var all []driver.Message
	for i := range 4 {
		t.append(orders, fmt.Sprint(i, "a"), fmt.Sprint(i, "b"))
		// Ids are to the millisecond: the next pair is taken in a later one.
		time.Sleep(5 * time.Millisecond)
	}
	all = t.readAll(orders, start)
	for i, m := range all {
		if i > 0 && m.Time.Before(all[i-1].Time) {
			t.Fatalf("message %d is older (%v) than the one before it (%v)", i, m.Time, all[i-1].Time)
		}
	}
	check := func(when time.Time) {
		t.Helper()
		var want []string
		for _, m := range all {
			if !m.Time.Before(when) {
				want = append(want, string(m.Body))
			}
		}
		got := t.read(orders, driver.Position{Kind: driver.AtTime, Time: when}, 100)
		t.wantBodies("from "+when.Format(time.RFC3339Nano), got.Messages, want...)
	}
	for _, m := range all {
		check(m.Time)
		check(m.Time.Add(time.Millisecond))
		check(m.Time.Add(-time.Millisecond))
		check(m.Time.In(time.FixedZone("east", 3600)))
	}
	check(time.Unix(0, 0))
	check(time.Unix(-1e9, 0))
	check(time.Now().Add(time.Hour))
	if all[0].Time.Equal(all[len(all)-1].Time) {
		t.Errorf("all messages have the time %v, though they were appended over more than 15 ms", all[0].Time)
	}
}

func readPages(t *T) {
	ids := t.appendN(orders, 25)
	for _, max := range []int{1, 2, 7, 24, 25, 26, 1000} {
		page := t.read(orders, start, max)
		if len(page.Messages) == 0 {
			t.Fatalf("a page of at most %d is empty", max)
		}
		t.wantBodies(fmt.Sprintf("a page of at most %d", max), page.Messages, numbers(0, len(page.Messages))...)
		if !page.More && len(page.Messages) < 25 {
			t.Errorf("a page of at most %d has %d of 25 messages, and does not say More", max, len(page.Messages))
		}
		if max > 25 && page.More {
			t.Errorf("a page of at most %d has all 25 messages, and says More", max)
		}
	}
	var got []string
	for _, id := range ids {
		for _, m := range t.read(orders, at(id), 1).Messages {
			got = append(got, m.ID)
		}
	}
	if few(got) != few(ids) {
		t.Errorf("one by one, from each id: %s, want %s", few(got), few(ids))
	}
	if page := t.read(orders, at(ids[24]), 10); page.More {
		t.Errorf("from the newest message a page says More")
	}
}

func readLast(t *T) {
	ids := t.appendN(orders, 5)
	newest := ids[4]
	if page := t.read(orders, end, 10); page.Last != newest {
		t.Errorf("from the end: Last is %q, want %s", page.Last, newest)
	}
	future := driver.Position{Kind: driver.AtTime, Time: time.Now().Add(time.Hour)}
	if page := t.read(orders, future, 10); page.Last != newest {
		t.Errorf("from a time to come: Last is %q, want %s", page.Last, newest)
	}
	t.trim(orders, end)
	for _, from := range []driver.Position{start, end, at(ids[1]), at(newest)} {
		page := t.read(orders, from, 10)
		if len(page.Messages) > 0 || page.Last != newest {
			t.Errorf("from %s in a topic trimmed empty: %d messages, Last %q, want none and %s", show(from), len(page.Messages), page.Last, newest)
		}
	}
	t.joinStart("empty", billing, long)
	if page := t.read("empty", start, 10); page.Last != "" {
		t.Errorf("in a topic that never gave out an id: Last is %q, want it empty", page.Last)
	}
}

func readTrimmed(t *T) {
	ids := t.appendN(orders, 10)
	if n := t.trim(orders, at(ids[6])); n != 6 {
		t.Fatalf("Trim removed %d messages, want 6", n)
	}
	for _, from := range []driver.Position{start, at(ids[0]), at(ids[5]), at(ids[6])} {
		t.wantBodies("from "+show(from), t.read(orders, from, 100).Messages, numbers(6, 10)...)
	}
}

// readFuture takes an id of another topic, appended later, as one that this
// topic has not given out yet.
func readFuture(t *T) {
	last := t.append(orders, "a")[0]
	time.Sleep(5 * time.Millisecond)
	future := t.append("other", "b")[0]
	if future <= last {
		t.Skipf("this engine's ids don't tell which topic is newer (%s, %s)", last, future)
	}
	ctx, cancel := t.ctx()
	defer cancel()
	page, err := t.engine.Read(ctx, orders, at(future), 10)
	if errors.Is(err, driver.ErrPosition) {
		return
	}
	if err != nil || len(page.Messages) > 0 || page.Last != last {
		t.Errorf("%d messages, Last %q, error %v, want none and %s, or ErrPosition", len(page.Messages), page.Last, err, last)
	}
}

func readMalformed(t *T) {
	t.append(orders, "a")
	for _, id := range []string{"", "x", "-", "nonsense id", "1732176000000-0001-", "ü", "\x00", "*", "+", "$", "(1-1", strings.Repeat("9", 300)} {
		for _, topic := range []string{orders, "missing"} {
			ctx, cancel := context.WithTimeout(context.Background(), t.patience)
			_, err := t.engine.Read(ctx, topic, at(id), 10)
			cancel()
			if topic == "missing" && err == nil {
				continue // there was nothing to compare the id with
			}
			if !errors.Is(err, driver.ErrPosition) {
				t.Errorf("Read of %s from the id %.20q: %v, want ErrPosition", topic, id, err)
			}
		}
	}
}

func readUnchanging(t *T) {
	t.appendMessages(orders, driver.Message{Key: "k", Headers: map[string]string{"a": "1"}, Body: []byte("first")})
	t.joinStart(orders, billing, long)
	read := t.read(orders, start, 1).Messages[0]
	fetched := t.take(orders, billing, "c", 1)[0]
	for i := range 200 {
		t.append(orders, fmt.Sprint("later ", i))
		t.read(orders, start, 100)
	}
	t.settle(orders, billing, "c", driver.Acknowledge, fetched.ID)
	t.take(orders, billing, "c", 200)
	for what, m := range map[string]driver.Message{"read": read, "fetched": fetched} {
		t.wantContent("the message "+what+" before", m, driver.Message{Key: "k", Headers: map[string]string{"a": "1"}, Body: []byte("first")})
	}
}

func readLarge(t *T) {
	const n = 24
	large := strings.Repeat("0123456789abcdef", 1<<14) // 256 KiB
	for i := range n {
		t.append(orders, fmt.Sprint(i, " ", large))
	}
	got := t.readAll(orders, start)
	if len(got) != n {
		t.Fatalf("%d messages, want %d", len(got), n)
	}
	for i, m := range got {
		if string(m.Body) != fmt.Sprint(i, " ", large) {
			t.Fatalf("message %d is %.20q… of %d bytes", i, m.Body, len(m.Body))
		}
	}
}

func readHuge(t *T) {
	huge := strings.Repeat("x", 6<<20)
	ids := t.append(orders, huge, huge, "small")
	for i := range 2 {
		page := t.read(orders, at(ids[i]), 10)
		if len(page.Messages) < 2 || page.Messages[1].ID != ids[i+1] {
			t.Fatalf("from message %d: %d messages, want it and the next, at least", i, len(page.Messages))
		}
	}
}
