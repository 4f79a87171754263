package drivertest

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/drivertest/model"
)

// faulty is the model with one fault: a method that is set replaces that of the
// model.
type faulty struct {
	*model.Engine
	append             func(ctx context.Context, topic string, messages []driver.Message) ([]string, error)
	read               func(ctx context.Context, topic string, from driver.Position, max int) (driver.Page, error)
	watch              func(topic string) (<-chan struct{}, func())
	join               func(ctx context.Context, topic, s string, config driver.JoinConfig) (bool, error)
	fetch              func(ctx context.Context, topic, s string, req driver.FetchRequest) (driver.Fetched, error)
	settle             func(ctx context.Context, topic, s, consumer string, list []driver.Settlement) ([]string, error)
	topic              func(ctx context.Context, topic string) (driver.TopicInfo, error)
	trim               func(ctx context.Context, topic string, before driver.Position) (int64, error)
	deleteSubscription func(ctx context.Context, topic, s string) error
	close              func(ctx context.Context) error
	steering
}

func (f *faulty) Append(ctx context.Context, topic string, messages []driver.Message) ([]string, error) {
	if f.append != nil {
		return f.append(ctx, topic, messages)
	}
	return f.Engine.Append(ctx, topic, messages)
}

func (f *faulty) Read(ctx context.Context, topic string, from driver.Position, max int) (driver.Page, error) {
	if f.read != nil {
		return f.read(ctx, topic, from, max)
	}
	return f.Engine.Read(ctx, topic, from, max)
}

func (f *faulty) Watch(topic string) (<-chan struct{}, func()) {
	if f.watch != nil {
		return f.watch(topic)
	}
	return f.Engine.Watch(topic)
}

func (f *faulty) Join(ctx context.Context, topic, s string, config driver.JoinConfig) (bool, error) {
	if f.join != nil {
		return f.join(ctx, topic, s, config)
	}
	return f.Engine.Join(ctx, topic, s, config)
}

func (f *faulty) Fetch(ctx context.Context, topic, s string, req driver.FetchRequest) (driver.Fetched, error) {
	if f.fetch != nil {
		return f.fetch(ctx, topic, s, req)
	}
	return f.Engine.Fetch(ctx, topic, s, req)
}

func (f *faulty) Settle(ctx context.Context, topic, s, consumer string, list []driver.Settlement) ([]string, error) {
	if f.settle != nil {
		return f.settle(ctx, topic, s, consumer, list)
	}
	return f.Engine.Settle(ctx, topic, s, consumer, list)
}

func (f *faulty) Topic(ctx context.Context, topic string) (driver.TopicInfo, error) {
	if f.topic != nil {
		return f.topic(ctx, topic)
	}
	return f.Engine.Topic(ctx, topic)
}

func (f *faulty) Trim(ctx context.Context, topic string, before driver.Position) (int64, error) {
	if f.trim != nil {
		return f.trim(ctx, topic, before)
	}
	return f.Engine.Trim(ctx, topic, before)
}

func (f *faulty) DeleteSubscription(ctx context.Context, topic, s string) error {
	if f.deleteSubscription != nil {
		return f.deleteSubscription(ctx, topic, s)
	}
	return f.Engine.DeleteSubscription(ctx, topic, s)
}

func (f *faulty) Close(ctx context.Context) error {
	if f.close != nil {
		return f.close(ctx)
	}
	return f.Engine.Close(ctx)
}

// A fault is planted into an engine; at least these cases must fail then.
type fault struct {
	name    string
	plant   func(f *faulty)
	caught  []string
	restart func(e *model.Engine) // before the engine is opened again
}

// every reports true for each nth call.
func every(n int64) func() bool {
	var calls atomic.Int64
	return func() bool { return calls.Add(1)%n == 0 }
}

// changed makes a fault that changes settlements before they are done.
func changed(change func(c *driver.Settlement) (keep bool)) func(f *faulty) {
	return func(f *faulty) {
		f.settle = func(ctx context.Context, topic, s, consumer string, list []driver.Settlement) ([]string, error) {
			var kept []driver.Settlement
			for _, c := range list {
				if change(&c) {
					kept = append(kept, c)
				}
			}
			return f.Engine.Settle(ctx, topic, s, consumer, kept)
		}
	}
}

// fetched makes a fault that changes what a fetch returns.
func fetched(change func(f *driver.Fetched)) func(f *faulty) {
	return func(f *faulty) {
		f.fetch = func(ctx context.Context, topic, s string, req driver.FetchRequest) (driver.Fetched, error) {
			got, err := f.Engine.Fetch(ctx, topic, s, req)
			change(&got)
			return got, err
		}
	}
}

// told makes a fault that changes what is told about subscriptions.
func told(change func(s *driver.SubscriptionInfo)) func(f *faulty) {
	return func(f *faulty) {
		f.topic = func(ctx context.Context, topic string) (driver.TopicInfo, error) {
			info, err := f.Engine.Topic(ctx, topic)
			for i := range info.Subscriptions {
				change(&info.Subscriptions[i])
			}
			return info, err
		}
	}
}

// page makes a fault that changes what a read returns.
func page(change func(p *driver.Page)) func(f *faulty) {
	return func(f *faulty) {
		f.read = func(ctx context.Context, topic string, from driver.Position, max int) (driver.Page, error) {
			p, err := f.Engine.Read(ctx, topic, from, max)
			change(&p)
			return p, err
		}
	}
}

// settleAsAnyone does for all what only the owner may do.
func settleAsAnyone(f *faulty) {
	f.settle = func(ctx context.Context, topic, s, consumer string, list []driver.Settlement) ([]string, error) {
		notHeld, err := f.Engine.Settle(ctx, topic, s, consumer, list)
		info, _ := f.Engine.Topic(ctx, topic)
		for _, sub := range info.Subscriptions {
			for _, c := range sub.Consumers {
				if sub.Name != s || len(notHeld) == 0 {
					continue
				}
				rest := slices.DeleteFunc(slices.Clone(list), func(c driver.Settlement) bool { return !slices.Contains(notHeld, c.ID) })
				notHeld, _ = f.Engine.Settle(ctx, topic, s, c.Name, rest)
			}
		}
		return notHeld, err
	}
}

// refuseLateAck fences acknowledgements, too.
func refuseLateAck(f *faulty) {
	f.settle = func(ctx context.Context, topic, s, consumer string, list []driver.Settlement) ([]string, error) {
		held := f.Held(topic, s, consumer)
		var refused []string
		var kept []driver.Settlement
		for _, c := range list {
			if slices.Contains(held, c.ID) {
				kept = append(kept, c)
			} else {
				refused = append(refused, c.ID)
			}
		}
		notHeld, err := f.Engine.Settle(ctx, topic, s, consumer, kept)
		return append(notHeld, refused...), err
	}
}

// forgetHints loses every nth hint.
func forgetHints(n int64) func(f *faulty) {
	return func(f *faulty) {
		lost := every(n)
		f.watch = func(topic string) (<-chan struct{}, func()) {
			hints, stop := f.Engine.Watch(topic)
			out := make(chan struct{}, 1)
			done := make(chan struct{})
			var stopped atomic.Bool
			go func() {
				for {
					select {
					case <-done:
						return
					case <-hints:
					}
					if lost() {
						continue
					}
					select {
					case out <- struct{}{}:
					default:
					}
				}
			}()
			return out, func() {
				stop()
				if !stopped.Swap(true) {
					close(done)
				}
			}
		}
	}
}

// leak leaves a goroutine behind for a while.
func leak(f *faulty) {
	f.close = func(ctx context.Context) error {
		go time.Sleep(5 * time.Second)
		return f.Engine.Close(ctx)
	}
}
