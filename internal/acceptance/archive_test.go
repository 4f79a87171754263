package acceptance

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/archive"
)

func runArchive(ctx context.Context, bus *beck.Bus, r role) error {
	return archive.Run(ctx, bus, "topic", "archive", r.File, &archive.Options{MaxSize: 256 << 10})
}

// An archive that is killed again and again under load holds every message, whole.
func TestArchiveLosesNothing(t *testing.T) {
	onEach(t, func(t *testing.T, d deployment) {
		bus := open(t, d)
		n, kills := sized(10_000, 100_000), sized(3, 12)
		dir := filepath.Join(t.TempDir(), "archive")
		if _, err := bus.Join(t.Context(), "topic", "archive", &beck.JoinOptions{Lease: taskLease}); err != nil {
			t.Fatal(err)
		}
		var ids []string
		var all sync.WaitGroup
		enough := make(chan struct{})
		all.Go(func() {
			for killing := true; killing || len(ids) < n; {
				select {
				case <-enough:
					killing = false
				default:
				}
				batch := make([]beck.Message, 50)
				for i := range batch {
					batch[i].Body = strconv.AppendInt([]byte("some text before the number "), int64(len(ids)+i), 10)
				}
				got, err := bus.Publish(t.Context(), "topic", batch...)
				if err != nil {
					t.Error(err)
					return
				}
				ids = append(ids, got...)
				time.Sleep(time.Millisecond)
			}
		})
		for range kills {
			p := start(t, role{Name: "archive", At: d.at, File: dir})
			time.Sleep(rand.N(500 * time.Millisecond))
			p.kill()
		}
		last := start(t, role{Name: "archive", At: d.at, File: dir})
		close(enough)
		all.Wait()
		await(t, "all is archived", time.Minute, func() bool {
			info, err := bus.Topic(t.Context(), "topic")
			if err != nil {
				t.Fatal(err)
			}
			s := info.Subscriptions[0]
			return s.Lag == 0 && s.Pending == 0 && s.Waiting == 0
		})
		last.end()

		times := map[string]int{}
		files, err := filepath.Glob(filepath.Join(dir, "*.jsonl*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for line := range bytes.Lines(content) {
				var m struct{ ID, Body string }
				if err := json.Unmarshal(line, &m); err != nil || line[len(line)-1] != '\n' {
					t.Errorf("%s holds the line %q: %v", filepath.Base(file), line, err)
				}
				times[m.ID]++
			}
		}
		lost, repeated := 0, 0
		for _, id := range ids {
			if times[id] == 0 {
				lost++
			}
			repeated += max(0, times[id]-1)
			delete(times, id)
		}
		if lost > 0 || len(times) > 0 {
			t.Errorf("%d messages are lost, %d were never published", lost, len(times))
		}
		slices.Sort(files)
		t.Logf("%d messages in %d files, the archive killed %d times: %d lost, %d repeated", len(ids), len(files), kills, lost, repeated)
	})
}
