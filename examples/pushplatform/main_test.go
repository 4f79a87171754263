package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/examples/internal/place"
	"github.com/beckmq/beck/internal/redistest"
)

func TestPlatform(t *testing.T) {
	t.Run("disk", func(t *testing.T) { testPlatform(t, "disk:"+t.TempDir()) })
	t.Run("redis", func(t *testing.T) { testPlatform(t, redistest.Start(t).URL()) })
}

func testPlatform(t *testing.T, at string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	bus, err := place.Open(ctx, at)
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close(context.WithoutCancel(ctx))
	if _, err := bus.Join(ctx, "news", "desk", nil); err != nil {
		t.Fatal(err)
	}
	const n = 200
	var ids []string
	for i := range n {
		var out bytes.Buffer
		if err := run(ctx, bus, &out, []string{"publish", "news", fmt.Sprint("item ", i)}); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, strings.TrimSpace(out.String()))
	}

	// One subscriber has read nothing, one is archived.
	dir := filepath.Join(t.TempDir(), "archive")
	running, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	all.Go(func() {
		if err := run(running, bus, nil, []string{"archive", "news", dir}); err != nil && running.Err() == nil {
			t.Error(err)
		}
	})
	for joined := false; !joined && ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		info, err := bus.Topic(ctx, "news")
		if err != nil {
			t.Fatal(err)
		}
		joined = len(info.Subscriptions) == 2
	}
	if err := bus.Confirm(ctx, "news", ids, "archive"); err != nil {
		t.Fatal(err)
	}
	stop()
	all.Wait()

	var shown bytes.Buffer
	if err := run(ctx, bus, &shown, []string{"inspect"}); err != nil {
		t.Fatal(err)
	}
	behind := map[string]string{}
	for _, line := range strings.Split(shown.String(), "\n") {
		if f := strings.Fields(line); len(f) > 4 {
			behind[f[2]] = f[4]
		}
	}
	if behind["desk"] != "200" || behind["archive"] != "0" {
		t.Errorf("desk should be behind by 200, archive by none:\n%s", shown.String())
	}

	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in the archive: %v", err)
	}
	var archived []string
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(content) {
			var m struct{ ID, Body string }
			if err := json.Unmarshal(line, &m); err != nil {
				t.Fatalf("%s: %q: %v", file, line, err)
			}
			archived = append(archived, m.ID)
			if want := fmt.Sprint("item ", len(archived)-1); m.Body != want {
				t.Errorf("%s has %q, not %q", m.ID, m.Body, want)
			}
		}
	}
	if strings.Join(archived, " ") != strings.Join(ids, " ") {
		t.Errorf("%d messages were archived, %d published", len(archived), len(ids))
	}
}

func TestListenerSharesItsName(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	bus, err := place.Open(ctx, "disk:"+t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close(context.WithoutCancel(ctx))
	if _, err := bus.Join(ctx, "news", "desk", nil); err != nil {
		t.Fatal(err)
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	out := &notify{done: stop}
	if _, err := bus.Publish(ctx, "news", beck.Message{Body: []byte("first")}); err != nil {
		t.Fatal(err)
	}
	if err := run(reading, bus, out, []string{"listen", "news", "desk"}); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(out.text, " first\n") {
		t.Errorf("the listener printed %q", out.text)
	}
}

// notify calls done after the first write.
type notify struct {
	text string
	done func()
}

func (n *notify) Write(p []byte) (int, error) {
	n.text += string(p)
	n.done()
	return len(p), nil
}
