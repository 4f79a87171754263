package torture

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/cli"
	"github.com/beckmq/beck/onhttp"
	"github.com/beckmq/beck/onredis"
)

const (
	roleVariable  = "BECK_TORTURE_ROLE"
	serveVariable = "BECK_TORTURE_SERVE"
)

// TestMain has this program be one of the processes of a run.
func TestMain(m *testing.M) {
	if args := os.Getenv(serveVariable); args != "" {
		// A file that may not grow is an error to the server, and not its end.
		signal.Ignore(syscall.SIGXFSZ)
		os.Args = append([]string{"beck", "serve"}, strings.Split(args, "\n")...)
		os.Exit(cli.Main())
	}
	text := os.Getenv(roleVariable)
	if text == "" {
		os.Exit(m.Run())
	}
	r, err := ParseRole(text)
	if err != nil {
		panic(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fmt.Println("ready")
	if err := r.Run(ctx, opener(r.At, os.Stderr)); err != nil {
		fmt.Fprintln(os.Stderr, r.Process, err)
		os.Exit(1)
	}
}

// opener opens a bus at an address.
func opener(at string, log io.Writer) func(context.Context) (*beck.Bus, error) {
	common := beck.Options{Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	return func(ctx context.Context) (*beck.Bus, error) {
		if strings.HasPrefix(at, "http") {
			return onhttp.Open(at, &onhttp.Options{Options: common})
		}
		return onredis.Open(ctx, at, &onredis.Options{Options: common})
	}
}

// openBus opens one for the test itself, and tries for a while.
func openBus(t testing.TB, at string, log io.Writer) *beck.Bus {
	t.Helper()
	open := opener(at, log)
	begin := time.Now()
	bus, err := open(t.Context())
	for err != nil && time.Since(begin) < 20*time.Second {
		time.Sleep(100 * time.Millisecond)
		bus, err = open(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close(context.WithoutCancel(t.Context())) })
	return bus
}
