package onredis

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/redis/rueidis"
)

const (
	// After a connection was lost the next is made after a time that grows from
	// the first to the last of these.
	firstRetry = 10 * time.Millisecond
	lastRetry  = time.Second
	// subscribeAtOnce is how many channels are subscribed to in one pipeline.
	subscribeAtOnce = 500
)

var errSlotMoved = errors.New("the slot of the inbox has moved to another node")

// run keeps a connection as long as something is wanted, until the engine is closed.
func (l *live) run() {
	wait := firstRetry
	for l.awaitWanted() {
		up := l.session()
		if up {
			wait = firstRetry
		}
		select {
		case <-l.stop:
			return
		case <-time.After(wait/2 + rand.N(wait/2)):
		}
		wait = min(2*wait, lastRetry)
	}
}

// awaitWanted returns false when the engine is closed.
func (l *live) awaitWanted() bool {
	for {
		l.mu.RLock()
		any := len(l.wanted) > 0
		l.mu.RUnlock()
		if any {
			select {
			case <-l.stop:
				return false
			default:
				return true
			}
		}
		select {
		case <-l.stop:
			return false
		case <-l.wake:
		}
	}
}

// session makes a connection and subscribes to what is wanted, until it is lost.
// It reports whether it had subscribed to anything.
func (l *live) session() (up bool) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	// In a cluster the inbox is subscribed to at the node that has its slot; all else
	// is heard at any.
	link, err := l.work.at(l.inbox).link(ctx)
	if err != nil {
		l.drop(err, false)
		return false
	}
	c, _ := link.client.Dedicate()
	ended := make(chan error, 1)
	lost := c.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage: l.heard,
		OnSubscription: func(s rueidis.PubSubSubscription) {
			switch s.Kind {
			case "subscribe":
				l.confirm(channel{exact, s.Channel})
			case "psubscribe":
				l.confirm(channel{pattern, s.Channel})
			case "ssubscribe":
				l.confirm(channel{sharded, s.Channel})
			case "sunsubscribe":
				// Not asked for, since the inbox is never left: its slot has moved.
				select {
				case ended <- errSlotMoved:
				default:
				}
			}
		},
	})
	defer func() {
		c.Close()
		l.drop(err, up)
	}()
	asked := map[channel]struct{}{}
	for {
		if err = l.subscribe(c, link.node, asked); err != nil {
			return up
		}
		up = true
		select {
		case err = <-lost:
			return up
		case err = <-ended:
			l.cluster.trouble("")
			return up
		case <-l.stop:
			return up
		case <-l.wake:
		}
	}
}

// subscribe brings what the connection is subscribed to in step with what is
// wanted. A channel that was left and is wanted again is asked for once more, and
// Redis confirms it once more.
func (l *live) subscribe(c rueidis.DedicatedClient, node string, asked map[channel]struct{}) error {
	var cmds []rueidis.Completed
	var channels []channel // empty names for those that are left
	l.mu.Lock()
	for name := range asked {
		if l.wanted[name] == nil {
			cmds, channels = append(cmds, name.leave(c.B())), append(channels, channel{})
			delete(asked, name)
		}
	}
	for name, w := range l.wanted {
		if !w.asked {
			cmds, channels = append(cmds, name.join(c.B())), append(channels, name)
			asked[name], w.asked = struct{}{}, true
		}
	}
	l.mu.Unlock()
	for len(cmds) > 0 {
		n := min(len(cmds), subscribeAtOnce)
		for i, reply := range c.DoMulti(context.Background(), cmds[:n]...) {
			if err := reply.NonRedisError(); err != nil {
				return err
			}
			if d := directionOf(reply, ""); d.kind != stay && l.cluster != nil {
				if d.kind == moved {
					l.cluster.moved(slotOf(l.inbox), directionOf(reply, node).node)
				}
				return reply.Error()
			}
			if err := reply.Error(); err != nil && !rueidis.IsRedisNil(err) && channels[i].name != "" {
				delete(asked, channels[i])
				l.refuse(channels[i], err)
			}
		}
		cmds, channels = cmds[n:], channels[n:]
	}
	return nil
}

func (c channel) join(b rueidis.Builder) rueidis.Completed {
	switch c.kind {
	case pattern:
		return b.Psubscribe().Pattern(c.name).Build()
	case sharded:
		return b.Ssubscribe().Channel(c.name).Build()
	}
	return b.Subscribe().Channel(c.name).Build()
}

func (c channel) leave(b rueidis.Builder) rueidis.Completed {
	switch c.kind {
	case pattern:
		return b.Punsubscribe().Pattern(c.name).Build()
	case sharded:
		return b.Sunsubscribe().Channel(c.name).Build()
	}
	return b.Unsubscribe().Channel(c.name).Build()
}

// confirm is called on the goroutine that reads the connection, before anything
// that comes on the channel.
func (l *live) confirm(c channel) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.wanted[c]
	if w == nil || !w.asked || w.ready {
		return
	}
	w.ready = true
	close(w.confirmed)
	for _, x := range w.listeners {
		if x.missed {
			x.missed = false
			x.Missed()
		}
	}
	if c.kind == sharded {
		l.services.renewNow()
	}
}

// refuse gives up a channel that Redis does not allow.
func (l *live) refuse(c channel, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.wanted[c]
	if w == nil || !w.asked {
		return
	}
	for _, x := range w.listeners {
		if x.missed {
			l.log.Error("Redis does not let a listener listen any more", "redis", l.addr.String(), "channel", c.name, "error", err)
			break
		}
	}
	w.err = err
	delete(l.wanted, c)
	close(w.confirmed)
}

// drop notes that the connection is lost. Who waits for it waits on, unless it
// could not be made.
func (l *live) drop(err error, up bool) {
	l.mu.Lock()
	for _, w := range l.wanted {
		w.asked = false
		if !w.ready {
			continue
		}
		w.ready, w.confirmed = false, make(chan struct{})
		for _, x := range w.listeners {
			x.missed = true
		}
	}
	if !up {
		l.attempt.err = err
		close(l.attempt.failed)
		l.attempt = &attempt{failed: make(chan struct{})}
	}
	l.mu.Unlock()
	l.askers.lost()
}
