package ondisk

import (
	"bytes"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

var someID = streamid.ID{Millis: 1_700_000_000_000, Seq: 7}

func TestMessageEncoding(t *testing.T) {
	cases := []driver.Message{
		{Body: []byte{}},
		{Body: []byte("hello"), Key: "k"},
		{Body: bytes.Repeat([]byte{0}, 1<<20), Headers: map[string]string{"a": "", "b": strings.Repeat("ü", 4000)}},
	}
	for _, m := range cases {
		for _, number := range []uint64{1, 127, 128, 1 << 40} {
			b := appendMessage(nil, &m, number)
			if len(b) != messageSize(&m, number) {
				t.Errorf("size %d, want %d", messageSize(&m, number), len(b))
			}
			got, n, err := decodeMessage(b, someID)
			if err != nil || n != number || got.Key != m.Key || !bytes.Equal(got.Body, m.Body) || !maps.Equal(got.Headers, m.Headers) {
				t.Errorf("decoded %v %d %v", got.Key, n, err)
			}
			if got.Body == nil || got.ID != someID.String() || !got.Time.Equal(someID.Time()) {
				t.Errorf("decoded %v %v %v", got.Body == nil, got.ID, got.Time)
			}
		}
	}
}

func FuzzDecodeMessage(f *testing.F) {
	f.Add(appendMessage(nil, &driver.Message{Key: "k", Headers: map[string]string{"a": "b"}, Body: []byte("x")}, 300))
	f.Add([]byte{format1})
	f.Add([]byte{2, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, number, err := decodeMessage(bytes.Clone(b), someID)
		if err != nil {
			return
		}
		again, n, err := decodeMessage(appendMessage(nil, &m, number), someID)
		if err != nil || n != number || !reflect.DeepEqual(m, again) {
			t.Errorf("%x: %+v, and again %+v, %v", b, m, again, err)
		}
	})
}

func FuzzDecodeRecords(f *testing.F) {
	f.Add((&pendingRecord{waiting: true, attempt: 3, due: 5, size: 7, owner: "o", reason: "r"}).encode())
	f.Add((&groupRecord{first: 8, due: 5, owner: "o", gone: []bool{0: true, 8: false, 9: true}}).encode())
	f.Add((&topicRecord{last: someID, appended: 9, trimmed: 3}).encode())
	f.Add((&subscriptionRecord{cursor: someID, delivered: 4, lease: time.Second}).encode())
	f.Add((&deadRecord{attempt: 2, at: 4, reason: "r", message: []byte("m")}).encode())
	f.Add((&pendingRecord{copied: true, attempt: 3, due: 5, since: 4, size: 7, owner: "o", reason: "r"}).encode())
	f.Add((&deadRecord{attempt: 2, at: 4, place: someID, owner: "o", reason: "r", message: []byte("m")}).encode())
	f.Add((&pendingRecord{attempt: 3, due: 5}).formerEncode())
	f.Add((&groupRecord{first: 8, due: 5, owner: "o", gone: make([]bool, 9)}).formerEncode())
	f.Add((&deadRecord{attempt: 2, at: 4, reason: "r", message: []byte("m")}).formerEncode())
	f.Add((&globalRecord{commits: 4, floor: someID}).encode())
	f.Add((&topicRecord{last: someID, appended: 9, trimmed: 3, holes: 2, dense: 7, counted: true, bytes: 9, dropped: 1, delayed: 2, delaySeq: 3, remembered: 4}).encode())
	f.Add((&subscriptionRecord{cursor: someID, delivered: 4, lease: time.Second, queue: true, paused: true, expires: 5, read: 6, lost: 8, told: 7}).encode())
	f.Add((&configRecord{MaxAge: time.Hour, MaxMessages: 5, MaxBytes: 6, DropOldest: true, DedupeWindow: time.Minute}).encode())
	f.Add((&delayedRecord{since: 3, dedupe: "d", until: 4, message: []byte("m")}).encode())
	f.Add((&dedupeRecord{until: 4, placed: placed{someID, true}}).encode())
	f.Add((&scheduleRecord{last: 3, topic: "t", version: "v", config: []byte("c")}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		roundTrip(t, b, new(configRecord))
		roundTrip(t, b, new(delayedRecord))
		roundTrip(t, b, new(dedupeRecord))
		roundTrip(t, b, new(scheduleRecord))
		roundTrip(t, b, new(pendingRecord))
		roundTrip(t, b, new(groupRecord))
		roundTrip(t, b, new(topicRecord))
		roundTrip(t, b, new(subscriptionRecord))
		roundTrip(t, b, new(deadRecord))
		roundTrip(t, b, new(globalRecord))
	})
}

type record interface {
	encode() []byte
	decode([]byte) error
}

// roundTrip checks that what can be decoded is encoded to the same meaning.
func roundTrip[R any, P interface {
	*R
	record
}](t *testing.T, b []byte, r P) {
	if r.decode(b) != nil {
		return
	}
	again := P(new(R))
	if err := again.decode(r.encode()); err != nil || !reflect.DeepEqual(r, again) {
		t.Errorf("%x: %+v, and again %+v, %v", b, r, again, err)
	}
}

func TestKeys(t *testing.T) {
	names, rest, ok := splitNames(idKey(someID, tagPending, "topic", "sub"), 2)
	if !ok || names[0] != "topic" || names[1] != "sub" || streamid.FromBytes(rest) != someID {
		t.Errorf("%q %x %v", names, rest, ok)
	}
	for _, bad := range []string{"", "p", "p\x05abc", "p\x01a\x05"} {
		if _, _, ok := splitNames([]byte(bad), 2); ok {
			t.Errorf("%q was read", bad)
		}
	}
	// The range of a topic holds its keys and none of another topic's.
	prefix := tableKey(tagMessage, "ab")
	for _, other := range []string{"a", "abc", "ac", "b"} {
		k := idKey(streamid.Max, tagMessage, other)
		if bytes.Compare(k, prefix) >= 0 && bytes.Compare(k, rangeEnd(prefix)) < 0 {
			t.Errorf("%q lies in the range of ab", other)
		}
	}
}
