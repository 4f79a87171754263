package ondisk

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/beckmq/beck/internal/driver"
)

// A test may start the test binary again: to use a directory at the same time, or
// to be killed.
const childVariable = "BECK_TEST_CHILD_DIRECTORY"

func childDirectory() string { return os.Getenv(childVariable) }

// beChild publishes from several goroutines until it is killed, and says what
// was acknowledged.
func beChild(dir string) {
	e, err := openEngine(dir, quiet(settings{memory: 1 << 20}))
	if err != nil {
		fmt.Println("error", err)
		return
	}
	var print sync.Mutex
	var publishers sync.WaitGroup
	for p := range 8 {
		publishers.Go(func() {
			for i := 0; ; i++ {
				body := fmt.Sprintf("%d.%d", p, i)
				ids, err := e.Append(context.Background(), "a", []driver.Message{{Body: []byte(body)}})
				if err != nil {
					return
				}
				print.Lock()
				fmt.Println(ids[0], body)
				print.Unlock()
			}
		})
	}
	publishers.Wait()
}

func startChild(t *testing.T, dir string) (cmd *exec.Cmd, lines *bufio.Scanner) {
	t.Helper()
	cmd = exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+dir)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

// After kill -9 of a process that publishes, every message that was acknowledged
// is there once, in the order of its id, with its body.
func TestKilledProcess(t *testing.T) {
	dir := t.TempDir()
	acknowledged := map[string]string{}
	for round := range 3 {
		cmd, lines := startChild(t, dir)
		for n := 0; lines.Scan(); n++ {
			id, body, ok := strings.Cut(lines.Text(), " ")
			if !ok || id == "error" {
				t.Fatalf("round %d: %q", round, lines.Text())
			}
			acknowledged[id] = body
			if n == 2000 {
				cmd.Process.Kill()
			}
		}
		_ = cmd.Wait()
	}
	e := open(t, dir, settings{})
	found := readAll(t, e, "a")
	for i, m := range found {
		if i > 0 && m.ID <= found[i-1].ID {
			t.Fatalf("%s comes behind %s", m.ID, found[i-1].ID)
		}
		if body, ok := acknowledged[m.ID]; ok {
			if body != string(m.Body) {
				t.Fatalf("%s holds %q, want %q", m.ID, m.Body, body)
			}
			delete(acknowledged, m.ID)
		}
	}
	if len(acknowledged) > 0 {
		t.Fatalf("%d acknowledged messages are missing", len(acknowledged))
	}
}

func TestSecondProcess(t *testing.T) {
	dir := t.TempDir()
	e := mustOpen(t, dir, settings{})
	cmd, lines := startChild(t, dir)
	if !lines.Scan() || !strings.Contains(lines.Text(), driver.ErrInUse.Error()) || !strings.Contains(lines.Text(), dir) {
		t.Errorf("the second process says %q", lines.Text())
	}
	_ = cmd.Wait()
	shut(t, e)

	cmd, lines = startChild(t, dir)
	lines.Scan()
	_, err := openEngine(dir, quiet(settings{}))
	if !errors.Is(err, driver.ErrInUse) {
		t.Errorf("while another process has it: %v", err)
	}
	cmd.Process.Kill()
	_ = cmd.Wait()
	open(t, dir, settings{})
}

// readAll pages through a topic.
func readAll(t testing.TB, e *engine, topic string) []driver.Message {
	t.Helper()
	page := read(t, e, topic, driver.Position{}, 1000)
	all := page.Messages
	for page.More {
		page = read(t, e, topic, driver.Position{Kind: driver.AtID, ID: all[len(all)-1].ID}, 1000)
		all = append(all, page.Messages[1:]...)
	}
	return all
}
