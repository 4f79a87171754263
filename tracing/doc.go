// Package tracing has traces follow messages, by OpenTelemetry.
//
// A program that publishes gives [Publishing] to its bus:
//
//	bus, err := onredis.Open(ctx, url, &onredis.Options{
//		Options: beck.Options{Publishing: tracing.Publishing(nil)},
//	})
//
// Each call of Publish, Push and Request is then a producer span, and its context
// travels in the messages' headers: traceparent and tracestate, as W3C Trace
// Context has them. A program that receives wraps what handles the messages:
//
//	err = bus.Subscribe(ctx, "orders", "billing", tracing.Handler(nil)(charge), nil)
//	err = bus.Reply(ctx, "price", tracing.Reply(nil)(price))
//
// A handler runs in a consumer span, whose parent is the span that published the
// message, in whichever process that was. A retry has a span of its own, with the
// same parent. A handler of batches has one span that is linked to those that
// published the messages.
//
// Spans have the attributes of OpenTelemetry's semantic conventions for
// messaging, messaging.system being "beck", and beyond them
// beck.delivery.attempt. A handler's error, or panic, is the status of its span.
//
// Only OpenTelemetry's API is linked, and only into programs that import this
// package. Without an SDK nothing is recorded, but a trace that came with a
// message travels on with what is published in the handler's context.
package tracing
