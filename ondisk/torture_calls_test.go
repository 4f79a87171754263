package ondisk

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// choose draws what the client does next, of all that can be done to a topic, by
// what there is on the twin.
func (c *twinned) choose(ctx context.Context, twin *engine) (call, error) {
	info, err := twin.Topic(ctx, c.topic)
	if errors.Is(err, driver.ErrTopicNotFound) || err == nil && len(info.Subscriptions) == 0 {
		return c.join("s"), nil
	}
	if err != nil {
		return call{}, err
	}
	sub := info.Subscriptions[c.random.IntN(len(info.Subscriptions))].Name
	switch n := c.random.IntN(40); {
	case n < 10:
		return c.publish(), nil
	case n < 17:
		return c.fetch(sub), nil
	case n < 25:
		return c.settle(ctx, twin, sub)
	case n < 29:
		return c.exhume(ctx, twin, sub)
	case n < 31:
		return c.cancel(ctx, twin)
	case n < 33:
		return c.schedule(), nil
	}
	return c.steer(ctx, twin, sub)
}

// steer draws one of the things that are done seldom.
func (c *twinned) steer(ctx context.Context, twin *engine, sub string) (call, error) {
	to, err := c.position(ctx, twin)
	if err != nil {
		return call{}, err
	}
	flip := c.random.IntN(2) == 0
	switch c.random.IntN(12) {
	case 0, 1:
		return call{"seek", func(ctx context.Context, e *engine) (string, error) {
			return "", e.Seek(ctx, c.topic, sub, to)
		}}, nil
	case 2, 3:
		return call{"trim", func(ctx context.Context, e *engine) (string, error) {
			n, err := e.Trim(ctx, c.topic, to)
			return fmt.Sprint(n), err
		}}, nil
	case 4:
		return call{"purge", func(ctx context.Context, e *engine) (string, error) {
			n, err := e.Purge(ctx, c.topic)
			return fmt.Sprint(n), err
		}}, nil
	case 5:
		return call{"pause", func(ctx context.Context, e *engine) (string, error) {
			return "", e.Pause(ctx, c.topic, sub, flip)
		}}, nil
	case 6, 7:
		return c.configure(), nil
	case 8:
		return c.sweep(), nil
	case 9:
		return call{"leave", func(ctx context.Context, e *engine) (string, error) {
			return "", e.Leave(ctx, c.topic, sub, "c")
		}}, nil
	case 10:
		if flip && c.queue {
			return call{"delete topic", func(ctx context.Context, e *engine) (string, error) {
				return "", e.DeleteTopic(ctx, c.topic)
			}}, nil
		}
		return call{"delete subscription", func(ctx context.Context, e *engine) (string, error) {
			return "", e.DeleteSubscription(ctx, c.topic, sub)
		}}, nil
	}
	return c.join("t"), nil
}

// sweep does one of the things that the background does.
func (c *twinned) sweep() call {
	n := c.random.IntN(3)
	return call{"sweep", func(ctx context.Context, e *engine) (string, error) {
		t := e.find(c.topic)
		switch {
		case t == nil:
			return "", driver.ErrTopicNotFound
		case n == 0:
			return "", e.expire(ctx, t)
		case n == 1:
			return "", e.removeOld(ctx, t)
		}
		return "", e.submit(ctx, &request{alone: true, decide: func(tx *transaction) error {
			t, err := e.needTopic(c.topic)
			if err == nil {
				_, err = e.forgetSome(tx, t)
			}
			return err
		}})
	}}
}

func (c *twinned) join(name string) call {
	config := driver.JoinConfig{Lease: 30 * time.Second, From: driver.Position{Kind: driver.PositionKind(c.random.IntN(2))}}
	if c.queue {
		name, config.Queue = workers, true
	}
	if name == "t" {
		config.Expires = 2 * time.Minute
	}
	return call{"join", func(ctx context.Context, e *engine) (string, error) {
		existed, err := e.Join(ctx, c.topic, name, config)
		return fmt.Sprint(existed), err
	}}
}

// body makes one that no other message has, of a few bytes, of some blocks, or so
// large that Pebble treats it in another way.
func (c *twinned) body() []byte {
	c.count++
	size := c.random.IntN(100)
	switch c.random.IntN(60) {
	case 0, 1, 2, 3, 4:
		size = 1000 + c.random.IntN(12_000)
	case 5:
		size = 70_000 // Pebble keeps a batch out of a memtable that it would half fill
	}
	b := fmt.Appendf(make([]byte, 0, size+24), "%s.%d ", c.topic, c.count)
	for range size {
		b = append(b, byte(c.random.Uint32()))
	}
	return b
}

func (c *twinned) publish() call {
	messages := make([]driver.Message, 1+c.random.IntN(6))
	for i := range messages {
		m := &messages[i]
		m.Body, m.Key = c.body(), []string{"", "k"}[c.random.IntN(2)]
		switch c.random.IntN(4) {
		case 0:
			// A delayed one gets a header. Two are stored in any order.
			m.Headers = map[string]string{"h": fmt.Sprint(c.count)}
		case 1:
			m.Delay = time.Duration(1+c.random.IntN(90_000)) * time.Millisecond
		}
		if c.random.IntN(3) == 0 {
			m.DedupeID = fmt.Sprint(c.random.IntN(15))
		}
	}
	return call{"publish", func(ctx context.Context, e *engine) (string, error) {
		ids, err := e.Append(ctx, c.topic, messages)
		return fmt.Sprint(ids), err
	}}
}

func (c *twinned) consumer() string { return []string{"c", "d"}[c.random.IntN(2)] }

func (c *twinned) fetch(sub string) call {
	req := driver.FetchRequest{Consumer: c.consumer(), Max: 1 + c.random.IntN(8), Recover: c.random.IntN(8) == 0}
	return call{"fetch", func(ctx context.Context, e *engine) (string, error) {
		f, err := e.Fetch(ctx, c.topic, sub, req)
		var s []string
		for _, m := range f.Messages {
			s = append(s, fmt.Sprint(m.ID, m.Attempt, len(m.Body)))
		}
		return fmt.Sprint(s, f.Lost), err
	}}
}

// some draws a few entries of those in a state.
func (c *twinned) some(ctx context.Context, twin *engine, sub string, state driver.State) ([]driver.Entry, error) {
	all, err := peekAll(ctx, twin, c.topic, sub, state)
	all = slices.DeleteFunc(all, func(driver.Entry) bool { return c.random.IntN(3) == 0 })
	return all[:min(len(all), 6)], err
}

func (c *twinned) settle(ctx context.Context, twin *engine, sub string) (call, error) {
	held, err := c.some(ctx, twin, sub, driver.Held)
	if err != nil {
		return call{}, err
	}
	consumer := c.consumer()
	var list []driver.Settlement
	for _, entry := range held {
		list = append(list, driver.Settlement{
			ID: entry.Message.ID, Reason: "because", After: time.Duration(c.random.IntN(60)) * time.Second,
			Do: []driver.Action{driver.Acknowledge, driver.Acknowledge, driver.Retry, driver.Release, driver.DeadLetter, driver.Renew}[c.random.IntN(6)],
		})
	}
	return call{"settle", func(ctx context.Context, e *engine) (string, error) {
		not, err := e.Settle(ctx, c.topic, sub, consumer, list)
		return fmt.Sprint(not), err
	}}, nil
}

// exhume requeues dead letters, or drops them.
func (c *twinned) exhume(ctx context.Context, twin *engine, sub string) (call, error) {
	dead, err := c.some(ctx, twin, sub, driver.Buried)
	var ids []string
	for _, entry := range dead {
		ids = append(ids, entry.Message.ID)
	}
	drop := c.random.IntN(4) == 0
	return call{"exhume", func(ctx context.Context, e *engine) (string, error) {
		do := e.Requeue
		if drop {
			do = e.Drop
		}
		missing, err := do(ctx, c.topic, sub, ids)
		return fmt.Sprint(missing), err
	}}, err
}

func (c *twinned) cancel(ctx context.Context, twin *engine) (call, error) {
	delayed, err := c.some(ctx, twin, "", driver.Delayed)
	ids := []string{"d1-1"}
	for _, entry := range delayed[:min(2, len(delayed))] {
		ids = append(ids, entry.Message.ID)
	}
	return call{"cancel", func(ctx context.Context, e *engine) (string, error) {
		missing, err := e.Cancel(ctx, c.topic, ids)
		return fmt.Sprint(missing), err
	}}, err
}

// schedule puts, ticks or deletes the schedule with the topic's name.
func (c *twinned) schedule() call {
	n := c.random.IntN(6)
	version := fmt.Sprint(c.random.IntN(2))
	tick := time.UnixMilli(int64(c.random.IntN(1000)))
	s := driver.Schedule{Name: c.topic, Topic: c.topic, Version: version, Config: c.body(), Last: time.UnixMilli(1)}
	m := driver.Message{Body: c.body()}
	return call{"schedule", func(ctx context.Context, e *engine) (string, error) {
		switch n {
		case 0, 1:
			return "put", e.PutSchedule(ctx, s)
		case 2:
			return "delete", e.DeleteSchedule(ctx, c.topic)
		}
		id, done, err := e.Tick(ctx, s, tick, m)
		return fmt.Sprint(id, done), err
	}}
}

// configure draws bounds. Those that refuse would have delayed messages wait for
// room, and enter whenever the mover tries again; so they drop.
func (c *twinned) configure() call {
	config := driver.TopicConfig{DropOldest: true, DedupeWindow: time.Minute}
	switch c.random.IntN(4) {
	case 0:
		config.MaxMessages = int64(5 + c.random.IntN(40))
	case 1:
		config.MaxBytes = int64(30_000 + c.random.IntN(100_000))
	case 2:
		config.MaxAge = time.Minute
	}
	return call{"configure", func(ctx context.Context, e *engine) (string, error) {
		return "", e.Configure(ctx, c.topic, config)
	}}
}

// position draws one.
func (c *twinned) position(ctx context.Context, twin *engine) (driver.Position, error) {
	all, err := readWhole(ctx, twin, c.topic)
	if err != nil || len(all) == 0 || c.random.IntN(4) == 0 {
		return driver.Position{Kind: driver.PositionKind(c.random.IntN(2))}, err
	}
	return driver.Position{Kind: driver.AtID, ID: all[c.random.IntN(len(all))].ID}, nil
}

func newTwinned(topic string, queue bool, seed uint64) *twinned {
	return &twinned{topic: topic, queue: queue, random: rand.New(rand.NewPCG(seed, uint64(len(topic))))}
}
