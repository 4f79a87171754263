package torture

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"
)

// record is what the histories of a run say, in a form that fits memory: a few
// dozen bytes for each message, and for each delivery.
type record struct {
	report  *Report
	streams map[string]*stream
	topics  map[string]*topicLog
	readers map[string]*reader // followers, by topic and name
	subs    map[string]*subscription
	windows []window
	killed  map[string]int64 // processes, and when
	end     int64

	acks, deliveries stalls
}

// stream is what one publisher published.
type stream struct {
	name, topic string
	once        bool
	level       string
	messages    []message // the first has the number 1
}

// message is one that was published, or was about to be.
type message struct {
	begun, ended int64
	delay        int64
	outcome      outcome
	present      bool  // at the end, under whatever id
	entry        int32 // of its topic's log, plus one; 0 for none
}

type outcome uint8

// The outcomes, the better the higher.
const (
	open outcome = iota // its publisher ended before it knew
	denied
	unsure
	weak
	acked
)

func (s *stream) at(n int64) *message {
	if n < 1 || n > int64(len(s.messages)) {
		return nil
	}
	return &s.messages[n-1]
}

// topicLog is a topic, as all who saw something of it know it.
type topicLog struct {
	name    string
	index   map[string]int32
	entries []entry
	audited bool // somebody read all of it at the end
	ranks   []int32
}

type entry struct {
	id      string
	stream  *stream
	n       int64
	present bool // at the end
	reused  bool // two servers gave this id, to two messages, at a failover
}

func (t *topicLog) add(id string, s *stream, n int64) int32 {
	i, known := t.index[id]
	if !known {
		i = int32(len(t.entries))
		t.index[id] = i
		t.entries = append(t.entries, entry{id: id, stream: s, n: n})
	}
	return i
}

// order ranks the entries by id, which is topic order.
func (t *topicLog) order() (sorted []int32) {
	sorted = make([]int32, len(t.entries))
	for i := range sorted {
		sorted[i] = int32(i)
	}
	slices.SortFunc(sorted, func(a, b int32) int { return strings.Compare(t.entries[a].id, t.entries[b].id) })
	t.ranks = make([]int32, len(sorted))
	for rank, i := range sorted {
		t.ranks[i] = int32(rank)
	}
	return sorted
}

// reader is a follower, through all its incarnations.
type reader struct {
	topic, name string
	items       []item
}

// item is a message that a follower saw, or a gap.
type item struct {
	at    int64
	entry int32 // -1 for a gap
	life  int32 // which incarnation
}

// subscription is one with all its deliveries.
type subscription struct {
	topic, name string
	queue       bool
	givenBack   string
	lease       int64
	deliveries  []delivery
	suspects    []suspect
}

type delivery struct {
	stream  *stream
	n       int64
	at      int64
	done    int64 // 0 if it never was
	process string
	attempt int32
	acked   bool
}

// suspect is a first delivery that came behind a later message with its key.
type suspect struct {
	stream *stream
	n, at  int64
	text   string
}

// window is the time of a fault.
type window struct {
	name, target string
	harm         Harm
	from, to     int64
	// When the first and the last message were acknowledged that it took away.
	firstLost, lastLost int64
}

func (w *window) lose(acked int64) {
	if w.firstLost == 0 || acked < w.firstLost {
		w.firstLost = acked
	}
	w.lastLost = max(w.lastLost, acked)
}

const forever = 1 << 62

func newRecord() *record {
	return &record{
		report:  &Report{Faults: map[string]int{}, Duplicates: map[string]int{}},
		streams: map[string]*stream{}, topics: map[string]*topicLog{}, readers: map[string]*reader{},
		subs: map[string]*subscription{}, killed: map[string]int64{},
	}
}

func (r *record) topic(name string) *topicLog {
	t := r.topics[name]
	if t == nil {
		t = &topicLog{name: name, index: map[string]int32{}}
		r.topics[name] = t
	}
	return t
}

func (r *record) reader(topic, name string) *reader {
	key := topic + " " + name
	if r.readers[key] == nil {
		r.readers[key] = &reader{topic: topic, name: name}
	}
	return r.readers[key]
}

func (r *record) subscription(topic, name string) *subscription {
	key := topic + " " + name
	if r.subs[key] == nil {
		r.subs[key] = &subscription{topic: topic, name: name}
	}
	return r.subs[key]
}

// load reads all histories of a directory: first what was published, since what
// was delivered is compared with it; and the lives of a process in their order.
func load(dir string) (*record, error) {
	files, err := Files(dir)
	if err != nil {
		return nil, err
	}
	r := newRecord()
	for _, pass := range []func(*life, Event) error{(*life).publishing, (*life).reading} {
		for number, file := range byLife(files) {
			l := &life{record: r, number: int32(number), running: map[string]string{}, firsts: map[string]string{}, open: map[string]int{}}
			if err := Read(file, func(e Event) error { return pass(l, e) }); err != nil {
				return nil, err
			}
		}
	}
	for i := range r.windows {
		if r.windows[i].to == forever {
			r.windows[i].to = r.end
		}
	}
	slices.SortFunc(r.windows, func(a, b window) int { return cmp.Compare(a.from, b.from) })
	return r, nil
}

// byLife sorts files such as consumer1.2.jsonl by name and then incarnation.
func byLife(files []string) []string {
	split := func(file string) (string, string) {
		name := strings.TrimSuffix(filepath.Base(file), suffix)
		i := strings.LastIndexByte(name, '.')
		return name[:max(i, 0)], name[i+1:]
	}
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b string) int {
		nameA, lifeA := split(a)
		nameB, lifeB := split(b)
		return cmp.Or(strings.Compare(nameA, nameB), cmp.Compare(len(lifeA), len(lifeB)), strings.Compare(lifeA, lifeB))
	})
	return files
}
