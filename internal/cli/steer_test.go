package cli

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck"
)

func TestPositionsLast(t *testing.T) {
	for text, want := range map[string]string{
		"seek orders billing -10m":               "seek orders billing -- -10m",
		"seek orders billing -.5h --json":        "seek orders billing --json -- -.5h",
		"seek orders billing -1h --at disk:x":    "seek orders billing --at disk:x -- -1h",
		"seek --at disk:x orders billing -- -1h": "seek --at disk:x orders billing -- -1h",
		"seek orders billing start":              "seek orders billing start",
		"seek orders -h":                         "seek orders -h",
		"sub orders --from -10m":                 "sub orders --from -10m",
		"":                                       "",
	} {
		if got := strings.Join(positionsLast(strings.Fields(text)), " "); got != want {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}

func TestAge(t *testing.T) {
	for text, want := range map[string]string{
		"12h": "12h", "30d": "30d", "24h": "1d", "0.5d": "12h", "90m": "1h30m", "forever": "forever", "1h0m5s": "1h0m5s",
		"": "", "d": "", "0": "", "0d": "", "-1h": "", "-1d": "", "1e9d": "", "nand": "", "week": "",
	} {
		var a age
		err := a.Set(text)
		if want == "" && err == nil {
			t.Errorf("%q is taken for %v", text, &a)
		}
		if want != "" && (err != nil || a.String() != want) {
			t.Errorf("%q is %v, %v; want %s", text, &a, err, want)
		}
	}
}

func TestBound(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "10GiB": 10 << 30, "1.5k": 1536, "-1": -1, "": -1, "1e30": -1, "nan": -1, "inf": -1, "x": -1,
	} {
		var b bound
		err := b.Set(text)
		if (err != nil) != (want < 0) || want >= 0 && int64(b) != want {
			t.Errorf("%q is %d, %v; want %d", text, b, err, want)
		}
	}
}

func TestBrief(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "",
		"short":                  "short",
		"two\nlines\x1b[31m":     "two lin…",
		"ääääääää":               "äääääää…",
		strings.Repeat("x", 100): "xxxxxxx…",
		"\xff":                   "(1 bytes, not text)",
	} {
		if got := brief([]byte(text), 7); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}

func TestParseWeights(t *testing.T) {
	names := []string{"a", "b"}
	for text, good := range map[string]bool{
		"": true, "a=1": true, "a=2 b=1000": true, "a=0": false, "a=-1": false, "a=1001": false, "a": false, "a=x": false, "c=1": false, "a=1 a=2": false,
	} {
		_, err := parseWeights(strings.Fields(text), names)
		if (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// Queues that have tasks take turns by weight, and one that had none for long is
// owed nothing.
func TestTurnsByWeight(t *testing.T) {
	urgent, bulk := &queue{weight: 3, ask: true}, &queue{weight: 1, ask: true}
	q := &queues{list: []*queue{urgent, bulk}, total: 4}
	turns := func(n int) (forUrgent int) {
		for range n {
			one := q.first()
			q.count(one, 1)
			if one == urgent {
				forUrgent++
			}
		}
		return forUrgent
	}
	if n := turns(400); n != 300 {
		t.Errorf("urgent had %d turns of 400, want 300", n)
	}
	bulk.ask = false
	if n := turns(1000); n != 1000 {
		t.Errorf("alone, urgent had %d turns of 1000", n)
	}
	bulk.ask = true
	if n := turns(400); n < 296 || n > 300 {
		t.Errorf("with both again, urgent had %d turns of 400, want about 300", n)
	}
	if a, b := q.share(urgent, 100), q.share(bulk, 1); a != 75 || b != 1 {
		t.Errorf("shares of %d and %d", a, b)
	}
}

func TestHeld(t *testing.T) {
	messages := func() []*beck.Message { return []*beck.Message{{ID: "1"}, {ID: "2"}, {ID: "3"}} }
	var none *held
	if got := none.others(messages()); len(got) != 3 || none.len() != 0 {
		t.Errorf("none holds: %d others, length %d", len(got), none.len())
	}
	h := newHeld()
	h.add("1")
	h.add("2")
	h.remove("1")
	got := h.others(messages())
	if ids := []string{got[0].ID, got[1].ID}; h.len() != 1 || len(got) != 2 || !slices.Equal(ids, []string{"1", "3"}) {
		t.Errorf("others are %v", ids)
	}
}

func TestRetryAfter(t *testing.T) {
	for attempt, want := range map[int]time.Duration{0: time.Second, 1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 10: 5 * time.Minute, 1 << 30: 5 * time.Minute} {
		if got := retryAfter(attempt); got < want*8/10 || got > want*12/10 {
			t.Errorf("after attempt %d it waits %v, want about %v", attempt, got, want)
		}
	}
}
