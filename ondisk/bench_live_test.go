package ondisk

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// BenchmarkBroadcast hands a body to listeners that put it into a channel, as
// those of a bus do; beside it, the bare channels.
func BenchmarkBroadcast(b *testing.B) {
	body := make([]byte, 100)
	for _, count := range []int{0, 1, 100, 10_000} {
		channels := make([]chan []byte, count)
		for i := range channels {
			channels[i] = make(chan []byte, 1)
		}
		b.Run(fmt.Sprintf("beck/listeners=%d", count), func(b *testing.B) {
			e := open(b, "db", inMemory())
			for _, c := range channels {
				if _, err := e.Listen(b.Context(), "room.*", driver.Listener{Receive: func(_ string, body []byte) {
					passOn(c, body)
				}}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				if n, err := e.Broadcast(b.Context(), "room.1", body); n != count || err != nil {
					b.Fatal(n, err)
				}
			}
			report(b, b.N*max(1, count))
		})
		b.Run(fmt.Sprintf("bare/listeners=%d", count), func(b *testing.B) {
			for b.Loop() {
				for _, c := range channels {
					passOn(c, body)
				}
			}
			report(b, b.N*max(1, count))
		})
	}
}

// passOn keeps the newest body in a channel.
func passOn(c chan []byte, body []byte) {
	select {
	case <-c:
	default:
	}
	c <- body
}

// BenchmarkRequest asks repliers that answer on goroutines of their own; beside
// it, two channels.
func BenchmarkRequest(b *testing.B) {
	const repliers = 4
	ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
	defer cancel()
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("beck/callers=%d", callers), func(b *testing.B) {
			e := open(b, "db", inMemory())
			requests := make(chan driver.Request, callers)
			defer close(requests)
			for range repliers {
				serve(b, e, "s", func(q driver.Request) { requests <- q })
				go func() {
					for q := range requests {
						_ = q.Answer(ctx, driver.Answer{Body: q.Message.Body})
					}
				}()
			}
			m := driver.Message{Body: make([]byte, 100)}
			b.ReportAllocs()
			inParallel(b, callers, 1, func() {
				if _, err := e.Request(ctx, "s", m); err != nil {
					b.Error(err)
				}
			})
		})
		b.Run(fmt.Sprintf("bare/callers=%d", callers), func(b *testing.B) {
			type request struct {
				body   []byte
				answer chan []byte
			}
			requests := make(chan request, callers)
			defer close(requests)
			for range repliers {
				go func() {
					for q := range requests {
						q.answer <- q.body
					}
				}()
			}
			body := make([]byte, 100)
			b.ReportAllocs()
			inParallel(b, callers, 1, func() {
				q := request{body, make(chan []byte, 1)}
				requests <- q
				<-q.answer
			})
		})
	}
}
