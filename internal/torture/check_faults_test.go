package torture

import (
	"os"
	"path/filepath"
	"testing"
)

// Deliveries beyond the first, and what faults take away.
func TestVerdictsOnFaults(t *testing.T) {
	failed := func(h told) {
		h.change("consumer.0", 5, func(e *Event) {
			if e.Kind == Done {
				e.Result = "retry"
			}
		})
	}
	endless := func(h told) {
		c := h["consumer.0"]
		h["consumer.0"] = append(c[:9:9], c[10:]...) // 5 is never done
		for i := range h["consumer.0"] {
			h["consumer.0"][i].Key = ""
		}
	}
	again := func(after int64) []Event { return []Event{got(5, 2).after(after), done(5, "ack").after(after)} }
	gone := func(h told, n ...int64) {
		for _, p := range []string{"audit.0", "follower.0", "follower.1", "consumer.0"} {
			for _, n := range n {
				h.without(p, n)
			}
		}
	}
	gap := func(h told, process string, at int, mono int64) {
		f := h[process]
		h[process] = append(f[:at:at], append([]Event{{Kind: Gap, Mono: mono, Topic: "log", Sub: "f"}}, f[at:]...)...)
	}
	written := func(h told) {
		for i := range h["publisher.0"] {
			h["publisher.0"][i].Level = Written
		}
	}
	for _, c := range []verdict{
		{"a retry", func(h told) { failed(h); h.add("consumer.1", again(20)...) }, "", duplicates(map[string]int{causeRetry: 1})},
		{"twice for no reason", func(h told) { h.add("consumer.1", again(20)...) }, "unexplained duplicates 1", nil},
		{"twice after a crash", func(h told) {
			endless(h)
			h.add("main.0", struck("kill", Kills, "consumer.0", 110, 112)...)
			h.add("consumer.1", again(200)...)
		}, "", duplicates(map[string]int{causeCrash: 1})},
		{"a crash of another process", func(h told) {
			endless(h)
			h.add("main.0", struck("kill", Kills, "consumer.3", 110, 112)...)
			h.add("consumer.1", again(200)...)
		}, "unexplained duplicates 1", nil},
		{"a crash long after the acknowledgement", func(h told) {
			h.add("main.0", struck("kill", Kills, "consumer.0", 9_000, 9_001)...)
			h.add("consumer.1", again(9_500)...)
		}, "unexplained duplicates 1", nil},
		{"a consumer stood still", func(h told) {
			endless(h)
			h.add("main.0", struck("stop", Stops, "consumer.0", 57, 400)...)
			h.add("consumer.1", again(200)...)
		}, "", duplicates(map[string]int{causeLease: 1})},
		{"a consumer did not run", func(h told) {
			endless(h)
			h.add("consumer.0", Event{Kind: Stalled, Mono: 300, Took: 240_000})
			h.add("consumer.1", again(200)...)
		}, "", duplicates(map[string]int{causeLease: 1})},
		{"a lease ends though its handler runs", func(h told) {
			endless(h)
			h.add("consumer.1", again(200)...)
		}, "unexplained duplicates 1", nil},
		{"an acknowledgement was not stored", func(h told) {
			h.add("main.0", struck("partition", Cuts, "redis", 50, 400)...)
			h.add("consumer.1", again(500)...)
		}, "", duplicates(map[string]int{causeUnsettled: 1})},
		{"an acknowledgement was stored before the fault", func(h told) {
			h.add("main.0", struck("partition", Cuts, "redis", 9_000, 9_400)...)
			h.add("consumer.1", again(5_000)...)
		}, "unexplained duplicates 1", nil},
		{"a clock jumps", func(h told) {
			endless(h)
			h.add("main.0", struck("jump", Jumps, "redis", 60, 61)...)
			h.add("consumer.1", again(15)...)
		}, "", duplicates(map[string]int{causeLease: 1})},
		{"a group is destroyed", func(h told) {
			h.add("main.0", struck("destroy", Forgets, "redis", 60, 61)...)
			late := got(5, 1).after(20)
			h.add("consumer.1", late, done(5, "ack").after(20))
		}, "", duplicates(map[string]int{causeGroup: 1})},
		{"a flush, and everybody is told", func(h told) {
			gone(h, 4, 5)
			h.add("main.0", struck("flush", Destroys, "redis", 60, 61)...)
			gap(h, "follower.1", 0, 62)
		}, "", func(r *Report) bool { return r.Destroyed == 2 && r.GapsTold == 1 }},
		{"a flush long after a message was due", func(h told) {
			gone(h, 4)
			h["follower.0"] = append(h["follower.0"][:3:3], seen("f", 4), h["follower.0"][3])
			h.add("main.0", struck("flush", Destroys, "redis", 100_000, 100_001)...)
		}, "lost 1", nil}, // to the subscription; the follower has seen it
		{"a delayed message that came into two topics, of which one is left", func(h told) {
			h.change("publisher.0", 5, func(e *Event) {
				e.Delay = 1000
				if e.Kind == Acked {
					e.IDs[0] = "d-5"
				}
			})
			other := seen("f", 5)
			other.ID = id(4) + "-1"
			h["follower.0"] = append(h["follower.0"][:4:4], other, Event{Kind: Gap, Mono: 56, Topic: "log", Sub: "f"}, seen("f", 5).after(2))
			h.add("main.0", struck("failover", Fails, "redis", 53, 55)...)
		}, "", nil},
		{"a flush of which nobody tells", func(h told) {
			gone(h, 4, 5)
			h.add("main.0", struck("flush", Destroys, "redis", 60, 61)...)
		}, "silent gaps 2", nil},
		{"a flush takes what came after it", func(h told) {
			gone(h, 8)
			h.add("main.0", struck("flush", Destroys, "redis", 60, 61)...)
			gap(h, "follower.1", 0, 62)
		}, "lost 2", nil},
		{"a failover loses what was only written", func(h told) {
			written(h)
			gone(h, 8, 9)
			h.add("main.0", struck("failover", Fails, "redis", 95, 99)...)
			gap(h, "follower.1", 2, 100)
		}, "", func(r *Report) bool {
			w := r.Window
			return w.Messages == 2 && w.Failovers == 1 && w.Span.Milliseconds() == 10 && w.Before.Milliseconds() == 13
		}},
		{"a failover loses what was only written, and does not tell", func(h told) {
			written(h)
			gone(h, 8, 9)
			h.add("main.0", struck("failover", Fails, "redis", 95, 99)...)
		}, "silent gaps 2", nil},
		{"a failover loses what was replicated", func(h told) {
			gone(h, 8)
			h.add("main.0", struck("failover", Fails, "redis", 95, 99)...)
			gap(h, "follower.1", 2, 100)
		}, "lost 2", nil},
		{"a follower was away when a failover lost something", func(h told) {
			written(h)
			gone(h, 6)
			h.add("main.0", struck("failover", Fails, "redis", 63, 64)...)
		}, "", func(r *Report) bool { return r.Window.Messages == 1 && r.Window.Away == 1 }},
	} {
		t.Run(c.name, func(t *testing.T) { verify(t, c.change, c.broken, c.also) })
	}
}

func TestHistoryIsTorn(t *testing.T) {
	dir := t.TempDir()
	h, err := NewHistory(dir, "publisher.0", "publish")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := h.Write(Event{Kind: Gap}); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "publisher.0"+suffix)
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	count := func(content []byte) (n int, err error) {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		err = Read(file, func(Event) error { n++; return nil })
		return n, err
	}
	if n, err := count(content); n != 4 || err != nil {
		t.Errorf("%d events, %v", n, err)
	}
	if n, err := count(content[:len(content)-1]); n != 3 || err != nil {
		t.Errorf("%d events of a file whose last line is torn, %v", n, err)
	}
	content[len(content)/2] = '\n'
	if n, err := count(content); err == nil {
		t.Errorf("%d events of a file that is torn in the middle, and no error", n)
	}
}

func TestBody(t *testing.T) {
	body := Body("p0.1-keyed", 17, "k3")
	if stream, n, bad := parseBody(body, "k3"); stream != "p0.1-keyed" || n != 17 || bad != "" {
		t.Errorf("%s %d %s", stream, n, bad)
	}
	for i := range body {
		changed := append([]byte{}, body...)
		changed[i] ^= 1
		if _, _, bad := parseBody(changed, "k3"); bad == "" {
			t.Errorf("a change of byte %d passes", i)
		}
	}
	if _, _, bad := parseBody(body, "k4"); bad == "" {
		t.Error("another key passes")
	}
}
