package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Disk is the bare minimum for the disk engine: Pebble, with synced batches.
type Disk struct {
	dir  string
	db   *pebble.DB
	next atomic.Uint64
}

// readBatch is how many messages are read, leased or acknowledged at once.
const readBatch = 1000

// NewDisk opens a database in a new directory beside dir, so that it is on the
// same disk.
func NewDisk(dir string) (*Disk, error) {
	parent := filepath.Dir(filepath.Clean(dir))
	own, err := os.MkdirTemp(parent, ".beck-bench-")
	if err != nil {
		return nil, err
	}
	db, err := pebble.Open(own, &pebble.Options{Logger: quiet{}})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(own))
	}
	return &Disk{dir: own, db: db}, nil
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(string, ...any) {}

// key makes keys as long as beck's: a table, a name, an id.
func key(table byte, n uint64) []byte {
	k := append(make([]byte, 0, 40), table)
	k = append(k, "bench-ABCDEFGH-stored"...)
	k = binary.BigEndian.AppendUint64(k, uint64(time.Now().UnixMilli()))
	return binary.BigEndian.AppendUint64(k, n)
}

// Publish implements Bare.
func (d *Disk) Publish(stop context.Context, publishers, batch int, body []byte) (int, error) {
	return each(stop, publishers, func() (int, error) {
		b := d.db.NewBatch()
		defer b.Close()
		for range batch {
			if err := b.Set(key('p', d.next.Add(1)), body, nil); err != nil {
				return 0, err
			}
		}
		return batch, b.Commit(pebble.Sync)
	})
}

// Prepare implements Bare.
func (d *Disk) Prepare(_ context.Context, _ string, n int, body []byte) error {
	for n > 0 {
		b := d.db.NewBatch()
		for range min(n, readBatch) {
			if err := b.Set(binary.BigEndian.AppendUint64([]byte("m"), d.next.Add(1)), body, nil); err != nil {
				return err
			}
		}
		if err := b.Commit(pebble.Sync); err != nil {
			return err
		}
		n -= readBatch
	}
	return nil
}

// Follow implements Bare.
func (d *Disk) Follow(context.Context, string) (int, error) {
	n := 0
	err := d.pages('m', func(_, bodies [][]byte) error {
		n += len(bodies)
		return nil
	})
	return n, err
}

// pages reads a table, as copies, as beck has to.
func (d *Disk) pages(table byte, do func(keys, bodies [][]byte) error) error {
	iter, err := d.db.NewIter(&pebble.IterOptions{LowerBound: []byte{table}, UpperBound: []byte{table + 1}})
	if err != nil {
		return err
	}
	defer iter.Close()
	for valid := iter.First(); valid; {
		var keys, bodies [][]byte
		for ; valid && len(keys) < readBatch; valid = iter.Next() {
			body, err := iter.ValueAndErr()
			if err != nil {
				return err
			}
			keys = append(keys, append([]byte(nil), iter.Key()...))
			bodies = append(bodies, append([]byte(nil), body...))
		}
		if err := do(keys, bodies); err != nil {
			return err
		}
	}
	return iter.Error()
}

// Subscribe implements Bare: a record for each lease, removed by its
// acknowledgement.
func (d *Disk) Subscribe(context.Context, string) (int, error) {
	n := 0
	err := d.pages('m', func(keys, _ [][]byte) error {
		lease, ack := d.db.NewBatch(), d.db.NewBatch()
		for _, k := range keys {
			if err := errors.Join(lease.Set(pending(k), []byte("consumer, attempt"), nil), ack.Delete(pending(k), nil)); err != nil {
				return err
			}
		}
		n += len(keys)
		return errors.Join(lease.Commit(pebble.Sync), ack.Commit(pebble.Sync))
	})
	return n, err
}

// Queue implements Bare: tasks are leased by a record each, and removed with it, a
// page by two ranges.
func (d *Disk) Queue(ctx context.Context, n int, body []byte) (int, error) {
	err := inBatches(ctx, n, func(size int) error {
		b := d.db.NewBatch()
		defer b.Close()
		for range size {
			if err := b.Set(key('q', d.next.Add(1)), body, nil); err != nil {
				return err
			}
		}
		return b.Commit(pebble.Sync)
	})
	if err != nil {
		return 0, err
	}
	done := 0
	err = d.pages('q', func(keys, _ [][]byte) error {
		lease, ack := d.db.NewBatch(), d.db.NewBatch()
		for _, k := range keys {
			if err := lease.Set(pending(k), []byte("consumer, attempt"), nil); err != nil {
				return err
			}
		}
		first, behind := keys[0], append(keys[len(keys)-1], 0)
		done += len(keys)
		return errors.Join(
			ack.DeleteRange(first, behind, nil), ack.DeleteRange(pending(first), pending(behind), nil),
			lease.Commit(pebble.Sync), ack.Commit(pebble.Sync))
	})
	return done, err
}

func pending(key []byte) []byte { return append([]byte("s"), key...) }

// Delays implements Bare: a synced write, and a channel.
func (d *Disk) Delays(stop context.Context, tick time.Duration, body []byte) ([]time.Duration, error) {
	delivered := make(chan []byte, 1<<16)
	n, err := ticking(stop, tick, func() error {
		b := stamped(body)
		if err := d.db.Set(key('d', d.next.Add(1)), b, pebble.Sync); err != nil {
			return err
		}
		binary.BigEndian.PutUint64(b, uint64(sinceStamp(b)))
		delivered <- b
		return nil
	})
	var delays []time.Duration
	for range min(n, len(delivered)) {
		delays = append(delays, time.Duration(binary.BigEndian.Uint64(<-delivered)))
	}
	return delays, err
}

// Commands implements Bare.
func (d *Disk) Commands(context.Context) int64 { return 0 }

// Close implements Bare.
func (d *Disk) Close() error { return errors.Join(d.db.Close(), os.RemoveAll(d.dir)) }
