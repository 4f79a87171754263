package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck/examples/internal/place"
	"github.com/beckmq/beck/internal/redistest"
)

func TestAllThreePatterns(t *testing.T) {
	t.Run("disk", func(t *testing.T) { testRun(t, "disk:"+t.TempDir()) })
	t.Run("redis", func(t *testing.T) { testRun(t, redistest.Start(t).URL()) })
}

func testRun(t *testing.T, at string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	bus, err := place.Open(ctx, at)
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close(context.WithoutCancel(ctx))
	var out bytes.Buffer
	if err := run(ctx, bus, &out, 9); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	count := map[string]int{}
	for _, line := range lines {
		who, _, _ := strings.Cut(line, ":")
		count[strings.Fields(who)[0]]++
	}
	// 20 + 7·day mod 17 is 30 or more on days 2, 4, 7.
	if count["archive"] != 9 || count["worker"] != 3 || count["station"] != 1 {
		t.Errorf("archived %d of 9, warned %d times of 3:\n%s", count["archive"], count["worker"], out.String())
	}
}
