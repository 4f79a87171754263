package acceptance

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beckmq/beck"
)

const (
	taskLease = 2 * time.Second
	taskTime  = 200 * time.Microsecond
)

// work handles tasks with two workers, and writes down each before it is
// acknowledged.
func work(ctx context.Context, bus *beck.Bus, r role) error {
	file, err := os.OpenFile(r.File, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	var mu sync.Mutex
	return bus.Work(ctx, "tasks", func(_ context.Context, m *beck.Message) error {
		time.Sleep(taskTime)
		mu.Lock()
		defer mu.Unlock()
		_, err := fmt.Fprintf(file, "%s %d\n", m.Body, m.Attempt)
		return err
	}, &beck.SubscribeOptions{Concurrency: 2, Lease: taskLease})
}

// Every task is done; only those that a killed process held are done twice; and
// the queue takes no more memory than before.
func TestTasksSurviveTheirWorkers(t *testing.T) {
	onEach(t, func(t *testing.T, d deployment) {
		bus := open(t, d)
		n := sized(5_000, 100_000)
		dir := t.TempDir()
		// One task first, so that what Redis keeps for good is there: scripts, and
		// the buffers of connections.
		tasks(t, bus, 1)
		first := start(t, role{Name: "work", At: d.at, File: filepath.Join(dir, "first")})
		await(t, "the first task is done", 20*time.Second, func() bool { return left(t, bus) == 0 })
		first.end()
		before := memory(d)

		begin := time.Now()
		tasks(t, bus, n)
		var workers []*process
		for i := range 4 {
			workers = append(workers, start(t, role{Name: "work", At: d.at, File: filepath.Join(dir, fmt.Sprint("worker", i))}))
		}
		await(t, "a third is done", time.Minute, func() bool { return left(t, bus) < int64(n)*2/3 })
		workers[0].kill()
		workers[1].kill()
		await(t, "the queue is empty", 2*time.Minute, func() bool { return left(t, bus) == 0 })
		took := time.Since(begin)
		for _, w := range workers {
			w.end()
		}

		done, twice, explained := map[string]int{}, 0, 0
		byKilled := map[string]bool{}
		for i := range workers {
			for _, line := range lines(t, filepath.Join(dir, fmt.Sprint("worker", i))) {
				task, attempt, _ := strings.Cut(line, " ")
				if done[task]++; done[task] > 1 {
					twice++
				}
				if i < 2 {
					byKilled[task] = true
				} else if attempt != "1" && byKilled[task] {
					explained++
				}
			}
		}
		for i := range n {
			if done[strconv.Itoa(i)] == 0 {
				t.Errorf("task %d was never done", i)
			}
		}
		if len(byKilled) == 0 {
			t.Error("the processes were killed before they had done anything")
		}
		if twice != explained {
			t.Errorf("%d tasks were done twice, %d of them because a killed process held them", twice, explained)
		}
		after := memory(d)
		if d.redis != nil && float64(after) > 1.05*float64(before) {
			t.Errorf("Redis took %d bytes before, and takes %d after", before, after)
		}
		t.Logf("%d tasks done in %.1f s by 8 workers in 4 processes, 2 of them killed; %d done twice, all of them held at the kill",
			len(done), took.Seconds(), twice)
		if d.redis != nil {
			t.Logf("Redis took %d bytes before, and takes %d after", before, after)
		}
	})
}

func tasks(t *testing.T, bus *beck.Bus, n int) {
	t.Helper()
	for from := 0; from < n; from += 1000 {
		batch := make([]beck.Message, min(1000, n-from))
		for i := range batch {
			batch[i].Body = strconv.AppendInt(nil, int64(from+i), 10)
		}
		if _, err := bus.Push(t.Context(), "tasks", batch...); err != nil {
			t.Fatal(err)
		}
	}
}

func left(t *testing.T, bus *beck.Bus) int64 {
	t.Helper()
	info, err := bus.Topic(t.Context(), "tasks")
	if err != nil {
		t.Fatal(err)
	}
	return info.Length
}

// memory is what Redis's data takes, in bytes; 0 on disk.
func memory(d deployment) int64 {
	if d.redis == nil {
		return 0
	}
	d.redis.Do("MEMORY", "PURGE")
	for line := range strings.Lines(d.redis.Do("INFO", "memory")) {
		if text, ok := strings.CutPrefix(line, "used_memory_dataset:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
			return n
		}
	}
	return 0
}

// lines reads the whole lines of a file: a process that is killed may leave a part
// of one.
func lines(t *testing.T, file string) []string {
	t.Helper()
	content, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	content = content[:bytes.LastIndexByte(content, '\n')+1]
	return strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
}
