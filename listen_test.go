package beck_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/beckmq/beck"
)

// Neither the bus nor a context that goes on keeps what belonged to a Listen that
// has ended.
func TestListenLeavesNothingBehind(t *testing.T) {
	bus, _ := open(t)
	long, cancel := context.WithCancel(t.Context())
	defer cancel()
	for name, listen := range map[string]func(){
		"context ended": func() {
			ctx, cancel := context.WithCancel(t.Context())
			messages := bus.Listen(ctx, "s")
			cancel()
			for range messages {
			}
		},
		"loop left": func() {
			messages := bus.Listen(long, "s")
			if _, err := bus.Broadcast(long, "s", nil); err != nil {
				t.Fatal(err)
			}
			for range messages {
				break
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			const n = 5000
			used := func() int64 {
				for range n {
					listen()
				}
				// What the end of a context begins runs on its own.
				eventually(t, "that is over", func() bool { return runtime.NumGoroutine() < 100 })
				runtime.GC()
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return int64(m.HeapAlloc)
			}
			before := used()
			if each := (used() - before) / n; each > 50 {
				t.Errorf("each Listen leaves %d bytes behind", each)
			}
		})
	}
}

// One who never stops hearing must not keep the bus from being closed.
func TestHearEndsWithTheBus(t *testing.T) {
	bus, _ := open(t)
	stop, err := bus.Hear(t.Context(), "s", func(string, []byte) {}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := bus.Close(ctx); err != nil {
		t.Error(err)
	}
	stop()
}

func TestNoFunctionToServeWith(t *testing.T) {
	bus, _ := open(t)
	if _, err := bus.Hear(t.Context(), "s", nil, func() {}); !errors.Is(err, beck.ErrOption) {
		t.Errorf("Hear without receive: %v", err)
	}
	if _, err := bus.Hear(t.Context(), "s", func(string, []byte) {}, nil); !errors.Is(err, beck.ErrOption) {
		t.Errorf("Hear without missed: %v", err)
	}
	if _, err := bus.Serve(t.Context(), "s", nil); !errors.Is(err, beck.ErrOption) {
		t.Errorf("Serve: %v", err)
	}
}
