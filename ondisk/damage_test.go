package ondisk

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// Records that don't agree are told when their topic is used, or the directory
// opened.
func TestRecordsThatDontAgree(t *testing.T) {
	all := func(tag byte, name string) func(*pebble.Batch, []string) error {
		return func(b *pebble.Batch, _ []string) error {
			prefix := tableKey(tag, name)
			return b.DeleteRange(prefix, rangeEnd(prefix), nil)
		}
	}
	message := func(place int) func(*pebble.Batch, []string) error {
		return func(b *pebble.Batch, ids []string) error {
			id, err := streamid.Parse(ids[place])
			return errors.Join(err, b.Delete(idKey(id, tagMessage, "q"), nil))
		}
	}
	set := func(key, value []byte) func(*pebble.Batch, []string) error {
		return func(b *pebble.Batch, _ []string) error { return b.Set(key, value, nil) }
	}
	cases := map[string]struct {
		damage func(b *pebble.Batch, ids []string) error
		want   error
	}{
		"delayed messages gone":    {all(tagDelayed, "q"), driver.ErrCorrupt},
		"a held task gone":         {message(1), driver.ErrCorrupt},
		"the newest task gone":     {message(9), driver.ErrCorrupt},
		"a second subscription":    {set(tableKey(tagSub, "q", "s"), (&subscriptionRecord{lease: 1}).encode()), driver.ErrCorrupt},
		"more holes than messages": {set(tableKey(tagTopic, "q"), (&topicRecord{appended: 3, holes: 4}).encode()), driver.ErrCorrupt},
		"another topic configured": {set(tableKey(tagConfig, "x"), (&configRecord{}).encode()), driver.ErrCorrupt},
		"a later configuration":    {set(tableKey(tagConfig, "q"), []byte{9}), driver.ErrVersion},
		"a later topic":            {set(tableKey(tagTopic, "q"), []byte{9}), driver.ErrVersion},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			set := settings{fs: vfs.NewMem(), reserve: 1}
			e := mustOpen(t, "db", set)
			makeQueue(t, e, "q")
			ids := publish(t, e, "q", bodies(0, 10)...)
			publish(t, e, "q", delayed("d", maxTestDelay))
			fetch(t, e, "q", workers, "c", 4)
			settle(t, e, "q", workers, "c", each(driver.Acknowledge, ids[0], ids[2])...)
			b := e.db.NewBatch()
			if err := errors.Join(c.damage(b, ids), b.Commit(pebble.Sync)); err != nil {
				t.Fatal(err)
			}
			shut(t, e)
			e, err := openEngine("db", quiet(set))
			if err == nil {
				_, err = e.Topic(t.Context(), "q")
				shut(t, e)
			}
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

const maxTestDelay = 1 << 40 // a quarter of an hour
