// Package middleware wraps handlers of subscriptions and queues with what many of
// them need.
//
//	handle := middleware.Chain(charge,
//		middleware.Logging(log),
//		middleware.Recovery(log),
//		middleware.RateLimit(100, 10),
//		middleware.Timeout(5*time.Second),
//	)
//	err := bus.Subscribe(ctx, "orders", "billing", handle, nil)
//
// A middleware is a func(beck.Handler) beck.Handler; any such function will do,
// and those here may be used without [Chain]. The first one in a chain is the
// outermost: it sees a message first and the handler's error last.
//
// Errors are passed on as they are, or wrapped: what a handler says by
// beck.RetryAfter and beck.Dead holds through all of them.
//
// A middleware that waits holds the message meanwhile. That is no reason to lose
// it: the lease is renewed as long as the handler, with what is wrapped around it,
// runs; and if the lease is lost, or the program must end, waiting ends with the
// context.
//
// A middleware that can't be, such as a rate of nothing, doesn't panic: each
// message fails with an error that is beck.ErrOption, and is retried.
package middleware
