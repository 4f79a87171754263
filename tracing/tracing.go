package tracing

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/beckmq/beck"
)

// Options are for all that is traced. The zero value works.
type Options struct {
	// TracerProvider makes the spans. Defaults to the global one.
	TracerProvider trace.TracerProvider

	// Propagator puts a span's context into headers, and takes it out of them.
	// Defaults to W3C Trace Context; to have baggage travel as well, give a
	// propagation.NewCompositeTextMapPropagator of TraceContext and Baggage.
	Propagator propagation.TextMapPropagator

	// Subscription names the subscription in the spans of handlers. Defaults to
	// none.
	Subscription string

	// NewTraces has the span of a handler begin a trace of its own, linked to the
	// span that published the message, instead of being its child. It is for
	// messages that are handled long after they were published. Defaults to false.
	NewTraces bool
}

// scope names what makes the spans.
const scope = "github.com/beckmq/beck/tracing"

type tracer struct {
	trace.Tracer
	propagator propagation.TextMapPropagator
	options    Options
}

func newTracer(o *Options) *tracer {
	t := &tracer{}
	if o != nil {
		t.options = *o
	}
	provider := t.options.TracerProvider
	if provider == nil {
		provider = otel.GetTracerProvider()
	}
	t.Tracer = provider.Tracer(scope)
	if t.propagator = t.options.Propagator; t.propagator == nil {
		t.propagator = propagation.TraceContext{}
	}
	return t
}

// Publishing is for beck.Options: each call that publishes is a producer span,
// whose context is put into the headers of its messages.
func Publishing(o *Options) func(ctx context.Context, topic string, messages []beck.Message) (done func(ids []string, err error)) {
	t := newTracer(o)
	return func(ctx context.Context, topic string, messages []beck.Message) func([]string, error) {
		ctx, span := t.Start(ctx, "publish "+topic, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
			append(common("publish", "send", topic), size(messages)...)...))
		for i := range messages {
			headers := maps.Clone(messages[i].Headers)
			if headers == nil {
				headers = map[string]string{}
			}
			t.propagator.Inject(ctx, carrier{headers})
			messages[i].Headers = headers
		}
		return func(ids []string, err error) {
			if len(ids) == 1 {
				span.SetAttributes(attribute.String("messaging.message.id", ids[0]))
			}
			finish(span, err)
		}
	}
}

// carrier takes the place of headers of the same name in another case, as in those
// of an HTTP request that are passed on: a message can't have both.
type carrier struct{ propagation.MapCarrier }

func (c carrier) Set(name, value string) {
	name = strings.ToLower(name)
	maps.DeleteFunc(c.MapCarrier, func(other, _ string) bool { return strings.ToLower(other) == name })
	c.MapCarrier.Set(name, value)
}

// Handler is a middleware: each message is handled in a consumer span.
func Handler(o *Options) func(beck.Handler) beck.Handler {
	t := newTracer(o)
	return func(handle beck.Handler) beck.Handler {
		return func(ctx context.Context, m *beck.Message) (err error) {
			ctx, span := t.consume(ctx, m)
			defer ending(span, &err)()
			return handle(ctx, m)
		}
	}
}

// Reply is Handler for functions that answer requests.
func Reply(o *Options) func(func(context.Context, *beck.Message) ([]byte, error)) func(context.Context, *beck.Message) ([]byte, error) {
	t := newTracer(o)
	return func(reply func(context.Context, *beck.Message) ([]byte, error)) func(context.Context, *beck.Message) ([]byte, error) {
		return func(ctx context.Context, m *beck.Message) (answer []byte, err error) {
			ctx, span := t.consume(ctx, m)
			defer ending(span, &err)()
			return reply(ctx, m)
		}
	}
}

// BatchHandler is Handler for handlers of batches: a batch is handled in one span,
// linked to those that published its messages.
func BatchHandler(o *Options) func(beck.BatchHandler) beck.BatchHandler {
	t := newTracer(o)
	return func(handle beck.BatchHandler) beck.BatchHandler {
		return func(ctx context.Context, messages []*beck.Message) (err error) {
			var topic string
			var links []trace.Link
			for _, m := range messages {
				topic = m.Topic
				if publisher := t.publisher(ctx, m); publisher.IsValid() {
					links = append(links, trace.Link{SpanContext: publisher, Attributes: []attribute.KeyValue{attribute.String("messaging.message.id", m.ID)}})
				}
			}
			ctx, span := t.Start(ctx, "process "+topic, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(links...),
				trace.WithAttributes(append(t.consuming(topic), attribute.Int("messaging.batch.message_count", len(messages)))...))
			defer ending(span, &err)()
			return handle(ctx, messages)
		}
	}
}

// publisher is the context of the span that published a message. It is not valid
// if there is none.
func (t *tracer) publisher(ctx context.Context, m *beck.Message) trace.SpanContext {
	// What is in ctx must not be taken for what came with the message.
	none := trace.ContextWithSpanContext(ctx, trace.SpanContext{})
	return trace.SpanContextFromContext(t.propagator.Extract(none, propagation.MapCarrier(m.Headers)))
}

// consume begins the span of a message's handler.
func (t *tracer) consume(ctx context.Context, m *beck.Message) (context.Context, trace.Span) {
	attributes := append(t.consuming(m.Topic), attribute.Int("messaging.message.body.size", len(m.Body)))
	if m.ID != "" {
		attributes = append(attributes, attribute.String("messaging.message.id", m.ID))
	}
	if m.Attempt > 0 {
		attributes = append(attributes, attribute.Int("beck.delivery.attempt", m.Attempt))
	}
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(attributes...)}
	publisher := t.publisher(ctx, m)
	// Baggage is restored whosoever's child the span is.
	extracted := t.propagator.Extract(ctx, propagation.MapCarrier(m.Headers))
	switch {
	case !publisher.IsValid():
	case t.options.NewTraces:
		options = append(options, trace.WithNewRoot(), trace.WithLinks(trace.Link{SpanContext: publisher}))
	default:
		extracted = trace.ContextWithRemoteSpanContext(extracted, publisher)
	}
	return t.Start(extracted, "process "+m.Topic, options...)
}

func (t *tracer) consuming(topic string) []attribute.KeyValue {
	attributes := common("process", "process", topic)
	if t.options.Subscription != "" {
		attributes = append(attributes, attribute.String("messaging.destination.subscription.name", t.options.Subscription))
	}
	return attributes
}

// common are the attributes of all spans.
func common(operation, kind, topic string) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("messaging.system", "beck"),
		attribute.String("messaging.operation.name", operation),
		attribute.String("messaging.operation.type", kind),
		attribute.String("messaging.destination.name", topic),
	}
}

func size(messages []beck.Message) []attribute.KeyValue {
	if len(messages) == 1 {
		return []attribute.KeyValue{attribute.Int("messaging.message.body.size", len(messages[0].Body))}
	}
	return []attribute.KeyValue{attribute.Int("messaging.batch.message_count", len(messages))}
}

// ending ends the span of a handler, also when that panics, which goes on.
func ending(span trace.Span, err *error) func() {
	return func() {
		if p := recover(); p != nil {
			finish(span, fmt.Errorf("handler panicked: %v", p))
			panic(p)
		}
		finish(span, *err)
	}
}

func finish(span trace.Span, err error) {
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
		span.SetAttributes(attribute.String("error.type", kind(err)))
	}
	span.End()
}
