package tracing_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/ondisk"
	"github.com/beckmq/beck/tracing"
)

func Example() {
	dir, err := os.MkdirTemp("", "beck")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	// In a program, the provider has an exporter, and is given to
	// otel.SetTracerProvider; the options may be nil then.
	spans := tracetest.NewSpanRecorder()
	o := &tracing.Options{TracerProvider: trace.NewTracerProvider(trace.WithSpanProcessor(spans))}

	bus, err := ondisk.Open(dir, &ondisk.Options{Options: beck.Options{Publishing: tracing.Publishing(o)}})
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close(context.Background())
	ctx, stop := context.WithCancel(context.Background())
	bus.Publish(ctx, "orders", beck.Message{Body: []byte("42")})

	charge := func(ctx context.Context, m *beck.Message) error {
		stop()
		return nil
	}
	if err := bus.Subscribe(ctx, "orders", "billing", tracing.Handler(o)(charge), nil); err != nil {
		log.Fatal(err)
	}
	sent, handled := spans.Ended()[0], spans.Ended()[1]
	fmt.Println(sent.Name(), "-", sent.SpanKind())
	fmt.Println(handled.Name(), "-", handled.SpanKind())
	fmt.Println("one trace:", handled.Parent().SpanID() == sent.SpanContext().SpanID())
	// Output:
	// publish orders - producer
	// process orders - consumer
	// one trace: true
}
