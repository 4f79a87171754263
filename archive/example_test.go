package archive_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/archive"
	"github.com/beckmq/beck/ondisk"
)

func ExampleRun() {
	ctx := context.Background()
	data, err := os.MkdirTemp("", "beck")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(data)
	bus, err := ondisk.Open(filepath.Join(data, "engine"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close(ctx)
	bus.Publish(ctx, "orders", beck.Message{Key: "42", Body: []byte(`paid`)}, beck.Message{Body: []byte("shipped")})

	// Without UntilEnd it goes on until ctx ends.
	err = archive.Run(ctx, bus, "orders", "archive", filepath.Join(data, "files"), &archive.Options{
		UntilEnd: true, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		log.Fatal(err)
	}

	files, _ := filepath.Glob(filepath.Join(data, "files", "orders.*.jsonl"))
	text, _ := os.ReadFile(files[0])
	fmt.Println(len(files), "file,", strings.Count(string(text), "\n"), "lines")
	fmt.Println(strings.Contains(string(text), `"topic":"orders","key":"42"`))
	// Output:
	// 1 file, 2 lines
	// true
}
