package onredis

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck/internal/driver"
)

const benchBody = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"

func batchOf(n int) []driver.Message {
	list := make([]driver.Message, n)
	for i := range list {
		list[i].Body = []byte(benchBody)
	}
	return list
}

func bareAdd(c rueidis.Client) rueidis.Completed {
	return c.B().Xadd().Key("bare").Id("*").FieldValue().FieldValue("body", benchBody).Build()
}

// BenchmarkAppendBatch publishes batches of 100 from 8 goroutines.
func BenchmarkAppendBatch(b *testing.B) {
	e, _ := start(b)
	batch := batchOf(100)
	b.Run("beck", func(b *testing.B) {
		parallel(b, 8, 100, func() error { _, err := e.Append(b.Context(), "bench", batch); return err })
	})
	b.Run("bare", func(b *testing.B) {
		parallel(b, 8, 100, func() error {
			cmds := make([]rueidis.Completed, 100)
			for i := range cmds {
				cmds[i] = bareAdd(e.work.one.client)
			}
			for _, r := range e.work.one.client.DoMulti(b.Context(), cmds...) {
				if r.Error() != nil {
					return r.Error()
				}
			}
			return nil
		})
	})
}

// BenchmarkAppendSingle publishes single messages from 512 goroutines.
func BenchmarkAppendSingle(b *testing.B) {
	e, _ := start(b)
	one := batchOf(1)
	b.Run("beck", func(b *testing.B) {
		parallel(b, 512, 1, func() error { _, err := e.Append(b.Context(), "bench", one); return err })
	})
	b.Run("bare", func(b *testing.B) {
		parallel(b, 512, 1, func() error { return e.work.one.client.Do(b.Context(), bareAdd(e.work.one.client)).Error() })
	})
}

// BenchmarkFetchAndAck takes and acknowledges 500 at a time.
func BenchmarkFetchAndAck(b *testing.B) {
	const n = 500
	e, _ := start(b)
	ctx := context.Background()
	fill := func(b *testing.B, topic string) {
		for range b.N + 1 {
			if _, err := e.Append(ctx, topic, batchOf(n)); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("beck", func(b *testing.B) {
		topic := "bench" + time.Now().Format("150405.000000")
		join(b, e, topic, "s", time.Minute)
		fill(b, topic)
		fetch(b, e, topic, "s", "warm", 1) // now the size of messages is known
		b.ResetTimer()
		for range b.N {
			f, err := e.Fetch(ctx, topic, "s", driver.FetchRequest{Consumer: "c", Max: n})
			if err != nil || len(f.Messages) != n {
				b.Fatalf("%d messages, %v", len(f.Messages), err)
			}
			acks := make([]driver.Settlement, n)
			for i := range f.Messages {
				acks[i] = driver.Settlement{ID: f.Messages[i].ID, Do: driver.Acknowledge}
			}
			if _, err := e.Settle(ctx, topic, "s", "c", acks); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "msg/s")
	})
	b.Run("bare", func(b *testing.B) {
		topic := "bare" + time.Now().Format("150405.000000")
		join(b, e, topic, "s", time.Minute)
		fill(b, topic)
		key, c := e.names.stream(topic), e.work.one.client
		b.ResetTimer()
		for range b.N {
			streams, err := c.Do(ctx, c.B().Xreadgroup().Group("s", "c").Count(n).Streams().Key(key).Id(">").Build()).AsXRead()
			if err != nil || len(streams[key]) != n {
				b.Fatalf("%d messages, %v", len(streams[key]), err)
			}
			ids := make([]string, n)
			for i, entry := range streams[key] {
				ids[i] = entry.ID
			}
			if err := c.Do(ctx, c.B().Xack().Key(key).Group("s").Id(ids...).Build()).Error(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "msg/s")
	})
}

// BenchmarkQueue pushes 500 tasks, takes them, and acknowledges them at once. The
// bare commands do as much.
func BenchmarkQueue(b *testing.B) {
	const n = 500
	e, _ := start(b)
	ctx := context.Background()
	c := e.work.one.client
	b.Run("beck", func(b *testing.B) {
		makeQueue(b, e, "bench", time.Minute)
		for range 3 { // then the size of messages is known
			publish(b, e, "bench", benchBody)
			settle(b, e, "bench", workers, "c", driver.Acknowledge, idsOf(fetch(b, e, "bench", workers, "c", 1).Messages)...)
		}
		b.ResetTimer()
		for range b.N {
			if _, err := e.Append(ctx, "bench", batchOf(n)); err != nil {
				b.Fatal(err)
			}
			ids := idsOf(fetch(b, e, "bench", workers, "c", n).Messages)
			if len(ids) != n {
				b.Fatalf("%d messages", len(ids))
			}
			settle(b, e, "bench", workers, "c", driver.Acknowledge, ids...)
		}
		b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "msg/s")
	})
	b.Run("bare", func(b *testing.B) {
		join(b, e, "bare", "s", time.Minute)
		key := e.names.stream("bare")
		b.ResetTimer()
		for range b.N {
			cmds := make([]rueidis.Completed, n)
			for i := range cmds {
				cmds[i] = c.B().Xadd().Key(key).Id("*").FieldValue().FieldValue("body", benchBody).Build()
			}
			for _, r := range c.DoMulti(ctx, cmds...) {
				if r.Error() != nil {
					b.Fatal(r.Error())
				}
			}
			streams, err := c.Do(ctx, c.B().Xreadgroup().Group("s", "c").Count(n).Streams().Key(key).Id(">").Build()).AsXRead()
			if err != nil || len(streams[key]) != n {
				b.Fatalf("%d messages, %v", len(streams[key]), err)
			}
			ids := make([]string, n)
			for i, entry := range streams[key] {
				ids[i] = entry.ID
			}
			for _, r := range c.DoMulti(ctx, c.B().Xack().Key(key).Group("s").Id(ids...).Build(), c.B().Xdel().Key(key).Id(ids...).Build()) {
				if r.Error() != nil {
					b.Fatal(r.Error())
				}
			}
		}
		b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "msg/s")
	})
}

// BenchmarkAppendScripted publishes batches of 100 that go through a script, from 8
// goroutines.
func BenchmarkAppendScripted(b *testing.B) {
	e, _ := start(b)
	for name, set := range map[string]func(m *driver.Message, n int64){
		"plain":  func(*driver.Message, int64) {},
		"delay":  func(m *driver.Message, n int64) { m.Delay = time.Hour },
		"dedupe": func(m *driver.Message, n int64) { m.DedupeID = strconv.FormatInt(n, 10) },
	} {
		var next atomic.Int64
		b.Run(name, func(b *testing.B) {
			parallel(b, 8, 100, func() error {
				batch := batchOf(100)
				for i := range batch {
					set(&batch[i], next.Add(1))
				}
				_, err := e.Append(b.Context(), name, batch)
				return err
			})
		})
	}
	configure(b, e, "bounded", func(c *driver.TopicConfig) { c.MaxMessages = 1000 })
	b.Run("bounded", func(b *testing.B) {
		parallel(b, 8, 100, func() error { _, err := e.Append(b.Context(), "bounded", batchOf(100)); return err })
	})
}

// parallel has goroutines share b.N calls of some messages each.
func parallel(b *testing.B, goroutines, messages int, call func() error) {
	var wg sync.WaitGroup
	work := make(chan struct{}, goroutines)
	for range goroutines {
		wg.Go(func() {
			for range work {
				if err := call(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	wg.Wait()
	b.ReportMetric(float64(b.N*messages)/b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkRequest asks from 64 goroutines, of a replier in another engine.
func BenchmarkRequest(b *testing.B) {
	e, s := start(b)
	other := open(b, s)
	closeAtEnd(b, other)
	serve(b, other, "echo", "")
	b.Run("beck", func(b *testing.B) {
		parallel(b, 64, 1, func() error { _, err := request(e, "echo", benchBody, time.Minute); return err })
	})
	b.Run("bare", func(b *testing.B) { // two commands, one after the other
		c := e.work.one.client
		publish := func() error {
			return c.Do(b.Context(), c.B().Spublish().Channel("bare").Message(benchBody).Build()).Error()
		}
		parallel(b, 64, 1, func() error {
			if err := publish(); err != nil {
				return err
			}
			return publish()
		})
	})
}

// BenchmarkBroadcast has 1000 listeners of one process hear each broadcast.
func BenchmarkBroadcast(b *testing.B) {
	e, _ := start(b)
	var heard sync.WaitGroup
	const listeners = 1000
	for range listeners {
		stop, err := e.Listen(b.Context(), "a.*", driver.Listener{
			Receive: func(string, []byte) { heard.Done() }, Missed: func() { b.Error("something was missed") },
		})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(stop)
	}
	b.ResetTimer()
	heard.Add(listeners * b.N)
	for range b.N {
		if _, err := e.Broadcast(b.Context(), "a.b", []byte(benchBody)); err != nil {
			b.Fatal(err)
		}
	}
	heard.Wait()
	b.ReportMetric(float64(b.N*listeners)/b.Elapsed().Seconds(), "msg/s")
}
