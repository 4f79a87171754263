package drivertest

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/drivertest/model"
)

// TestFaultsAreCaught plants one fault after the other into the model. A suite
// that lets one pass is worth nothing where an engine has it.
func TestFaultsAreCaught(t *testing.T) {
	for _, f := range slices.Concat(faults(), queueFaults(), steerFaults(), liveFaults(), durabilityFaults()) {
		for _, full := range f.caught {
			t.Run(f.name+"/"+full, func(t *testing.T) {
				if !strings.HasPrefix(full, "calls/close") {
					t.Parallel()
				}
				c := caseNamed(t, full)
				failed, said := fails(t, c, plantedHarness(f))
				if !failed {
					t.Errorf("the fault %q passes the case %s", f.name, full)
				} else if len(said) > 0 {
					t.Logf("caught: %.300s", said[0])
				}
			})
		}
	}
}

func caseNamed(t *testing.T, full string) Case {
	t.Helper()
	cases := Cases()
	i := slices.IndexFunc(cases, func(c Case) bool { return c.Group+"/"+c.Name == full })
	if i < 0 {
		t.Fatalf("there is no case %s", full)
	}
	return cases[i]
}

func plantedHarness(f fault) Harness {
	planted := func(e *model.Engine) driver.Engine {
		engine := &faulty{Engine: e}
		if f.plant != nil {
			f.plant(engine)
		}
		return engine
	}
	again := func(_ testing.TB, e driver.Engine) driver.Engine {
		old := e.(*faulty).Engine
		if f.name == "forgets all at a restart" {
			return planted(model.New(time.Now))
		}
		if f.restart != nil {
			f.restart(old)
		}
		return planted(old.Restart())
	}
	return Harness{
		Open:       func(testing.TB) driver.Engine { return planted(durableModel()) },
		Reopen:     again,
		Crash:      again,
		Durability: modelDurabilities,
		Patience:   1500 * time.Millisecond,
		histories:  60, // a fault that comes up seldom must be caught, too
	}
}

func faults() []fault {
	return []fault{
		{"drops a message", func(f *faulty) {
			drop := every(10)
			f.append = func(ctx context.Context, topic string, messages []driver.Message) ([]string, error) {
				ids, err := f.Engine.Append(ctx, topic, messages)
				if drop() {
					f.Discard(topic, 1)
				}
				return ids, err
			}
		}, []string{"append/in order", "append/concurrent", "histories/random", "histories/concurrent"}, nil},
		{"appends in the wrong order", func(f *faulty) {
			f.append = func(ctx context.Context, topic string, messages []driver.Message) ([]string, error) {
				backwards := slices.Clone(messages)
				slices.Reverse(backwards)
				return f.Engine.Append(ctx, topic, backwards)
			}
		}, []string{"append/in order", "fetch/in order", "append/concurrent", "histories/random", "histories/concurrent"}, nil},
		{"stores twice", func(f *faulty) {
			f.append = func(ctx context.Context, topic string, messages []driver.Message) ([]string, error) {
				if _, err := f.Engine.Append(ctx, topic, messages); err != nil {
					return nil, err
				}
				return f.Engine.Append(ctx, topic, messages)
			}
		}, []string{"append/in order", "append/concurrent", "histories/concurrent", "bus follow/replay then live", "bus subscribe/everything once"}, nil},
		{"loses keys", func(f *faulty) {
			f.append = func(ctx context.Context, topic string, messages []driver.Message) ([]string, error) {
				messages = slices.Clone(messages)
				for i := range messages {
					messages[i].Key = ""
				}
				return f.Engine.Append(ctx, topic, messages)
			}
		}, []string{"append/contents", "histories/random"}, nil},
		{"never tells the newest id", page(func(p *driver.Page) { p.Last = "" }), []string{"read/newest id", "histories/random"}, nil},
		{"never says more", page(func(p *driver.Page) { p.More = false }), []string{"read/pages", "append/large batch"}, nil},
		{"always says more", page(func(p *driver.Page) { p.More = len(p.Messages) > 0 }), []string{"read/pages"}, nil},
		{"reads behind an id", func(f *faulty) {
			f.read = func(ctx context.Context, topic string, from driver.Position, max int) (driver.Page, error) {
				p, err := f.Engine.Read(ctx, topic, from, max)
				if from.Kind == driver.AtID && len(p.Messages) > 0 && p.Messages[0].ID == from.ID {
					p.Messages = p.Messages[1:]
				}
				return p, err
			}
		}, []string{"read/positions", "histories/random", "bus follow/gap"}, nil},
		{"forgets every fifth wake-up", forgetHints(5), []string{"watch/append", "watch/append after fetch", "watch/retry and release", "bus pull/fetch waits"}, nil},
		{"forgets a wake-up now and then", forgetHints(23), []string{"watch/no missed wake-up"}, nil},
		{"knows every subscription already", func(f *faulty) {
			f.join = func(ctx context.Context, topic, s string, config driver.JoinConfig) (bool, error) {
				_, err := f.Engine.Join(ctx, topic, s, config)
				return true, err
			}
		}, []string{"join/existed", "join/concurrent", "histories/random"}, nil},
		{"takes any position", func(f *faulty) {
			f.join = func(ctx context.Context, topic, s string, config driver.JoinConfig) (bool, error) {
				existed, err := f.Engine.Join(ctx, topic, s, config)
				if err != nil {
					return f.Engine.Join(ctx, topic, s, driver.JoinConfig{Lease: config.Lease})
				}
				return existed, err
			}
		}, []string{"join/future id", "join/malformed id"}, nil},
		{"loses attempts", fetched(func(f *driver.Fetched) {
			for i := range f.Messages {
				f.Messages[i].Attempt = 1
			}
		}), []string{"lease/ends", "lease/retry delay", "fetch/recover", "histories/random", "histories/concurrent", "bus subscribe/retry"}, nil},
		{"never tells when to ask again", fetched(func(f *driver.Fetched) { f.Next = 0 }), []string{"lease/next", "watch/delayed retry"}, nil},
		{"delivers twice", func(f *faulty) {
			again := every(7)
			f.fetch = func(ctx context.Context, topic, s string, req driver.FetchRequest) (driver.Fetched, error) {
				if held := f.Held(topic, s, ""); len(held) > 0 && again() {
					req.Consumer, req.Recover = "c0", true
				}
				return f.Engine.Fetch(ctx, topic, s, req)
			}
		}, []string{"fetch/concurrent", "histories/random"}, nil},
		{"recovers nothing", func(f *faulty) {
			f.fetch = func(ctx context.Context, topic, s string, req driver.FetchRequest) (driver.Fetched, error) {
				req.Recover = false
				return f.Engine.Fetch(ctx, topic, s, req)
			}
		}, []string{"fetch/recover", "lease/recover renews", "histories/random"}, nil},
		{"doesn't notice a deleted subscription", func(f *faulty) {
			f.fetch = func(ctx context.Context, topic, s string, req driver.FetchRequest) (driver.Fetched, error) {
				got, _ := f.Engine.Fetch(ctx, topic, s, req)
				return got, nil
			}
		}, []string{"fetch/missing", "remove/delete subscription", "remove/delete topic", "bus subscribe/deleted"}, nil},
		{"doesn't fence", settleAsAnyone, []string{"settle/fencing", "settle/not held", "histories/random"}, nil},
		{"fences acknowledgements", refuseLateAck, []string{"settle/late acknowledge", "histories/random"}, nil},
		{"says that all was held", func(f *faulty) {
			f.settle = func(ctx context.Context, topic, s, consumer string, list []driver.Settlement) ([]string, error) {
				_, err := f.Engine.Settle(ctx, topic, s, consumer, list)
				return nil, err
			}
		}, []string{"settle/not held", "settle/twice", "settle/nonsense", "settle/fencing"}, nil},
		{"counts releases", changed(func(c *driver.Settlement) bool {
			if c.Do == driver.Release {
				c.Do = driver.Retry
			}
			return true
		}), []string{"settle/release", "settle/mixed", "histories/random"}, nil},
		{"retries at once", changed(func(c *driver.Settlement) bool { c.After = 0; return true }), []string{"lease/retry delay", "lease/retries overtake", "histories/random"}, nil},
		{"doesn't renew", changed(func(c *driver.Settlement) bool { return c.Do != driver.Renew }), []string{"lease/renew"}, nil},
		{"doesn't acknowledge", changed(func(c *driver.Settlement) bool { return c.Do != driver.Acknowledge }), []string{"settle/acknowledge", "settle/large", "histories/random"}, nil},
		{"loses retries", changed(func(c *driver.Settlement) bool {
			if c.Do == driver.Retry {
				c.Do = driver.Acknowledge
			}
			return true
		}), []string{"lease/retry delay", "settle/mixed", "histories/random"}, nil},
		{"doesn't count dead letters", told(func(s *driver.SubscriptionInfo) { s.Dead = 0 }), []string{"settle/dead letter", "inspect/subscription", "histories/random", "bus subscribe/dead"}, nil},
		{"counts what is pending wrongly", told(func(s *driver.SubscriptionInfo) { s.Pending++ }), []string{"inspect/subscription", "settle/fencing", "histories/random"}, nil},
		{"trims what is needed", func(f *faulty) {
			f.trim = func(ctx context.Context, topic string, before driver.Position) (int64, error) {
				n, err := f.Engine.Trim(ctx, topic, before)
				if info, _ := f.Engine.Topic(ctx, topic); before.Kind == driver.End {
					f.Discard(topic, info.Length)
					n += info.Length
				}
				return n, err
			}
		}, []string{"remove/trim spares", "histories/random"}, nil},
		{"keeps what a deleted subscription held", func(f *faulty) {
			f.deleteSubscription = func(context.Context, string, string) error { return nil }
		}, []string{"remove/delete subscription", "remove/recreate subscription"}, nil},
		{"forgets all at a restart", nil, []string{"restart/reopen", "restart/crash", "restart/ids go on", "restart/crash while publishing", "histories/random"}, nil},
		{"ignores its context", func(f *faulty) {
			f.append = func(ctx context.Context, topic string, messages []driver.Message) ([]string, error) {
				return f.Engine.Append(context.WithoutCancel(ctx), topic, messages)
			}
		}, []string{"calls/ended context"}, nil},
		{"leaks a goroutine", leak, []string{"calls/close"}, nil},
	}
}
