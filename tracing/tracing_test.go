package tracing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"testing"
	"time"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/drivertest/model"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// traced returns options whose spans are recorded, and a bus that publishes with
// them.
func traced(t testing.TB, o Options) (*Options, *tracetest.SpanRecorder, *beck.Bus) {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	o.TracerProvider = sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder))
	bus, err := beck.New(model.New(time.Now), &beck.Options{Logger: quiet, Publishing: Publishing(&o), MaxBody: 100})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close(context.WithoutCancel(t.Context())) })
	return &o, recorder, bus
}

func within(t testing.TB) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), 20*time.Second)
}

func attributes(s sdk.ReadOnlySpan) map[string]string {
	all := map[string]string{}
	for _, a := range s.Attributes() {
		all[string(a.Key)] = a.Value.String()
	}
	return all
}

func named(t testing.TB, recorder *tracetest.SpanRecorder, name string) (found []sdk.ReadOnlySpan) {
	t.Helper()
	for _, s := range recorder.Ended() {
		if s.Name() == name {
			found = append(found, s)
		}
	}
	if len(found) == 0 {
		t.Fatalf("there is no span %q", name)
	}
	return found
}

func expect(t testing.TB, s sdk.ReadOnlySpan, want map[string]string) {
	t.Helper()
	if got := attributes(s); !maps.Equal(got, want) {
		t.Errorf("%s has attributes\n%v; want\n%v", s.Name(), got, want)
	}
}

func TestATraceFollowsAMessage(t *testing.T) {
	o, recorder, bus := traced(t, Options{Subscription: "billing"})
	ctx, stop := within(t)
	defer stop()
	ctx, root := o.TracerProvider.Tracer("test").Start(ctx, "root")
	headers := map[string]string{"own": "x"}
	ids, err := bus.Publish(ctx, "orders", beck.Message{Headers: headers, Body: []byte("four")})
	root.End()
	if err != nil {
		t.Fatal(err)
	}
	if len(headers) != 1 {
		t.Errorf("the caller's headers were changed: %v", headers)
	}
	var inside []trace.SpanContext
	handle := Handler(o)(func(ctx context.Context, m *beck.Message) error {
		inside = append(inside, trace.SpanContextFromContext(ctx))
		if m.Headers["own"] != "x" || m.Headers["traceparent"] == "" {
			t.Errorf("headers %v", m.Headers)
		}
		if m.Attempt == 1 {
			return fmt.Errorf("declined: %w", beck.RetryAfter(0))
		}
		stop()
		return nil
	})
	// What Subscribe is called in is not what the message was published in.
	subscribing, other := o.TracerProvider.Tracer("test").Start(context.WithoutCancel(ctx), "other")
	defer other.End()
	subscribing, cancel := context.WithCancel(subscribing)
	context.AfterFunc(ctx, cancel)
	if err := bus.Subscribe(subscribing, "orders", "billing", handle, nil); err != nil {
		t.Fatal(err)
	}

	published := named(t, recorder, "publish orders")[0]
	if published.SpanKind() != trace.SpanKindProducer || published.Parent().SpanID() != root.SpanContext().SpanID() {
		t.Errorf("kind %v, parent %v", published.SpanKind(), published.Parent().SpanID())
	}
	expect(t, published, map[string]string{
		"messaging.system": "beck", "messaging.operation.name": "publish", "messaging.operation.type": "send",
		"messaging.destination.name": "orders", "messaging.message.body.size": "4", "messaging.message.id": ids[0],
	})
	handled := named(t, recorder, "process orders")
	if len(handled) != 2 {
		t.Fatalf("%d spans of the handler", len(handled))
	}
	for i, s := range handled {
		if s.Parent().SpanID() != published.SpanContext().SpanID() || !s.Parent().IsRemote() || s.SpanKind() != trace.SpanKindConsumer {
			t.Errorf("attempt %d: parent %v, kind %v", i+1, s.Parent(), s.SpanKind())
		}
		if s.SpanContext().TraceID() != root.SpanContext().TraceID() || !s.SpanContext().Equal(inside[i]) {
			t.Errorf("attempt %d: the handler ran in another span", i+1)
		}
		want := map[string]string{
			"messaging.system": "beck", "messaging.operation.name": "process", "messaging.operation.type": "process",
			"messaging.destination.name": "orders", "messaging.destination.subscription.name": "billing",
			"messaging.message.body.size": "4", "messaging.message.id": ids[0], "beck.delivery.attempt": fmt.Sprint(i + 1),
		}
		status := codes.Unset
		if i == 0 {
			want["error.type"], status = "*beck.retryAfter", codes.Error
		}
		expect(t, s, want)
		if s.Status().Code != status {
			t.Errorf("attempt %d: status %v", i+1, s.Status())
		}
	}
}

func TestFailuresToPublish(t *testing.T) {
	_, recorder, bus := traced(t, Options{})
	_, err := bus.Publish(t.Context(), "orders", beck.Message{Body: make([]byte, 101)}, beck.Message{Body: []byte("x")})
	if !errors.Is(err, beck.ErrTooLarge) {
		t.Fatal(err)
	}
	s := named(t, recorder, "publish orders")[0]
	expect(t, s, map[string]string{
		"messaging.system": "beck", "messaging.operation.name": "publish", "messaging.operation.type": "send",
		"messaging.destination.name": "orders", "messaging.batch.message_count": "2", "error.type": "too_large",
	})
	if s.Status().Code != codes.Error || len(s.Events()) != 1 {
		t.Errorf("status %v, events %v", s.Status(), s.Events())
	}
}

// What came with an HTTP request may be passed on as it is.
func TestHeadersInAnotherCase(t *testing.T) {
	_, recorder, bus := traced(t, Options{})
	headers := map[string]string{"Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "X": "y"}
	if _, err := bus.Publish(t.Context(), "orders", beck.Message{Headers: headers, Body: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	page, err := bus.Read(t.Context(), "orders", beck.FromStart, 1)
	if err != nil || len(page.Messages) != 1 {
		t.Fatal(page, err)
	}
	span := named(t, recorder, "publish orders")[0].SpanContext()
	want := fmt.Sprintf("00-%s-%s-01", span.TraceID(), span.SpanID())
	if got := page.Messages[0].Headers; got["traceparent"] != want || got["x"] != "y" || len(headers) != 2 {
		t.Errorf("headers %v, want the traceparent %s", got, want)
	}
}

func TestNewTraces(t *testing.T) {
	o, recorder, bus := traced(t, Options{NewTraces: true})
	ctx, stop := within(t)
	defer stop()
	if _, err := bus.Push(ctx, "tasks", beck.Message{Body: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	err := bus.Work(ctx, "tasks", Handler(o)(func(context.Context, *beck.Message) error { stop(); return nil }), nil)
	if err != nil {
		t.Fatal(err)
	}
	pushed, handled := named(t, recorder, "publish tasks")[0], named(t, recorder, "process tasks")[0]
	if handled.Parent().IsValid() || handled.SpanContext().TraceID() == pushed.SpanContext().TraceID() {
		t.Error("it is no trace of its own")
	}
	if links := handled.Links(); len(links) != 1 || links[0].SpanContext.SpanID() != pushed.SpanContext().SpanID() {
		t.Errorf("links %v", links)
	}
}

func TestBatches(t *testing.T) {
	o, recorder, bus := traced(t, Options{})
	ctx, stop := within(t)
	defer stop()
	for range 3 {
		if _, err := bus.Publish(ctx, "orders", beck.Message{Body: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	count := 0
	err := bus.SubscribeBatch(ctx, "orders", "billing", BatchHandler(o)(func(_ context.Context, messages []*beck.Message) error {
		if count += len(messages); count == 3 {
			stop()
		}
		return nil
	}), nil)
	if err != nil {
		t.Fatal(err)
	}
	links := 0
	for _, s := range named(t, recorder, "process orders") {
		links += len(s.Links())
	}
	if links != 3 {
		t.Errorf("%d links", links)
	}
}

func TestRequests(t *testing.T) {
	o, recorder, bus := traced(t, Options{})
	ctx, stop := within(t)
	defer stop()
	replying := make(chan error)
	go func() {
		replying <- bus.Reply(ctx, "price", Reply(o)(func(ctx context.Context, m *beck.Message) ([]byte, error) {
			if string(m.Body) == "none" {
				return nil, errors.New("no such thing")
			}
			return []byte("3"), nil
		}))
	}()
	for {
		answer, err := bus.Request(ctx, "price", beck.Message{Body: []byte("some")})
		if errors.Is(err, beck.ErrNoReplier) {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		if err != nil || string(answer) != "3" {
			t.Fatal(string(answer), err)
		}
		break
	}
	if _, err := bus.Request(ctx, "price", beck.Message{Body: []byte("none")}); err == nil {
		t.Fatal("no error")
	}
	stop()
	if err := <-replying; err != nil {
		t.Fatal(err)
	}
	asked, replied := named(t, recorder, "publish price"), named(t, recorder, "process price")
	if len(replied) != 2 {
		t.Fatalf("%d spans", len(replied))
	}
	for i, s := range replied {
		if asking := asked[len(asked)-2+i]; s.Parent().SpanID() != asking.SpanContext().SpanID() {
			t.Errorf("the parent of answer %d is %v", i, s.Parent())
		}
	}
	if replied[0].Status().Code != codes.Unset || replied[1].Status().Code != codes.Error {
		t.Errorf("status %v and %v", replied[0].Status(), replied[1].Status())
	}
	if got := attributes(asked[len(asked)-1])["error.type"]; got != "*beck.AnswerError" {
		t.Errorf("error.type %s", got)
	}
}

func TestPanicsGoOn(t *testing.T) {
	o, recorder, _ := traced(t, Options{})
	func() {
		defer func() {
			if p := recover(); p != "boom" {
				t.Errorf("recovered %v", p)
			}
		}()
		_ = Handler(o)(func(context.Context, *beck.Message) error { panic("boom") })(t.Context(), &beck.Message{Topic: "orders"})
	}()
	if s := named(t, recorder, "process orders")[0]; s.Status().Code != codes.Error || s.Status().Description != "handler panicked: boom" {
		t.Errorf("status %v", s.Status())
	}
}

func TestBaggageTravelsIfWanted(t *testing.T) {
	o, _, bus := traced(t, Options{Propagator: propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})})
	ctx, stop := within(t)
	defer stop()
	member, err := baggage.NewMember("tenant", "blue")
	if err != nil {
		t.Fatal(err)
	}
	bag, err := baggage.New(member)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bus.Publish(baggage.ContextWithBaggage(ctx, bag), "orders", beck.Message{Body: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	err = bus.Subscribe(ctx, "orders", "billing", Handler(o)(func(ctx context.Context, m *beck.Message) error {
		if got := baggage.FromContext(ctx).Member("tenant").Value(); got != "blue" {
			t.Errorf("tenant %q", got)
		}
		stop()
		return nil
	}), nil)
	if err != nil {
		t.Fatal(err)
	}
}

// TestWithoutAnSDK has a trace travel through a program that records nothing.
func TestWithoutAnSDK(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, came := range []string{parent, "", "00-nonsense"} {
		m := &beck.Message{Topic: "in", Headers: map[string]string{"traceparent": came, "tracestate": "a=b"}}
		sent := []beck.Message{{Body: []byte("x")}}
		err := Handler(nil)(func(ctx context.Context, m *beck.Message) error {
			Publishing(nil)(ctx, "out", sent)(nil, nil)
			return nil
		})(t.Context(), m)
		want := ""
		if came == parent {
			want = parent
		}
		if got := sent[0].Headers["traceparent"]; err != nil || got != want {
			t.Errorf("%q became %q, %v", came, got, err)
		}
	}
}

func TestKinds(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{&beck.Error{Op: "publish", Err: fmt.Errorf("x: %w", beck.ErrTopicFull)}, "topic_full"},
		{errors.New("order 17 is odd"), "_OTHER"},
		{fmt.Errorf("x: %w", errors.New("order 17 is odd")), "_OTHER"},
		{errors.Join(errors.New("x"), errors.New("y")), "_OTHER"},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), "context.deadlineExceededError"},
	} {
		if got := kind(c.err); got != c.want {
			t.Errorf("%v is %s, not %s", c.err, got, c.want)
		}
	}
}
