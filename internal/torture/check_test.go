package torture

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// told is a hand-made history: the events of each process. Mono is in milliseconds.
type told map[string][]Event

func (h told) check(t *testing.T) *Report {
	t.Helper()
	dir := t.TempDir()
	for process, events := range h {
		lines := []byte{}
		events = append([]Event{{Kind: Started, Process: process}}, events...)
		for _, e := range events {
			e.Mono *= 1000
			e.Wall = 1_000_000_000 + e.Mono
			line, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			lines = append(append(lines, line...), '\n')
		}
		if err := os.WriteFile(filepath.Join(dir, process+suffix), lines, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Check(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// id is that of the n-th message of a topic.
func id(n int64) string { return fmt.Sprintf("id-%04d", n) }

// published is what a publisher tells of n messages, one each ten milliseconds.
func published(n int64) (events []Event) {
	for i := int64(1); i <= n; i++ {
		events = append(events,
			Event{Kind: Begun, Mono: i * 10, Stream: "p", Topic: "log", N: i, Count: 1, Level: Synced},
			Event{Kind: Acked, Mono: i*10 + 2, Stream: "p", Topic: "log", N: i, Count: 1, IDs: []string{id(i)}})
	}
	return events
}

func seen(f string, n int64) Event {
	return Event{Kind: Seen, Mono: n*10 + 5, Topic: "log", Sub: f, Stream: "p", N: n, ID: id(n)}
}

func got(n int64, attempt int) Event {
	return Event{Kind: Got, Mono: n*10 + 5, Topic: "log", Sub: "sub", Consumer: "c", Stream: "p", N: n, ID: id(n), Attempt: attempt, Key: "k"}
}

func done(n int64, result string) Event {
	return Event{Kind: Done, Mono: n*10 + 7, Topic: "log", Sub: "sub", Consumer: "c", Stream: "p", N: n, ID: id(n), Key: "k", Result: result}
}

func (e Event) after(ms int64) Event {
	e.Mono += ms
	return e
}

// well is a history of ten messages in which nothing is wrong. The follower ran
// twice, the consumer is one of two.
func well() told {
	h := told{
		"main.0": {
			{Kind: Due, Topic: "log", Sub: "sub", Role: "subscription", Took: 100_000},
			{Kind: Due, Topic: "log", Sub: "f", Role: "follower"},
		},
		"publisher.0": published(10),
	}
	for i := int64(1); i <= 10; i++ {
		h["audit.0"] = append(h["audit.0"], seen(Audit, i))
		follower := "follower.0"
		if i > 5 {
			follower = "follower.1"
		}
		h[follower] = append(h[follower], seen("f", i))
		h["consumer.0"] = append(h["consumer.0"], got(i, 1), done(i, "ack"))
	}
	return h
}

// without takes the events of a message away from a process.
func (h told) without(process string, n int64) {
	kept := []Event{}
	for _, e := range h[process] {
		if e.N != n {
			kept = append(kept, e)
		}
	}
	h[process] = kept
}

func (h told) change(process string, n int64, f func(*Event)) {
	for i := range h[process] {
		if h[process][i].N == n {
			f(&h[process][i])
		}
	}
}

func (h told) add(process string, events ...Event) { h[process] = append(h[process], events...) }

func struck(name string, harm Harm, target string, from, to int64) []Event {
	return []Event{{Kind: Fault, Name: name, Harm: harm, Target: target, Mono: from}, {Kind: Healed, Target: target, Mono: to}}
}

// Each history has one thing wrong, or right though it may look wrong.
func TestVerdicts(t *testing.T) {
	for _, c := range []verdict{
		{"nothing is wrong", func(told) {}, "", func(r *Report) bool {
			return r.Published == 10 && r.Followed == 10 && r.Delivered == 10 && r.LongestPublishStall.Milliseconds() == 10
		}},
		{"a message is gone", func(h told) {
			h.without("audit.0", 4)
			h.without("follower.0", 4)
			h.without("consumer.0", 4)
		}, "lost 2", nil}, // to the topic, and to the subscription
		{"a subscription misses one", func(h told) { h.without("consumer.0", 4) }, "lost 1", nil},
		{"a follower misses the last", func(h told) { h.without("follower.1", 10) }, "lost 1", nil},
		{"a follower skips one", func(h told) { h.without("follower.0", 3) }, "silent gaps 1", nil},
		{"a follower skips one as it resumes", func(h told) { h.without("follower.1", 6) }, "silent gaps 1", nil},
		{"a gap does not make up for what is there", func(h told) {
			h.without("follower.0", 3)
			h["follower.0"] = append(h["follower.0"][:2:2], append([]Event{{Kind: Gap, Mono: 35, Topic: "log", Sub: "f"}}, h["follower.0"][2:]...)...)
		}, "lost 1", nil},
		{"a follower gets one twice", func(h told) { h.add("follower.1", seen("f", 10)) }, "out of order 2", nil},
		{"a follower gets two in the wrong order", func(h told) {
			f := h["follower.0"]
			f[1], f[2] = f[2], f[1]
		}, "out of order 1, silent gaps 1", nil},
		{"a follower goes back behind a gap", func(h told) {
			f := h["follower.0"]
			gap := Event{Kind: Gap, Mono: f[2].Mono, Topic: "log", Sub: "f"}
			h["follower.0"] = append([]Event{f[0], f[2], gap, f[1]}, f[3:]...)
		}, "", nil},
		{"nobody published it", func(h told) {
			h.add("consumer.0", got(11, 1), done(11, "ack"))
		}, "invented 1", nil},
		{"the checksum is wrong", func(h told) {
			h.change("consumer.0", 5, func(e *Event) { e.Bad = "another checksum" })
		}, "lost 1, invented 1", nil},
		{"an id stands for two messages", func(h told) {
			h.change("consumer.0", 5, func(e *Event) { e.ID = id(6) })
		}, "invented 1", nil},
		{"what was refused is delivered", func(h told) {
			h.change("publisher.0", 5, func(e *Event) {
				if e.Kind == Acked {
					e.Kind, e.IDs = Denied, nil
				}
			})
		}, "invented 3", nil},
		{"what was unsure is delivered", func(h told) {
			h.change("publisher.0", 5, func(e *Event) {
				if e.Kind == Acked {
					e.Kind, e.IDs = Unsure, nil
				}
			})
		}, "", func(r *Report) bool { return r.Unsure == 1 }},
		{"what was unsure is not there", func(h told) {
			h.change("publisher.0", 5, func(e *Event) {
				if e.Kind == Acked {
					e.Kind, e.IDs = Unsure, nil
				}
			})
			for _, p := range []string{"audit.0", "follower.0", "consumer.0"} {
				h.without(p, 5)
			}
		}, "", nil},
		{"the topic has another order than the publisher", func(h told) {
			for p := range h {
				for _, n := range []int64{4, 5} {
					h.change(p, n, func(e *Event) {
						e.Key = ""
						if e.Kind == Acked {
							e.IDs[0] = id(9 - n)
						} else if e.ID != "" {
							e.ID = id(9 - n)
						}
					})
				}
			}
			for _, p := range []string{"audit.0", "follower.0"} {
				h[p][3], h[p][4] = h[p][4], h[p][3]
			}
		}, "out of order 1", nil},
		{"stored twice", func(h told) {
			again := seen(Audit, 10)
			again.ID = id(11)
			h.add("audit.0", again)
			again.Sub = "f"
			h.add("follower.1", again)
		}, "stored twice 1", nil},
		{"a delayed message comes early", func(h told) {
			h.change("publisher.0", 5, func(e *Event) { e.Delay = 50_000 })
		}, "early 3", nil},
		{"two of one key at a time", func(h told) {
			h.change("consumer.0", 5, func(e *Event) {
				if e.Kind == Got {
					e.Mono -= 9 // before 4 is done
				}
			})
			c := h["consumer.0"]
			c[7], c[8] = c[8], c[7]
		}, "out of order 1", nil},
		{"the wrong order of a key", func(h told) {
			c := h["consumer.0"]
			c[2], c[3], c[4], c[5] = c[4], c[5], c[2], c[3]
		}, "out of order 1", nil},
		{"the order of a key among consumers that give back", func(h told) {
			c := h["consumer.0"]
			c[2], c[3], c[4], c[5] = c[4], c[5], c[2], c[3]
			h["main.0"][0].GivenBack = "always"
		}, "", nil},
		{"the order of a key around a cut", func(h told) {
			c := h["consumer.0"]
			c[2], c[3], c[4], c[5] = c[4], c[5], c[2], c[3]
			h.add("main.0", struck("cut", Cuts, "link", 22, 24)...)
		}, "", nil},
		{"something is left", func(h told) { h.add("main.0", Event{Kind: Left, Text: "3 pending"}) }, "stuck 1", nil},
		{"a handler never ended", func(h told) {
			h["consumer.0"] = h["consumer.0"][:len(h["consumer.0"])-1]
		}, "stuck 1", nil},
		{"the last delivery failed", func(h told) {
			h.change("consumer.0", 10, func(e *Event) {
				if e.Kind == Done {
					e.Result = "retry"
				}
			})
		}, "stuck 1", nil},
	} {
		t.Run(c.name, func(t *testing.T) { verify(t, c.change, c.broken, c.also) })
	}
}

type verdict struct {
	name   string
	change func(told)
	broken string // the findings, with their counts
	also   func(*Report) bool
}

func verify(t *testing.T, change func(told), broken string, also func(*Report) bool) {
	t.Helper()
	h := well()
	change(h)
	r := h.check(t)
	var found []string
	for _, f := range r.broken() {
		if f.Count > 0 {
			found = append(found, fmt.Sprintf("%s %d", f.name, f.Count))
		}
	}
	if got := strings.Join(found, ", "); got != broken {
		t.Errorf("found %q, want %q\n%s", got, broken, r.Broken())
	}
	if also != nil && !also(r) {
		t.Errorf("the report is not right:\n%s", r)
	}
}

func duplicates(want map[string]int) func(*Report) bool {
	return func(r *Report) bool { return maps.Equal(r.Duplicates, want) }
}
