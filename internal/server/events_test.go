package server

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beckmq/beck"
)

func TestEvents(t *testing.T) {
	engines(t, func(t *testing.T, r *running) {
		ids := r.publish("orders", "a", "b\nc")
		all := r.follow("/v1/topics/orders/events?from=start")
		if got := all.must(); got.id != "start" || got.data != "" || got.name != "" {
			t.Fatalf("the first block is %+v", got)
		}
		for i, want := range []string{"a", "b\nc"} {
			if got := all.must(); got.id != ids[i] || got.body() != want {
				t.Errorf("block %d is %+v", i, got)
			}
		}
		live := r.follow("/v1/topics/orders/events")
		if got := live.must(); got.id != ids[1] || got.data != "" {
			t.Errorf("the first block is %+v", got)
		}
		id := r.publish("orders", "d")[0]
		for _, e := range []*events{all, live} {
			if got := e.must(); got.id != id || got.body() != "d" {
				t.Errorf("live comes %+v", got)
			}
		}
		// Last-Event-ID wins over from.
		resumed := r.follow("/v1/topics/orders/events?from=start", "Last-Event-ID: "+ids[1])
		resumed.must()
		if got := resumed.must(); got.id != id {
			t.Errorf("resumed with %+v", got)
		}
		if head := all.answer.Header; head.Get("Cache-Control") != "no-store" || head.Get("X-Accel-Buffering") != "no" {
			t.Errorf("head %v", head)
		}
		if status, _, text := r.do("HEAD", "/v1/topics/orders/events", ""); status != 200 || text != "" {
			t.Errorf("HEAD answers %d, %q", status, text)
		}
	})
}

func TestGapEvent(t *testing.T) {
	engines(t, func(t *testing.T, r *running) {
		ids := r.publish("orders", "a", "b", "c", "d")
		if _, err := r.bus.Trim(t.Context(), "orders", beck.FromID(ids[2])); err != nil {
			t.Fatal(err)
		}
		e := r.follow("/v1/topics/orders/events", "Last-Event-ID: "+ids[0])
		if got := e.must(); got.id != ids[0] || got.data != "" {
			t.Errorf("the first block is %+v", got)
		}
		got := e.must()
		if got.name != "gap" || got.id == "" || !strings.Contains(got.data, `{"after":"`+ids[0]+`","resume":"`) {
			t.Errorf("the gap is %+v", got)
		}
		if got := e.must(); got.id != ids[2] || got.body() != "c" {
			t.Errorf("behind the gap comes %+v", got)
		}
		// Who resumes where the gap said misses nothing.
		again := r.follow("/v1/topics/orders/events", "Last-Event-ID: "+got.id)
		again.must()
		for again.must().id != ids[2] {
		}
	})
}

// A client that is cut off again and again has everything once, in order.
func TestResume(t *testing.T) {
	engines(t, func(t *testing.T, r *running) {
		const publishers, each = 3, 200
		var publishing sync.WaitGroup
		for p := range publishers {
			publishing.Go(func() {
				for i := range each {
					if _, err := r.bus.Publish(t.Context(), "orders", beck.Message{Body: fmt.Appendf(nil, "%d %d", p, i)}); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		var next [publishers]int
		last, seen, cuts := "start", 0, 0
		for seen < publishers*each {
			e := r.follow("/v1/topics/orders/events", "Last-Event-ID: "+last)
			for n := range 37 {
				got := e.must()
				if n == 0 || got.comment {
					continue // where it begins
				}
				var p, i int
				if _, err := fmt.Sscan(got.body(), &p, &i); err != nil || got.name != "" || i != next[p] || got.id <= last && last != "start" {
					t.Fatalf("behind %s comes %+v, want %v", last, got, next)
				}
				next[p]++
				last = got.id
				if seen++; seen == publishers*each {
					break
				}
			}
			e.close()
			cuts++
		}
		publishing.Wait()
		if cuts < 10 {
			t.Errorf("cut only %d times", cuts)
		}
	})
}

func TestWake(t *testing.T) {
	engines(t, func(t *testing.T, r *running) {
		e := r.follow("/v1/topics/orders/wake")
		for i := range 5 {
			if got := e.must(); got.name != "wake" {
				t.Errorf("block %d is %+v", i, got)
			}
			r.publish("orders", "x")
		}
	})
}

func TestHeartbeat(t *testing.T) {
	r := start(t, &Options{Heartbeat: 20 * time.Millisecond})
	e := r.follow("/v1/topics/orders/events")
	e.must()
	for range 3 {
		if got := e.must(); !got.comment || got.data != "" {
			t.Errorf("got %+v", got)
		}
	}
	r.publish("orders", "a")
	for {
		if got := e.must(); !got.comment {
			if got.body() != "a" {
				t.Errorf("got %+v", got)
			}
			return
		}
	}
}

// Streams end as whole answers when the server shuts down.
func TestShutdownEndsStreams(t *testing.T) {
	r := start(t, nil)
	id := r.publish("orders", "a")[0]
	streams := []*events{r.follow("/v1/topics/orders/events?from=start"), r.follow("/v1/topics/orders/wake")}
	for _, e := range streams {
		e.must()
	}
	if got := streams[0].must(); got.id != id {
		t.Errorf("got %+v", got)
	}
	began := time.Now()
	if err := r.server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	for _, e := range streams {
		if got, err := e.next(); err != io.EOF {
			t.Errorf("the stream ends with %+v, %v, want EOF", got, err)
		}
	}
}
