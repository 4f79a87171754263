package middleware

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"golang.org/x/time/rate"

	"github.com/beckmq/beck"
)

// Chain wraps a handler, the first middleware outermost.
func Chain(handle beck.Handler, around ...func(beck.Handler) beck.Handler) beck.Handler {
	for i := len(around) - 1; i >= 0; i-- {
		handle = around[i](handle)
	}
	return handle
}

// Timeout ends the context of a handler after d. What the handler then returns
// decides, as always: nil acknowledges the message; an error is told as one of a
// time-out, and wrapped. A handler that ignores its context is waited for, since
// its message must not be handled twice at a time.
func Timeout(d time.Duration) func(beck.Handler) beck.Handler {
	if d <= 0 {
		return invalid("Timeout(%v): it takes more than 0", d)
	}
	late := fmt.Errorf("the handler took more than %v: %w", d, context.DeadlineExceeded)
	return func(handle beck.Handler) beck.Handler {
		return func(ctx context.Context, m *beck.Message) error {
			limited, cancel := context.WithTimeoutCause(ctx, d, late)
			defer cancel()
			err := handle(limited, m)
			if err != nil && context.Cause(limited) == late && !errors.Is(err, late) {
				return fmt.Errorf("the handler took more than %v: %w", d, err)
			}
			return err
		}
	}
}

// RateLimit lets perSecond messages through in a second, and up to burst of them at
// once after a time with fewer. Others wait for their turn. All handlers that are
// wrapped by what one call has returned share the rate.
func RateLimit(perSecond float64, burst int) func(beck.Handler) beck.Handler {
	if !(perSecond > 0) || burst < 1 {
		return invalid("RateLimit(%v, %d): both must be more than 0", perSecond, burst)
	}
	limiter := rate.NewLimiter(rate.Limit(perSecond), burst)
	return func(handle beck.Handler) beck.Handler {
		return func(ctx context.Context, m *beck.Message) error {
			if err := turn(ctx, limiter); err != nil {
				return fmt.Errorf("waiting for the rate limit: %w", err)
			}
			return handle(ctx, m)
		}
	}
}

// turn waits for a turn, which is given back if the context ends first.
func turn(ctx context.Context, limiter *rate.Limiter) error {
	reserved := limiter.Reserve()
	wait := reserved.Delay()
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		reserved.Cancel()
		return context.Cause(ctx)
	}
}

// Concurrency lets at most n handlers run at a time, of all that are wrapped by
// what one call has returned: so that several subscriptions and queues together
// don't overwhelm what they use. Within one, SubscribeOptions.Concurrency does it.
func Concurrency(n int) func(beck.Handler) beck.Handler {
	if n < 1 {
		return invalid("Concurrency(%d): it takes 1 or more", n)
	}
	places := make(chan struct{}, n)
	return func(handle beck.Handler) beck.Handler {
		return func(ctx context.Context, m *beck.Message) error {
			select {
			case places <- struct{}{}:
			case <-ctx.Done():
				return fmt.Errorf("waiting for others to finish: %w", context.Cause(ctx))
			}
			defer func() { <-places }()
			return handle(ctx, m)
		}
	}
}

// Logging logs each message that was handled, at level info, or warn with the
// error if that failed. A nil logger is slog.Default().
func Logging(log *slog.Logger) func(beck.Handler) beck.Handler {
	return func(handle beck.Handler) beck.Handler {
		return func(ctx context.Context, m *beck.Message) (err error) {
			begin, returned := time.Now(), false
			defer func() {
				log := or(log).With("topic", m.Topic, "id", m.ID, "attempt", m.Attempt, "took", time.Since(begin))
				switch {
				case !returned:
					// A panic, which goes on.
					log.WarnContext(ctx, "handler did not return")
				case err != nil:
					log.WarnContext(ctx, "handler failed", "error", err)
				default:
					log.InfoContext(ctx, "handled")
				}
			}()
			err = handle(ctx, m)
			returned = true
			return err
		}
	}
}

// Recovery makes a panic an error, and logs it with its stack. Without it a panic
// is a failed attempt as well, but middlewares around the handler don't see an
// error. If the panic's value is an error, it is wrapped. A nil logger is
// slog.Default().
func Recovery(log *slog.Logger) func(beck.Handler) beck.Handler {
	return func(handle beck.Handler) beck.Handler {
		return func(ctx context.Context, m *beck.Message) (err error) {
			defer func() {
				p := recover()
				if p == nil {
					return
				}
				or(log).ErrorContext(ctx, "handler panicked", "topic", m.Topic, "id", m.ID, "attempt", m.Attempt,
					"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				if cause, ok := p.(error); ok {
					err = fmt.Errorf("handler panicked: %w", cause)
				} else {
					err = fmt.Errorf("handler panicked: %v", p)
				}
			}()
			return handle(ctx, m)
		}
	}
}

func or(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.Default()
	}
	return log
}

// invalid is a middleware that can't be.
func invalid(format string, args ...any) func(beck.Handler) beck.Handler {
	err := fmt.Errorf("middleware: %w: %s", beck.ErrOption, fmt.Sprintf(format, args...))
	return func(beck.Handler) beck.Handler {
		return func(context.Context, *beck.Message) error { return err }
	}
}
