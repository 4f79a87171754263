package beck_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/drivertest/model"
)

// What is put into the headers before a message goes out arrives with it, and the
// caller's own message is left as it was.
func TestPublishingIsIntercepted(t *testing.T) {
	var calls []string
	bus, err := beck.New(model.New(time.Now), &beck.Options{
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Publishing: func(_ context.Context, topic string, messages []beck.Message) func([]string, error) {
			for i := range messages {
				messages[i].Headers = map[string]string{"traceparent": "00-of-" + topic}
			}
			return func(ids []string, err error) {
				outcome := "stored"
				if err != nil {
					outcome = "refused"
				}
				calls = append(calls, topic+" "+outcome)
				if err == nil && topic != "service" && len(ids) != len(messages) {
					t.Errorf("%d ids for %d messages", len(ids), len(messages))
				}
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close(context.WithoutCancel(t.Context()))
	mine := []beck.Message{{Body: []byte("a")}, {Body: []byte("b")}}
	if _, err := bus.Publish(t.Context(), "topic", mine...); err != nil {
		t.Fatal(err)
	}
	if mine[0].Headers != nil {
		t.Errorf("the caller's message has the headers %v", mine[0].Headers)
	}
	if _, err := bus.Push(t.Context(), "queue", beck.Message{}); !errors.Is(err, beck.ErrMessage) {
		t.Errorf("a task without a body: %v", err)
	}
	if _, err := bus.Request(t.Context(), "service", beck.Message{Body: []byte("?")}); !errors.Is(err, beck.ErrNoReplier) {
		t.Errorf("a request: %v", err)
	}
	page, err := bus.Read(t.Context(), "topic", beck.FromStart, 10)
	if err != nil || len(page.Messages) != 2 || page.Messages[1].Headers["traceparent"] != "00-of-topic" {
		t.Errorf("stored: %+v, %v", page, err)
	}
	if want := []string{"topic stored", "queue refused", "service refused"}; !slices.Equal(calls, want) {
		t.Errorf("called %q, not %q", calls, want)
	}
}

// A requeued message that comes before the answer to its burial is handled.
func TestRequeuedBeforeItsBurialIsAnswered(t *testing.T) {
	bus, engine := open(t)
	ids := publish(t, bus, "topic", 0, 1)
	engine.late.Store(int64(200 * time.Millisecond))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			if _, err := bus.Requeue(ctx, "topic", "s", ids[0]); err == nil {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	attempts := 0
	err := bus.Subscribe(ctx, "topic", "s", func(_ context.Context, m *beck.Message) error {
		if attempts++; attempts == 1 {
			return beck.Dead(errors.New("at first"))
		}
		cancel()
		return nil
	}, nil)
	if err != nil || attempts != 2 || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Errorf("%d attempts; %v", attempts, err)
	}
}
