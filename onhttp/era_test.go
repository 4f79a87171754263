package onhttp

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/drivertest/model"
)

// inEra is an engine in an era that can be changed. A change shows with the next hint.
type inEra struct {
	*model.Engine
	era atomic.Pointer[string]
}

func (e *inEra) Read(ctx context.Context, topic string, from driver.Position, max int) (driver.Page, error) {
	page, err := e.Engine.Read(ctx, topic, from, max)
	page.Era = *e.era.Load()
	return page, err
}

func (e *inEra) Fetch(ctx context.Context, topic, subscription string, req driver.FetchRequest) (driver.Fetched, error) {
	got, err := e.Engine.Fetch(ctx, topic, subscription, req)
	got.Era = *e.era.Load()
	return got, err
}

// A change of the server's engine reaches followers and consumers here, once.
func TestAnotherEra(t *testing.T) {
	before, after := "e0", "e1"
	remote := &inEra{Engine: model.New(time.Now)}
	remote.era.Store(&before)
	open := func(t testing.TB) *beck.Bus {
		bus, err := beck.New(remote, &beck.Options{Logger: silent()})
		if err != nil {
			t.Fatal(err)
		}
		return bus
	}
	bus, err := beck.New(start(t, open), &beck.Options{Logger: silent()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	defer bus.Close(context.WithoutCancel(ctx))
	publish := func(body string) {
		t.Helper()
		if _, err := bus.Publish(ctx, "t", beck.Message{Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	subscribing, stop := context.WithCancel(ctx)
	handled, told, done := make(chan string, 9), make(chan string, 9), make(chan error, 1)
	go func() {
		done <- bus.Subscribe(subscribing, "t", "s", func(_ context.Context, m *beck.Message) error {
			handled <- string(m.Body)
			return nil
		}, &beck.SubscribeOptions{OnGap: func(topic string) { told <- topic }})
	}()
	publish("a")
	<-handled
	seen := ""
	for page, err := range bus.FollowPages(ctx, "t", beck.FromStart) {
		if err != nil {
			t.Fatal(err)
		}
		if page.Gap != nil {
			seen += " gap"
		}
		for _, m := range page.Messages {
			seen += " " + string(m.Body)
		}
		switch seen {
		case " a":
			remote.era.Store(&after)
			publish("b")
		case " a gap b":
			publish("c")
		}
		if len(seen) >= len(" a gap b c") {
			break
		}
	}
	if seen != " a gap b c" {
		t.Errorf("followed%s, want a gap b c", seen)
	}
	<-handled
	<-handled
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(told) != 1 {
		t.Errorf("the subscription was told of %d gaps, want 1", len(told))
	}
}
