package drivertest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/drivertest/model"
)

// peeked makes a fault that changes what is seen.
func peeked(change func(p *driver.Peeked)) func(f *faulty) {
	return func(f *faulty) {
		f.peek = func(ctx context.Context, topic, s string, req driver.PeekRequest) (driver.Peeked, error) {
			got, err := f.Engine.Peek(ctx, topic, s, req)
			change(&got)
			return got, err
		}
	}
}

// subscriptionNames lists those of a topic.
func subscriptionNames(e *model.Engine, topic string) (names []string) {
	info, _ := e.Topic(context.Background(), topic)
	for _, s := range info.Subscriptions {
		names = append(names, s.Name)
	}
	return names
}

// steerFaults are about dead letters, steering and looking.
func steerFaults() []fault {
	return []fault{
		{name: "requeues nothing", plant: func(f *faulty) {
			f.requeue = func(context.Context, string, string, []string) ([]string, error) { return nil, nil }
		}, caught: []string{"dead letters/requeue", "dead letters/many", "dead letters/missing", "queue/dead letters", "bus steer/dead letters", "histories/random"}},
		{name: "requeues for all subscriptions", plant: func(f *faulty) {
			f.requeue = func(ctx context.Context, topic, s string, ids []string) ([]string, error) {
				missing, err := f.Engine.Requeue(ctx, topic, s, ids)
				_, _ = f.Engine.Append(ctx, topic, []driver.Message{{Body: []byte("a\x00")}})
				return missing, err
			}
		}, caught: []string{"dead letters/requeue", "histories/random"}},
		{name: "requeues with the attempts of before", plant: func(f *faulty) {
			f.requeue = func(ctx context.Context, topic, s string, ids []string) ([]string, error) {
				missing, err := f.Engine.Requeue(ctx, topic, s, ids)
				if got, err := f.Engine.Fetch(ctx, topic, s, driver.FetchRequest{Consumer: "thief", Max: 1}); err == nil {
					_, _ = f.Engine.Settle(ctx, topic, s, "thief", each(driver.Retry, idsOf(got.Messages)...))
				}
				return missing, err
			}
		}, caught: []string{"dead letters/requeue", "dead letters/trimmed", "dead letters/twice dead", "queue/dead letters"}},
		{name: "says that all dead letters are there", plant: func(f *faulty) {
			f.requeue = func(ctx context.Context, topic, s string, ids []string) ([]string, error) {
				_, err := f.Engine.Requeue(ctx, topic, s, ids)
				return nil, err
			}
		}, caught: []string{"dead letters/missing", "dead letters/deleted subscription", "bus steer/dead letters", "histories/random"}},
		{name: "drops nothing", plant: func(f *faulty) {
			f.drop = func(context.Context, string, string, []string) ([]string, error) { return nil, nil }
		}, caught: []string{"dead letters/drop", "dead letters/missing", "look/outstanding, done", "histories/random"}},
		{name: "drops all", plant: func(f *faulty) {
			f.drop = func(ctx context.Context, topic, s string, ids []string) ([]string, error) {
				missing, err := f.Engine.Drop(ctx, topic, s, ids)
				_, _ = f.Engine.Drop(ctx, topic, s, f.Dead(topic, s))
				return missing, err
			}
		}, caught: []string{"dead letters/drop"}},
		{name: "loses reasons", plant: changed(func(c *driver.Settlement) bool { c.Reason = ""; return true }),
			caught: []string{"dead letters/listed", "dead letters/twice dead", "dead letters/restart", "look/peek waiting", "bus queue/retry and dead"}},
		{name: "seeks not at all", plant: func(f *faulty) {
			f.seek = func(context.Context, string, string, driver.Position) error { return nil }
		}, caught: []string{"seek/positions", "seek/forgets", "seek/trimmed", "seek/bad positions", "look/outstanding, done", "bus steer/seek", "histories/random"}},
		{name: "seeks by beginning anew", plant: func(f *faulty) {
			f.seek = func(ctx context.Context, topic, s string, to driver.Position) error {
				if err := f.Engine.DeleteSubscription(ctx, topic, s); err != nil {
					return err
				}
				_, err := f.Engine.Join(ctx, topic, s, driver.JoinConfig{From: to, Lease: long})
				return err
			}
		}, caught: []string{"seek/others", "dead letters/after a seek"}},
		{name: "seeks behind the position", plant: func(f *faulty) {
			f.seek = func(ctx context.Context, topic, s string, to driver.Position) error {
				err := f.Engine.Seek(ctx, topic, s, to)
				_, _ = f.Engine.Fetch(ctx, topic, s, driver.FetchRequest{Consumer: "thief", Max: 1})
				return err
			}
		}, caught: []string{"seek/positions", "seek/trimmed", "bus steer/seek", "histories/random"}},
		{name: "takes any position to seek", plant: func(f *faulty) {
			f.seek = func(ctx context.Context, topic, s string, to driver.Position) error {
				err := f.Engine.Seek(ctx, topic, s, to)
				if errors.Is(err, driver.ErrPosition) {
					return nil
				}
				return err
			}
		}, caught: []string{"seek/bad positions"}},
		{name: "doesn't pause", plant: func(f *faulty) {
			f.pause = func(context.Context, string, string, bool) error { return nil }
		}, caught: []string{"pause/delivers nothing", "pause/settle", "pause/resume", "pause/queue", "bus steer/pause", "histories/random"}},
		{name: "gives a paused consumer what it holds", plant: func(f *faulty) {
			f.fetch = func(ctx context.Context, topic, s string, req driver.FetchRequest) (driver.Fetched, error) {
				if req.Recover && len(f.Held(topic, s, req.Consumer)) > 0 {
					if info, _ := f.Engine.Topic(ctx, topic); len(info.Subscriptions) > 0 {
						_ = f.Engine.Pause(ctx, topic, s, false)
						defer func() { _ = f.Engine.Pause(ctx, topic, s, true) }()
					}
				}
				return f.Engine.Fetch(ctx, topic, s, req)
			}
		}, caught: []string{"pause/delivers nothing"}},
		{name: "goes on after a restart though paused", restart: func(e *model.Engine) {
			for _, topic := range append(historyTopics, orders) {
				for _, s := range subscriptionNames(e, topic) {
					_ = e.Pause(context.Background(), topic, s, false)
				}
			}
		}, caught: []string{"pause/restart"}},
		{name: "purges only what nobody needs", plant: func(f *faulty) {
			f.purge = func(ctx context.Context, topic string) (int64, error) { return f.Engine.Trim(ctx, topic, end) }
		}, caught: []string{"purge/removes all", "purge/queue", "purge/restart", "histories/random"}},
		{name: "counts what is purged wrongly", plant: func(f *faulty) {
			f.purge = func(ctx context.Context, topic string) (int64, error) {
				n, err := f.Engine.Purge(ctx, topic)
				return n + 1, err
			}
		}, caught: []string{"purge/removes all", "purge/queue", "bus steer/purge", "histories/random"}},
		{name: "keeps what is delayed when it purges", plant: func(f *faulty) {
			f.purge = func(ctx context.Context, topic string) (int64, error) {
				late := allDelayed(f.Engine, topic)
				n, err := f.Engine.Purge(ctx, topic)
				for range late {
					_, _ = f.Engine.Append(ctx, topic, []driver.Message{{Body: []byte("kept"), Delay: long}})
				}
				return n, err
			}
		}, caught: []string{"purge/removes all", "purge/restart"}},
		{name: "purges dead letters", plant: func(f *faulty) {
			f.purge = func(ctx context.Context, topic string) (int64, error) {
				for _, s := range subscriptionNames(f.Engine, topic) {
					_, _ = f.Engine.Drop(ctx, topic, s, f.Dead(topic, s))
				}
				return f.Engine.Purge(ctx, topic)
			}
		}, caught: []string{"purge/goes on", "purge/restart"}},
		{name: "takes what is held for done", plant: func(f *faulty) {
			f.outstanding = func(ctx context.Context, topic, s string, ids []string) (map[string]driver.State, error) {
				open, err := f.Engine.Outstanding(ctx, topic, s, ids)
				for id, state := range open {
					if state == driver.Held {
						delete(open, id)
					}
				}
				return open, err
			}
		}, caught: []string{"look/outstanding", "look/outstanding, done", "bus confirm/context", "histories/random"}},
		{name: "takes dead letters for done", plant: func(f *faulty) {
			f.outstanding = func(ctx context.Context, topic, s string, ids []string) (map[string]driver.State, error) {
				open, err := f.Engine.Outstanding(ctx, topic, s, ids)
				for id, state := range open {
					if state == driver.Buried {
						delete(open, id)
					}
				}
				return open, err
			}
		}, caught: []string{"look/outstanding", "dead letters/drop", "bus confirm/dead letters"}},
		{name: "takes any id for done", plant: func(f *faulty) {
			f.outstanding = func(ctx context.Context, topic, s string, ids []string) (map[string]driver.State, error) {
				open, err := f.Engine.Outstanding(ctx, topic, s, ids)
				if errors.Is(err, driver.ErrPosition) {
					return nil, nil
				}
				return open, err
			}
		}, caught: []string{"look/outstanding, bad ids", "bus confirm/bad input"}},
		{name: "delivers what is looked at", plant: func(f *faulty) {
			f.peek = func(ctx context.Context, topic, s string, req driver.PeekRequest) (driver.Peeked, error) {
				got, err := f.Engine.Peek(ctx, topic, s, req)
				if req.State == driver.Ready {
					_, _ = f.Engine.Fetch(ctx, topic, s, driver.FetchRequest{Consumer: "thief", Max: 1})
				}
				return got, err
			}
		}, caught: []string{"look/peek ready", "histories/random"}},
		{name: "shows one page only", plant: peeked(func(p *driver.Peeked) { p.More = false }),
			caught: []string{"delay/peek", "dead letters/listed", "look/peek ready", "look/peek held", "look/peek waiting", "bus steer/peek"}},
		{name: "shows the first page again", plant: func(f *faulty) {
			f.peek = func(ctx context.Context, topic, s string, req driver.PeekRequest) (driver.Peeked, error) {
				req.After = ""
				return f.Engine.Peek(ctx, topic, s, req)
			}
		}, caught: []string{"delay/peek", "dead letters/listed", "look/peek ready", "look/peek held", "look/peek waiting", "bus steer/peek"}},
		{name: "hides who holds", plant: peeked(func(p *driver.Peeked) {
			for i := range p.Entries {
				p.Entries[i].Consumer, p.Entries[i].Due = "", time.Time{}
			}
		}), caught: []string{"dead letters/listed", "look/peek held", "look/peek waiting", "delay/peek"}},
	}
}

// liveFaults are about schedules, broadcasts and requests.
func liveFaults() []fault {
	return []fault{
		{name: "publishes ticks again", plant: func(f *faulty) {
			f.tick = func(ctx context.Context, s driver.Schedule, tick time.Time, m driver.Message) (string, bool, error) {
				id, done, err := f.Engine.Tick(ctx, s, tick, m)
				if err == nil && !done {
					ids, err := f.Engine.Append(ctx, s.Topic, []driver.Message{m})
					return ids[0], true, err
				}
				return id, done, err
			}
		}, caught: []string{"schedules/tick", "schedules/once", "schedules/stale", "schedules/restart", "bus confirm/schedules"}},
		{name: "ticks whatever was put since", plant: func(f *faulty) {
			f.tick = func(ctx context.Context, s driver.Schedule, tick time.Time, m driver.Message) (string, bool, error) {
				list, _ := f.Schedules(ctx)
				for _, now := range list {
					if now.Name == s.Name {
						s.Version = now.Version
					}
				}
				return f.Engine.Tick(ctx, s, tick, m)
			}
		}, caught: []string{"schedules/stale", "bus confirm/schedules"}},
		{name: "forgets a tick that was refused", plant: func(f *faulty) {
			f.tick = func(ctx context.Context, s driver.Schedule, tick time.Time, m driver.Message) (string, bool, error) {
				id, done, err := f.Engine.Tick(ctx, s, tick, m)
				if err != nil {
					s.Last = tick
					_ = f.PutSchedule(ctx, s)
				}
				return id, done, err
			}
		}, caught: []string{"schedules/full topic"}},
		{name: "hears everything", plant: func(f *faulty) {
			f.listen = func(ctx context.Context, _ string, l driver.Listener) (func(), error) {
				return f.Engine.Listen(ctx, "*", l)
			}
		}, caught: []string{"broadcast/patterns", "bus live/broadcast and listen"}},
		{name: "loses broadcasts", plant: func(f *faulty) {
			lost := every(8)
			f.broadcast = func(ctx context.Context, subject string, body []byte) (int, error) {
				if lost() {
					return 0, nil
				}
				return f.Engine.Broadcast(ctx, subject, body)
			}
		}, caught: []string{"broadcast/patterns", "broadcast/order", "broadcast/from now on", "bus live/broadcast and listen"}},
		{name: "broadcasts twice", plant: func(f *faulty) {
			f.broadcast = func(ctx context.Context, subject string, body []byte) (int, error) {
				_, _ = f.Engine.Broadcast(ctx, subject, body)
				return f.Engine.Broadcast(ctx, subject, body)
			}
		}, caught: []string{"broadcast/patterns", "broadcast/order", "broadcast/bodies", "bus live/broadcast and listen"}},
		{name: "never stops listening", plant: func(f *faulty) {
			f.listen = func(ctx context.Context, pattern string, l driver.Listener) (func(), error) {
				_, err := f.Engine.Listen(ctx, pattern, l)
				return func() {}, err
			}
		}, caught: []string{"broadcast/stop", "broadcast/count"}},
		{name: "waits for a replier", plant: func(f *faulty) {
			f.request = func(ctx context.Context, service string, m driver.Message) (driver.Answer, error) {
				a, err := f.Engine.Request(ctx, service, m)
				if errors.Is(err, driver.ErrNoReplier) {
					<-ctx.Done()
					err = fmt.Errorf("waiting: %w", context.Cause(ctx))
				}
				return a, err
			}
		}, caught: []string{"request/no replier", "request/after stop", "bus live/no replier"}},
		{name: "hands requests to one replier only", plant: func(f *faulty) {
			served := map[string]bool{}
			f.serve = func(ctx context.Context, service string, handle func(driver.Request)) (func(), error) {
				if served[service] {
					return func() {}, nil
				}
				served[service] = true
				return f.Engine.Serve(ctx, service, handle)
			}
		}, caught: []string{"request/in turn"}},
		{name: "never stops replying", plant: func(f *faulty) {
			f.serve = func(ctx context.Context, service string, handle func(driver.Request)) (func(), error) {
				_, err := f.Engine.Serve(ctx, service, handle)
				return func() {}, err
			}
		}, caught: []string{"request/no replier", "request/after stop"}},
		{name: "takes failures for answers", plant: func(f *faulty) {
			f.request = func(ctx context.Context, service string, m driver.Message) (driver.Answer, error) {
				a, err := f.Engine.Request(ctx, service, m)
				if a.Failure != "" {
					a = driver.Answer{Body: []byte(a.Failure)}
				}
				return a, err
			}
		}, caught: []string{"request/failure", "bus live/errors"}},
		{name: "loses what comes with a request", plant: func(f *faulty) {
			f.request = func(ctx context.Context, service string, m driver.Message) (driver.Answer, error) {
				return f.Engine.Request(ctx, service, driver.Message{Body: m.Body})
			}
		}, caught: []string{"request/answered", "bus live/request and reply"}},
		{name: "loses the deadline", plant: func(f *faulty) {
			f.serve = func(ctx context.Context, service string, handle func(driver.Request)) (func(), error) {
				return f.Engine.Serve(ctx, service, func(q driver.Request) {
					q.Deadline = q.Deadline.Add(time.Hour)
					handle(q)
				})
			}
		}, caught: []string{"request/answered", "bus live/time over"}},
	}
}
