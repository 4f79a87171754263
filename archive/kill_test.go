package archive

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/server"
	"github.com/beckmq/beck/onhttp"
)

// The test binary is started again as an archiver that can be killed.
const (
	childServer = "BECK_TEST_SERVER"
	childDir    = "BECK_TEST_DIR"
	childHow    = "BECK_TEST_HOW" // "gzip", "crash"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(childServer); url != "" {
		beChild(url, os.Getenv(childDir), os.Getenv(childHow))
		return
	}
	goleak.VerifyTestMain(m)
}

func beChild(url, dir, how string) {
	bus, err := onhttp.Open(url, nil)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	o := &Options{Gzip: strings.Contains(how, "gzip"), MaxSize: 200_000, Logger: quiet}
	if strings.Contains(how, "crash") {
		o.disk = losing(3 + rand.IntN(12))
	}
	fmt.Println(Run(context.Background(), bus, "orders", "files", dir, o))
	os.Exit(1)
}

// losing is a disk whose machine loses power at a sync: of what was not synced
// before, some is there afterwards, and some may be as if never written.
func losing(syncs int) *disk {
	d := realDisk()
	synced := map[string]int64{}
	d.sync = func(f *os.File) error {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if syncs--; syncs == 0 {
			kept := synced[f.Name()]
			if fresh := info.Size() - kept; fresh > 0 {
				kept += rand.Int64N(fresh + 1)
			}
			os.Truncate(f.Name(), kept)
			if rand.IntN(2) == 0 { // of the size that it had, without the content
				os.Truncate(f.Name(), kept+rand.Int64N(info.Size()-kept+1))
			}
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		synced[f.Name()] = info.Size()
		return f.Sync()
	}
	return d
}

func serve(t testing.TB, bus *beck.Bus) (url string) {
	t.Helper()
	s, err := server.New(bus, &server.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := server.Listen(t.Context(), "127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer cancel()
		s.Shutdown(ctx)
		<-served
	})
	return "http://" + listener.Addr().String()
}

func TestKilledUnderLoad(t *testing.T) {
	for _, how := range []string{"plain", "gzip", "plain crash", "gzip crash"} {
		t.Run(how, func(t *testing.T) {
			bus, dir := openDisk(t), t.TempDir()
			url := serve(t, bus)
			publish(t, bus, 0, 100)
			loading, stop := context.WithCancel(t.Context())
			var load sync.WaitGroup
			published := 100
			load.Go(func() {
				for loading.Err() == nil {
					publish(t, bus, published, 150)
					published += 150
					time.Sleep(15 * time.Millisecond)
				}
			})
			const kills = 5
			for range kills {
				kill(t, bus, url, dir, how)
			}
			stop()
			load.Wait()
			o := Options{Gzip: strings.Contains(how, "gzip"), Consumer: consumerName(dir)}
			if err := untilEnd(t, bus, dir, o); err != nil {
				t.Fatal(err)
			}
			lost, repeated := compare(t, bus, dir)
			t.Logf("%d published, %d files, killed %d times: %d lost, %d repeated", published, len(names(t, dir)), kills, lost, repeated)
			if lost != 0 {
				t.Errorf("%d of %d messages are lost", lost, published)
			}
			if repeated > kills*beck.MaxFetch {
				t.Errorf("%d are repeated, more than a batch for each kill", repeated)
			}
			damaged, _ := filepath.Glob(filepath.Join(dir, "*.damaged"))
			if len(damaged) > 0 {
				t.Errorf("taken for damage: %v", damaged)
			}
		})
	}
}

// kill runs an archiver for a while and kills it, if it doesn't do that itself.
// What it has acknowledged meanwhile must be readable at any time.
func kill(t *testing.T, bus *beck.Bus, url, dir, how string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childServer+"="+url, childDir+"="+dir, childHow+"="+how)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	before := size(t, dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	await(t, "the archiver to write", func() bool {
		select {
		case <-ended:
			return true
		default:
			return size(t, dir) > before
		}
	})
	readable(t, bus, dir)
	wait := time.Duration(rand.IntN(150)) * time.Millisecond
	if strings.Contains(how, "crash") {
		wait = 10 * time.Second
	}
	select {
	case <-ended:
	case <-time.After(wait):
		cmd.Process.Kill()
		<-ended
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the archiver ended by itself: %v: %s", cmd.ProcessState, out.String())
	}
	readable(t, bus, dir)
}

// readable checks that what is acknowledged can be read in the files.
func readable(t *testing.T, bus *beck.Bus, dir string) {
	t.Helper()
	info, err := bus.Topic(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	s := info.Subscriptions[0]
	acknowledged := info.Length - s.Lag - s.Pending - s.Waiting
	found := map[string]bool{}
	for _, line := range readAll(t, dir) {
		found[idOf(line)] = true
	}
	if int64(len(found)) < acknowledged {
		t.Errorf("%d are acknowledged, and %d can be read", acknowledged, len(found))
	}
}

// size is that of all files.
func size(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	for _, name := range names(t, dir) {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil {
			bytes += info.Size()
		}
	}
	return bytes
}
