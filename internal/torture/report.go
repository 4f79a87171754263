package torture

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Finding counts what broke one promise, with the first examples.
type Finding struct {
	Count    int      `json:"count"`
	Examples []string `json:"examples,omitempty"`
}

const maxExamples = 10

func (f *Finding) add(format string, args ...any) {
	f.Count++
	if len(f.Examples) < maxExamples {
		f.Examples = append(f.Examples, fmt.Sprintf(format, args...))
	}
}

// Report is what the checker found.
type Report struct {
	// Faults counts what was injected, by its name.
	Faults map[string]int `json:"faults"`

	// Messages that publishers were told to be stored, as durably as asked, or not
	// so; that may be stored; and that are not.
	Published int `json:"published"`
	Weak      int `json:"weak"`
	Unsure    int `json:"unsure"`
	Denied    int `json:"denied"`
	// Followed counts what followers got, Delivered what handlers were given.
	Followed  int `json:"followed"`
	Delivered int `json:"delivered"`
	GapsTold  int `json:"gaps_told"`

	// Lost: published at its level, and never delivered to a reader that was due it.
	Lost Finding `json:"lost"`
	// Invented: delivered, and never published, or refused, or with other contents.
	Invented Finding `json:"invented"`
	// Disordered: in another order than that of the topic, or of a key.
	Disordered Finding `json:"out_of_order"`
	// SilentGaps: messages that a follower skipped without being told.
	SilentGaps Finding `json:"silent_gaps"`
	// Stuck: what nobody will ever deliver, or was never handled to the end.
	Stuck Finding `json:"stuck"`
	// Twice: stored under two ids.
	Twice Finding `json:"stored_twice"`
	// Early: a delayed message that came before its time.
	Early Finding `json:"early"`
	// Unexplained: delivered again for no reason that is known.
	Unexplained Finding `json:"unexplained_duplicates"`

	// Duplicates counts the deliveries beyond the first, by their cause.
	Duplicates map[string]int `json:"duplicates"`
	// Destroyed counts messages that were published and then removed by a fault
	// that removes messages. Who followed was told.
	Destroyed int `json:"destroyed"`
	// Window is what failovers lost at the level "written".
	Window Window `json:"loss_window"`

	// The longest times without a message stored, and without one delivered.
	LongestPublishStall  time.Duration `json:"longest_publish_stall_ns"`
	LongestDeliveryStall time.Duration `json:"longest_delivery_stall_ns"`
}

// Window is what failovers lost of the messages that were only written.
type Window struct {
	Failovers int `json:"failovers"`
	// Messages were acknowledged and lost.
	Messages int `json:"messages"`
	// Span is the longest time, for one failover, from when the first lost message
	// was acknowledged to when the last one was; and Before that from the first one
	// to when the fault began.
	Span   time.Duration `json:"span_ns"`
	Before time.Duration `json:"before_ns"`
	// Away counts losses that a follower was not told of because it did not run
	// when they happened.
	Away int `json:"away"`
	// Passed counts messages that are there, and that a follower never got, but was
	// told of by a gap: it had got others, of a primary that was none any more.
	Passed int `json:"passed_over"`
	// Told is how many gaps consumers have counted.
	Told int `json:"gaps_of_consumers"`
}

// broken are the findings that must be empty.
func (r *Report) broken() []struct {
	name string
	*Finding
} {
	return []struct {
		name string
		*Finding
	}{
		{"lost", &r.Lost}, {"invented", &r.Invented}, {"out of order", &r.Disordered},
		{"silent gaps", &r.SilentGaps}, {"stuck", &r.Stuck}, {"stored twice", &r.Twice},
		{"early", &r.Early}, {"unexplained duplicates", &r.Unexplained},
	}
}

// Broken says which promises were broken, with examples; empty for none.
func (r *Report) Broken() string {
	var b strings.Builder
	for _, f := range r.broken() {
		if f.Count > 0 {
			fmt.Fprintf(&b, "%s: %d\n", f.name, f.Count)
			for _, e := range f.Examples {
				fmt.Fprintf(&b, "    %s\n", e)
			}
		}
	}
	return b.String()
}

// String is the report as a table.
func (r *Report) String() string {
	var b strings.Builder
	row := func(name, value string) { fmt.Fprintf(&b, "| %-22s | %s\n", name, value) }
	row("faults", counts(r.Faults))
	row("published", fmt.Sprintf("%d (stored, less durable %d; unsure %d; refused %d)", r.Published, r.Weak, r.Unsure, r.Denied))
	row("delivered", fmt.Sprintf("%d to handlers, %d to followers", r.Delivered, r.Followed))
	for _, f := range r.broken() {
		row(f.name, fmt.Sprint(f.Count))
	}
	row("duplicates", counts(r.Duplicates))
	row("gaps told", fmt.Sprint(r.GapsTold))
	row("destroyed by faults", fmt.Sprint(r.Destroyed))
	if r.Window.Failovers > 0 {
		row("lost by failovers", fmt.Sprintf("%d written messages by %d failovers, acknowledged within %v, the first %v before the fault; %d gaps counted by consumers; not told as the follower did not run: %d; passed over behind a gap that was told: %d",
			r.Window.Messages, r.Window.Failovers, r.Window.Span.Round(time.Millisecond), r.Window.Before.Round(time.Millisecond), r.Window.Told, r.Window.Away, r.Window.Passed))
	}
	row("longest stall", fmt.Sprintf("publishing %v, delivery %v",
		r.LongestPublishStall.Round(time.Millisecond), r.LongestDeliveryStall.Round(time.Millisecond)))
	return b.String()
}

func counts(m map[string]int) string {
	if len(m) == 0 {
		return "0"
	}
	total := 0
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		total += m[name]
		parts = append(parts, fmt.Sprintf("%s %d", name, m[name]))
	}
	return fmt.Sprintf("%d: %s", total, strings.Join(parts, ", "))
}
