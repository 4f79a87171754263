package ondisk

import (
	"encoding/binary"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// The records of format 1, as programs wrote them that knew no other.

func (r *pendingRecord) formerEncode() []byte {
	b := binary.AppendUvarint([]byte{format1, flag(r.waiting)}, r.attempt)
	b = binary.AppendUvarint(b, uint64(r.due))
	b = binary.AppendUvarint(b, r.size)
	return appendString(appendString(b, r.owner), r.reason)
}

func (r *groupRecord) formerEncode() []byte {
	b := binary.AppendUvarint([]byte{format1}, r.first)
	b = binary.AppendUvarint(b, uint64(r.due))
	b = binary.AppendUvarint(appendString(b, r.owner), uint64(len(r.gone)))
	return append(b, make([]byte, (len(r.gone)+7)/8)...) // all are there
}

func (r *deadRecord) formerEncode() []byte {
	b := binary.AppendUvarint([]byte{format1}, r.attempt)
	b = binary.AppendUvarint(b, uint64(r.at))
	return append(appendString(b, r.reason), r.message...)
}

func TestFormerRecords(t *testing.T) {
	p := pendingRecord{waiting: true, attempt: 3, due: 5, size: 7, owner: "o", reason: "r"}
	g := groupRecord{first: 8, due: 5, owner: "o", gone: make([]bool, 11)}
	d := deadRecord{attempt: 2, at: 4, reason: "r", message: []byte("m")}
	d.place = streamid.ID{Millis: 4}
	var p1 pendingRecord
	var g1 groupRecord
	var d1 deadRecord
	if err := p1.decode(p.formerEncode()); err != nil || p1 != p {
		t.Errorf("pending: %+v, %v", p1, err)
	}
	if err := g1.decode(g.formerEncode()); err != nil || !reflect.DeepEqual(g1, g) {
		t.Errorf("group: %+v, %v", g1, err)
	}
	if err := d1.decode(d.formerEncode()); err != nil || !reflect.DeepEqual(d1, d) {
		t.Errorf("dead letter: %+v, %v", d1, err)
	}
	// A flag of later programs is not one of format 1.
	former := p.formerEncode()
	former[1] |= pendingCopied
	if p1.decode(former) == nil {
		t.Errorf("read %+v", p1)
	}
}

// What was delivered in the days of format 1 goes on.
func TestFormerDeliveries(t *testing.T) {
	clock := newClock()
	set := settings{fs: vfs.NewMem(), reserve: 1, now: clock.now}
	e := mustOpen(t, "db", set)
	ids := publish(t, e, "a", bodies(0, 5)...)
	join(t, e, "a", "s", driver.JoinConfig{Lease: time.Minute})
	fetch(t, e, "a", "s", "c", 5)
	settle(t, e, "a", "s", "c", each(driver.Acknowledge, ids[:2]...)...)
	id := func(i int) streamid.ID { parsed, _ := streamid.Parse(ids[i]); return parsed }
	due := clock.at.Add(time.Minute).UnixMilli()
	group := groupRecord{first: 4, due: due, owner: "c", gone: make([]bool, 2)}
	single := pendingRecord{waiting: true, attempt: 3, due: clock.at.UnixMilli(), size: 9, reason: "r"}
	b := e.db.NewBatch()
	b.Delete(idKey(id(0), tagGroup, "a", "s"), nil)
	b.Set(idKey(id(3), tagGroup, "a", "s"), group.formerEncode(), nil)
	b.Set(idKey(id(2), tagPending, "a", "s"), single.formerEncode(), nil)
	if err := b.Commit(pebble.Sync); err != nil {
		t.Fatal(err)
	}
	shut(t, e)
	e = open(t, "db", set)
	held, waiting := peek(t, e, driver.Held, "", 9), peek(t, e, driver.Waiting, "", 9)
	if shown(held) != "3/1 4/1" || shown(waiting) != "2/3" || !held.Entries[0].Since.IsZero() || !waiting.Entries[0].Since.IsZero() {
		t.Errorf("held %+v, waiting %+v", held, waiting)
	}
	if got := text(fetch(t, e, "a", "s", "d", 9).Messages); got != "2/4 " {
		t.Errorf("fetched %q", got)
	}
	settle(t, e, "a", "s", "c", each(driver.Renew, ids[3])...)
	clock.at = clock.at.Add(time.Hour)
	got := strings.Fields(text(fetch(t, e, "a", "s", "d", 9).Messages))
	if slices.Sort(got); !slices.Equal(got, []string{"2/5", "3/2", "4/2"}) {
		t.Errorf("fetched %q", got)
	}
}
