package drivertest

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

func appendCases() []Case {
	return []Case{
		{Name: "in order", Promise: "messages of one call, and of calls one after the other, are stored in order, and their ids returned in the same order", run: appendInOrder},
		{Name: "ids", Promise: "ids are unique, visible ASCII of 1 to 128 bytes, and sort as strings in topic order", run: appendIDs},
		{Name: "contents", Promise: "body, key and headers come back as they were given: empty, large, of all byte values, in Unicode", run: appendContents},
		{Name: "large batch", Promise: "ten thousand messages go in one call", run: appendLargeBatch},
		{Name: "ignored fields", Promise: "ID, Time and Attempt of appended messages are ignored; the engine sets its own, to the millisecond", run: appendIgnores},
		{Name: "creates the topic", Promise: "a topic is created by the first append to it, and topics don't mix", run: appendCreates},
		{Name: "concurrent", Promise: "each publisher's messages keep their order, and an append that returned before another began comes first", run: appendConcurrent},
	}
}

func appendInOrder(t *T) {
	var ids []string
	for i := range 20 {
		ids = append(ids, t.append(orders, numbers(i*10, i*10+10)...)...)
	}
	got := t.readAll(orders, start)
	t.wantBodies("the topic", got, numbers(0, 200)...)
	t.wantIDs("the ids that Read shows, against those that Append returned", got, ids...)
}

func appendIDs(t *T) {
	ids := t.appendN(orders, 1200)
	for range 50 {
		ids = append(ids, t.append(orders, "one")...)
	}
	last := ""
	for i, id := range ids {
		if id == "" || len(id) > 128 || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			t.Fatalf("id %q is not visible ASCII of 1 to 128 bytes", id)
		}
		if id <= last {
			t.Fatalf("id %q of message %d does not sort behind %q, the one before it", id, i, last)
		}
		last = id
	}
}

func appendContents(t *T) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	manyHeaders := map[string]string{}
	for i := range 64 {
		manyHeaders[fmt.Sprintf("header-%d", i)] = strings.Repeat("v", i)
	}
	for what, m := range map[string]driver.Message{
		"an empty body":         {Body: []byte{}},
		"one zero byte":         {Body: []byte{0}},
		"all byte values":       {Body: every},
		"line ends":             {Body: []byte("a\r\nb\n\n\rc\x00")},
		"no UTF-8":              {Body: []byte("\xff\xfe\xc3")},
		"1 MiB":                 {Body: bytes.Repeat(every, 1<<12)},
		"a key":                 {Key: "42", Body: []byte("b")},
		"a key in Unicode":      {Key: "Zürich 北京 🚀 \u202e", Body: []byte("b")},
		"a key with controls":   {Key: "a\x00\n\r\tb", Body: []byte("b")},
		"a long key":            {Key: strings.Repeat("k", 512), Body: []byte("b")},
		"a header":              {Headers: map[string]string{"content-type": "text/plain"}, Body: []byte("b")},
		"an empty header":       {Headers: map[string]string{"empty": ""}, Body: []byte{}},
		"headers in Unicode":    {Headers: map[string]string{"a": "Zürich 北京 🚀", "b": " spaces , and : signs = \" "}, Body: []byte("b")},
		"a long header":         {Headers: map[string]string{"long": strings.Repeat("x", 8192)}, Body: []byte("b")},
		"many headers":          {Headers: manyHeaders, Body: []byte("b")},
		"key, headers, empty":   {Key: "k", Headers: map[string]string{"h": "v"}, Body: []byte{}},
		"headers like fields":   {Headers: map[string]string{"body": "x", "key": "y", "id": "z", "b": "1", "k": "2", "h": "3"}, Body: []byte("b")},
		"empty, but not no map": {Headers: map[string]string{}, Body: []byte("b")},
	} {
		id := t.appendMessages(orders, m)[0]
		page := t.read(orders, at(id), 1)
		if len(page.Messages) != 1 {
			t.Fatalf("%s: Read from its id returned %d messages", what, len(page.Messages))
		}
		t.wantContent(what+", read", page.Messages[0], m)
		t.joinStart(orders, billing, long)
		t.wantContent(what+", fetched", t.take(orders, billing, "c", 1)[0], m)
	}
}

// wantContent checks what a publisher gave.
func (t *T) wantContent(what string, got, want driver.Message) {
	t.Helper()
	switch {
	case got.Body == nil:
		t.Errorf("%s: the body is nil; an empty one must be empty, not nil", what)
	case !bytes.Equal(got.Body, want.Body):
		t.Errorf("%s: body %.60q (%d bytes), want %.60q (%d bytes)", what, got.Body, len(got.Body), want.Body, len(want.Body))
	case got.Key != want.Key:
		t.Errorf("%s: key %q, want %q", what, got.Key, want.Key)
	case !maps.Equal(got.Headers, want.Headers):
		t.Errorf("%s: headers %.200q, want %.200q", what, fmt.Sprint(got.Headers), fmt.Sprint(want.Headers))
	case len(want.Headers) == 0 && got.Headers != nil:
		t.Errorf("%s: the headers are an empty map; without headers it must be nil", what)
	}
}

func appendLargeBatch(t *T) {
	ids := t.appendN(orders, 10000)
	got := t.readAll(orders, start)
	t.wantBodies("the topic", got, numbers(0, 10000)...)
	t.wantIDs("the ids", got, ids...)
}

func appendIgnores(t *T) {
	first := t.append(orders, "a")[0]
	before := time.Now()
	id := t.appendMessages(orders, driver.Message{
		ID: first, Time: time.Unix(1, 0), Attempt: 7, Body: []byte("b"),
	})[0]
	after := time.Now()
	if id == first {
		t.Fatalf("Append gave the id %s, which the message was given with and which is another's", id)
	}
	got := t.readAll(orders, start)
	t.wantBodies("the topic", got, "a", "b")
	m := got[1]
	if m.Attempt != 0 {
		t.Errorf("Attempt is %d when read without a subscription, want 0", m.Attempt)
	}
	// The engine's clock may be another machine's, so this is about the kind
	// of time, not about the exact one.
	if m.Time.Before(before.Add(-time.Minute)) || m.Time.After(after.Add(time.Minute)) {
		t.Errorf("Time is %v, want when the engine took the message, about %v", m.Time, after)
	}
	if !m.Time.Equal(m.Time.Truncate(time.Millisecond)) {
		t.Errorf("Time is %v, want it to the millisecond", m.Time)
	}
}

func appendCreates(t *T) {
	// Names that differ little, and that look like what an engine might make
	// of them.
	names := []string{"orders", "Orders", "orders:retry", "orders.a", "orders-", "orders:", "0", strings.Repeat("x", 200)}
	for _, n := range names {
		t.append(n, n+" 1", n+" 2")
	}
	for _, n := range names {
		t.wantBodies(n, t.readAll(n, start), n+" 1", n+" 2")
	}
}

// appendConcurrent numbers the begin and the end of each append by one counter
// and then looks for two appends whose order in the topic contradicts it.
func appendConcurrent(t *T) {
	type span struct{ begin, end int64 }
	const publishers, calls = 8, 60
	var clock atomic.Int64
	var mu sync.Mutex
	spans := map[string]span{} // by id
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := range calls {
				bodies := []string{fmt.Sprintf("%d %d", p, 2*i), fmt.Sprintf("%d %d", p, 2*i+1)}
				ctx, cancel := t.ctx()
				begin := clock.Add(1)
				ids, err := t.engine.Append(ctx, orders, []driver.Message{{Body: []byte(bodies[0])}, {Body: []byte(bodies[1])}})
				s := span{begin, clock.Add(1)}
				cancel()
				if err != nil || len(ids) != 2 {
					t.Errorf("Append: %d ids, %v", len(ids), err)
					return
				}
				mu.Lock()
				spans[ids[0]], spans[ids[1]] = s, s
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	got := t.readAll(orders, start)
	if len(got) != publishers*calls*2 {
		t.Fatalf("the topic has %d messages, want %d", len(got), publishers*calls*2)
	}
	next := make([]int, publishers)
	latestBegin := int64(0)
	for _, m := range got {
		var p, i int
		if _, err := fmt.Sscanf(string(m.Body), "%d %d", &p, &i); err != nil {
			t.Fatalf("a body that nobody published: %q", m.Body)
		}
		if i != next[p] {
			t.Fatalf("message %d of publisher %d comes where its message %d should", i, p, next[p])
		}
		next[p]++
		s, ok := spans[m.ID]
		if !ok {
			t.Fatalf("the topic has the id %s, which no Append returned", m.ID)
		}
		if s.end < latestBegin {
			t.Fatalf("message %q stands behind one whose Append began only after that of %q had returned", m.Body, m.Body)
		}
		latestBegin = max(latestBegin, s.begin)
	}
}
