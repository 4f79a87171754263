package bench_test

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/bench"
	"github.com/beckmq/beck/internal/redistest"
	"github.com/beckmq/beck/ondisk"
	"github.com/beckmq/beck/onredis"
)

// small makes a run of well under a second.
var small = bench.Options{Time: 50 * time.Millisecond, Messages: 2500, Rounds: 1, Rate: 200}

func TestDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	bus, err := ondisk.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := bench.NewDisk(dir)
	if err != nil {
		t.Fatal(err)
	}
	measures(t, bus, bare, false)
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), ".beck-bench-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestRedis(t *testing.T) {
	server := redistest.Start(t)
	bus, err := onredis.Open(t.Context(), server.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := bench.NewRedis(server.URL(), "beck:")
	if err != nil {
		t.Fatal(err)
	}
	measures(t, bus, bare, true)
	if keys := server.Do("DBSIZE"); keys != "0" && server.Do("KEYS", "*bench-bare*") != "" {
		t.Errorf("left behind: %s", server.Do("KEYS", "*"))
	}
}

// alone is what has no bare minimum on any engine.
var alone = []string{"broadcast to 100 listeners, deliveries"}

func measures(t *testing.T, bus *beck.Bus, bare bench.Bare, commands bool) {
	t.Helper()
	defer bus.Close(context.WithoutCancel(t.Context()))
	report, err := bench.Run(t.Context(), bus, bare, small)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, row := range report.Rows {
		names = append(names, row.Name)
		if row.Beck <= 0 {
			t.Errorf("not measured: %+v", row)
		}
		if !slices.Contains(alone, row.What) && row.Name != "delayed" && (commands || row.Name != "request" && row.Name != "broadcast") && row.Ratio <= 0 {
			t.Errorf("no bare measurement: %+v", row)
		}
		if commands && row.Unit == "msg/s" && !slices.Contains(alone, row.What) && row.Commands <= 0 {
			t.Errorf("commands not counted: %+v", row)
		}
	}
	want := []string{"publish", "single", "follow", "subscribe", "queue", "delay", "delay", "delay", "delay",
		"delayed", "delayed", "delayed", "request", "request", "request", "broadcast", "broadcast"}
	if !slices.Equal(names, want) {
		t.Errorf("rows %v, want %v", names, want)
	}
	if err := bare.Close(); err != nil {
		t.Error(err)
	}
	topics, err := bus.Topics(t.Context())
	if err != nil || len(topics) > 0 {
		t.Errorf("topics left: %v, %v", topics, err)
	}
}
