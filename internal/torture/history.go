package torture

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind says what an Event tells.
type Kind string

// The kinds of events.
const (
	// Started is the first event of a process: Process, Role.
	Started Kind = "started"
	// Ended is the last one of a process that ended by itself; Count is how many
	// gaps its bus has counted.
	Ended Kind = "ended"
	// Stalled: the process did not run for Took, though it should have; or the
	// engine, if that is the Target, did not answer.
	Stalled Kind = "stalled"

	// Due: a reader that is due every message of Topic. Role is "follower",
	// "subscription" or "queue", Sub its name, Took its lease. GivenBack is
	// "always" where messages may come late because another consumer had them, was
	// slow, and gave them back unhandled.
	Due Kind = "due"

	// Begun: a publish of Count messages from N on begins. Delay, Once and Level
	// say how.
	Begun Kind = "begun"
	// Acked: it returned the IDs, at its level.
	Acked Kind = "acked"
	// Weak: it returned the IDs, but its level was not reached.
	Weak Kind = "weak"
	// Denied: none was stored but those with IDs, at the front.
	Denied Kind = "denied"
	// Unsure: some may be stored, besides those with IDs, at the front.
	Unsure Kind = "unsure"

	// Seen: a follower got a message.
	Seen Kind = "seen"
	// Gap: a follower was told that messages may be missing before the next.
	Gap Kind = "gap"

	// Got: a consumer's handler begins with a message.
	Got Kind = "got"
	// Done: it is about to return. Result is "ack" or "retry".
	Done Kind = "done"
	// Gaps: a consumer's bus has counted Count gaps by now.
	Gaps Kind = "gaps"

	// Fault: the fault Name has begun on Target; what it does is in Harm.
	Fault Kind = "fault"
	// Healed: the fault that began last on Target is over.
	Healed Kind = "healed"
	// Left: what inspection found at the end that nobody delivers.
	Left Kind = "left"
)

// Harm says what a fault may do, and so what it explains.
type Harm string

// The harms.
const (
	// Kills ends the process Target.
	Kills Harm = "kills"
	// Stops has the process Target stand still for a while.
	Stops Harm = "stops"
	// Cuts keeps everybody, or some, from the engine for a while.
	Cuts Harm = "cuts"
	// Fails has the engine go on as another server than before, which may lack
	// what was not replicated.
	Fails Harm = "fails over"
	// Forgets has subscriptions lose what they were delivered, but no message.
	Forgets Harm = "forgets"
	// Destroys removes messages.
	Destroys Harm = "destroys"
	// Moves has topics go to another server. It explains nothing.
	Moves Harm = "moves"
	// Jumps has leases end before their time.
	Jumps Harm = "jumps"
)

// Event is one line of a history.
type Event struct {
	Kind Kind `json:"e"`
	// Wall is the time of day, in microseconds since 1970, and Mono the time since
	// the process began, by a clock that never jumps.
	Wall int64 `json:"w"`
	Mono int64 `json:"m"`

	Process string `json:"process,omitempty"` // and its incarnation: "consumer0.2"
	Role    string `json:"role,omitempty"`
	Topic   string `json:"topic,omitempty"`
	// Sub is the subscription, or the name of the follower.
	Sub string `json:"sub,omitempty"`
	// Consumer is one of several in the process.
	Consumer string `json:"c,omitempty"`

	// Stream and N name a message: the publisher's name and the number it gave.
	Stream string   `json:"s,omitempty"`
	N      int64    `json:"n,omitempty"`
	Count  int64    `json:"count,omitempty"`
	IDs    []string `json:"ids,omitempty"`
	ID     string   `json:"id,omitempty"`
	Key    string   `json:"key,omitempty"`
	Delay  int64    `json:"delay,omitempty"` // microseconds
	Once   bool     `json:"once,omitempty"`  // with a deduplication id
	Level  string   `json:"level,omitempty"`
	// Bad says what is wrong with a message that was delivered.
	Bad     string `json:"bad,omitempty"`
	Attempt int    `json:"a,omitempty"`
	Result  string `json:"r,omitempty"`
	Text    string `json:"text,omitempty"`

	Name   string `json:"name,omitempty"`
	Target string `json:"target,omitempty"`
	Harm   Harm   `json:"harm,omitempty"`

	GivenBack string `json:"given_back,omitempty"`
	Took      int64  `json:"took,omitempty"` // microseconds
}

// History is what one process writes down. It may be used by many goroutines.
type History struct {
	mu    sync.Mutex
	file  *os.File
	begin time.Time
}

// suffix ends the name of a history's file.
const suffix = ".jsonl"

// NewHistory begins the history of a process in a directory.
func NewHistory(dir, process, role string) (*History, error) {
	file, err := os.OpenFile(filepath.Join(dir, process+suffix), os.O_CREATE|os.O_EXCL|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	h := &History{file: file, begin: time.Now()}
	return h, h.Write(Event{Kind: Started, Process: process, Role: role})
}

// Write adds an event, with the time. The line is with the system when it returns.
func (h *History) Write(e Event) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	e.Wall, e.Mono = now.UnixMicro(), now.Sub(h.begin).Microseconds()
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = h.file.Write(append(line, '\n'))
	return err
}

// Close ends the history.
func (h *History) Close() error { return h.file.Close() }

// Read calls take with each event of a file. A last line that is torn is left out;
// any other is an error. The times of the events are brought to one clock: that of
// the machine at the start of the process, and from then on the one that never
// jumps; it is in Wall.
func Read(file string, take func(Event) error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewReaderSize(f, 1<<20)
	var begin int64
	for number := 1; ; number++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil // what has no end of line is torn
		}
		if err != nil {
			return err
		}
		var e Event
		if err := json.Unmarshal(bytes.TrimSpace(line), &e); err != nil {
			return fmt.Errorf("%s line %d: %w", file, number, err)
		}
		if number == 1 {
			begin = e.Wall - e.Mono
		}
		e.Wall = begin + e.Mono
		if err := take(e); err != nil {
			return err
		}
	}
}

// Files are the histories in a directory, in the order of their names.
func Files(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	slices.Sort(files)
	return files, nil
}
