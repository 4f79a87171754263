package ondisk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/beckmq/beck/internal/driver"
)

// Each benchmark of the engine stands beside one of bare Pebble that stores as
// much: synced batches with a key of 20 bytes and a value of 100 for a message.

const benchBatch = 100

func benchMessages(n int) []driver.Message {
	list := make([]driver.Message, n)
	for i := range list {
		list[i].Body = bytes.Repeat([]byte("x"), 100)
	}
	return list
}

func BenchmarkPublishBatches(b *testing.B) {
	for _, callers := range []int{1, 16} {
		b.Run(fmt.Sprintf("beck/callers=%d", callers), func(b *testing.B) {
			e := open(b, b.TempDir(), settings{})
			messages := benchMessages(benchBatch)
			inParallel(b, callers, benchBatch, func() {
				publish(b, e, "topic", messages...)
			})
		})
		b.Run(fmt.Sprintf("bare/callers=%d", callers), func(b *testing.B) {
			benchBare(b, callers, benchBatch)
		})
	}
}

func BenchmarkPublishOne(b *testing.B) {
	const callers = 512
	b.Run("beck", func(b *testing.B) {
		e := open(b, b.TempDir(), settings{})
		messages := benchMessages(1)
		inParallel(b, callers, 1, func() { publish(b, e, "topic", messages...) })
	})
	b.Run("bare", func(b *testing.B) { benchBare(b, callers, 1) })
}

func BenchmarkRead(b *testing.B) {
	const total = 200_000
	e := open(b, b.TempDir(), settings{})
	for range total / 1000 {
		publish(b, e, "topic", benchMessages(1000)...)
	}
	b.Run("beck", func(b *testing.B) {
		read := 0
		from := driver.Position{}
		for b.Loop() {
			p, err := e.Read(b.Context(), "topic", from, 1000)
			if err != nil {
				b.Fatal(err)
			}
			read += len(p.Messages)
			from = driver.Position{}
			if p.More {
				from = driver.Position{Kind: driver.AtID, ID: p.Messages[len(p.Messages)-1].ID}
			}
		}
		report(b, read)
	})
	b.Run("bare", func(b *testing.B) {
		read := 0
		for b.Loop() {
			prefix := tableKey(tagMessage, "topic")
			iter, err := e.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: rangeEnd(prefix)})
			if err != nil {
				b.Fatal(err)
			}
			for ok := iter.First(); ok; ok = iter.Next() {
				_ = bytes.Clone(iter.Value())
				read++
			}
			iter.Close()
		}
		report(b, read)
	})
}

// BenchmarkConsume fetches and acknowledges portions of 100; the bare minimum
// beside it reads them, and writes and deletes a small record for each.
func BenchmarkConsume(b *testing.B) {
	for _, consumers := range []int{1, 8} {
		b.Run(fmt.Sprintf("beck/consumers=%d", consumers), func(b *testing.B) {
			e := open(b, b.TempDir(), settings{})
			join(b, e, "topic", "s", driver.JoinConfig{})
			for range b.N/10 + 1 {
				publish(b, e, "topic", benchMessages(benchBatch*10)...)
			}
			var next atomic.Int64
			names := make([]string, consumers)
			for i := range names {
				names[i] = fmt.Sprint("c", i)
			}
			var taken atomic.Int64
			b.ResetTimer()
			inParallelIndexed(b, consumers, func(i int) {
				f := fetch(b, e, "topic", "s", names[i], benchBatch)
				taken.Add(int64(len(f.Messages)))
				list := make([]driver.Settlement, len(f.Messages))
				for j, m := range f.Messages {
					list[j] = driver.Settlement{ID: m.ID, Do: driver.Acknowledge}
				}
				settle(b, e, "topic", "s", names[i], list...)
				next.Add(1)
			})
			report(b, int(taken.Load()))
		})
	}
	b.Run("bare", benchBareConsume)
}

func benchBareConsume(b *testing.B) {
	db := bareDB(b)
	record := bytes.Repeat([]byte("r"), 20)
	n := 0
	for b.Loop() {
		for _, remove := range []bool{false, true} {
			batch := db.NewBatch()
			for i := range benchBatch {
				key := bareKey(uint64(n*benchBatch + i))
				if remove {
					_ = batch.Delete(key, nil)
				} else {
					_ = batch.Set(key, record, nil)
				}
			}
			if err := batch.Commit(pebble.Sync); err != nil {
				b.Fatal(err)
			}
		}
		n++
	}
	report(b, n*benchBatch)
}

func benchBare(b *testing.B, callers, size int) {
	db := bareDB(b)
	value := bytes.Repeat([]byte("x"), 100)
	var last atomic.Uint64
	inParallel(b, callers, size, func() {
		batch := db.NewBatch()
		for range size {
			_ = batch.Set(bareKey(last.Add(1)), value, nil)
		}
		if err := batch.Commit(pebble.Sync); err != nil {
			b.Error(err)
		}
	})
}

func bareKey(n uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 12, 20), n)
}

func bareDB(b *testing.B) *pebble.DB {
	set := quiet(settings{})
	set.setDefaults()
	e := &engine{dir: b.TempDir()}
	e.stamps = stampFiles{fs: set.fs, dir: e.dir}
	if err := makeDir(set.fs, e.stamps.path(storeName)); err != nil {
		b.Fatal(err)
	}
	options := e.storeOptions(set, nil, false)
	db, err := pebble.Open(e.stamps.path(storeName), options)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	return db
}

// inParallel has callers do something b.N times altogether; each time counts as
// so many messages.
func inParallel(b *testing.B, callers, messages int, do func()) {
	b.ResetTimer()
	inParallelIndexed(b, callers, func(int) { do() })
	report(b, b.N*messages)
}

func inParallelIndexed(b *testing.B, callers int, do func(caller int)) {
	left := atomic.Int64{}
	left.Store(int64(b.N))
	done := make(chan struct{})
	for i := range callers {
		go func() {
			for left.Add(-1) >= 0 {
				do(i)
			}
			done <- struct{}{}
		}()
	}
	for range callers {
		<-done
	}
}

func report(b *testing.B, messages int) {
	b.ReportMetric(float64(messages)/b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkWork pushes portions of 100 to a queue, fetches and acknowledges them;
// beside it the same on a topic, which keeps them.
func BenchmarkWork(b *testing.B) {
	for _, queue := range []bool{false, true} {
		b.Run(fmt.Sprintf("queue=%v", queue), func(b *testing.B) {
			e := open(b, b.TempDir(), settings{})
			join(b, e, "topic", driver.QueueSubscription, driver.JoinConfig{Queue: queue})
			messages := benchMessages(benchBatch)
			inParallel(b, 8, benchBatch, func() {
				publish(b, e, "topic", messages...)
				f := fetch(b, e, "topic", driver.QueueSubscription, "c", benchBatch)
				settle(b, e, "topic", driver.QueueSubscription, "c", each(driver.Acknowledge, idsOf(f.Messages)...)...)
			})
		})
	}
}
