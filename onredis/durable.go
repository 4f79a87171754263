package onredis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
)

const (
	// maxDurable is how many calls on a link may wait for durability. Each has a
	// connection of its own meanwhile, since WAIT is about what its connection wrote,
	// and holds up whatever comes behind it.
	maxDurable = 64
	// syncingLife is for how long it is known how a server syncs.
	syncingLife = 10 * time.Second
)

// asked is the durability that all of some messages need, ok is false if that is no
// more than being written.
func asked(messages []driver.Message) (d driver.Durability, ok bool) {
	for i := range messages {
		one := messages[i].Durability
		if one == nil || one.Replicas <= 0 && !one.Synced {
			continue
		}
		within := one.Within
		if within <= 0 {
			within = driver.DefaultWithin
		}
		d.Replicas, d.Synced = max(d.Replicas, one.Replicas), d.Synced || one.Synced
		if !ok || within < d.Within { // nobody waits for longer than he asked to
			d.Within = within
		}
		ok = true
	}
	return d, ok
}

// durably is how durability is waited for.
type durably struct {
	driver.Durability
	tail []rueidis.Completed // what to wait by: WAIT, WAITAOF, or nothing

	// Of servers that sync before they answer: which one was asked, and when.
	answers *link
	news    uint64
}

// durably returns how to reach a durability at the node of a key. The error is
// ErrOption if its server has no way to.
func (e *engine) durably(ctx context.Context, key string, d driver.Durability) (*durably, error) {
	w := &durably{Durability: d}
	ms := d.Within.Milliseconds()
	if d.Replicas > 0 {
		w.tail = append(w.tail, e.b.Wait().Numreplicas(int64(d.Replicas)).Timeout(ms).Build().Pin())
	}
	if !d.Synced {
		return w, nil
	}
	l, err := e.work.at(key).link(ctx)
	if err != nil {
		return nil, e.explain(ctx, err, key, reading)
	}
	by, news, err := l.syncs.get(ctx, l)
	switch {
	case err != nil:
		return nil, e.explain(ctx, err, key, reading)
	case by == byAnswering:
		w.answers, w.news = l, news
	case by == byWaiting:
		w.tail = append(w.tail, e.b.Waitaof().Numlocal(1).Numreplicas(0).Timeout(ms).Build().Pin())
	case by == notAtAll:
		return nil, fmt.Errorf("%w: redis %s can't say when a message is synced: set appendonly yes, appendfsync always and no-appendfsync-on-rewrite no, or run Redis 7.4.3 or newer with appendonly yes", beck.ErrOption, e.addr)
	case by == untold:
		return nil, fmt.Errorf("%w: redis %s: this user may not ask whether messages are synced before they are answered; grant +config|get, or run Redis 7.4.3 or newer with appendonly yes", beck.ErrOption, e.addr)
	}
	return w, nil
}

// doDurably runs commands and then waits, if w is not nil. The error notReached says
// that they are done, but not as durable as was asked.
func (r route) doDurably(ctx context.Context, w *durably, cmds ...rueidis.Completed) (replies []rueidis.RedisResult, notReached, err error) {
	if w == nil || len(w.tail) == 0 { // or every answer says that it is synced
		if replies, err = r.doMulti(ctx, cmds...); err == nil {
			notReached = r.stillAnswers(ctx, w)
		}
		return replies, notReached, err
	}
	limited, cancel := context.WithTimeout(ctx, w.Within+answerTimeout)
	defer cancel()
	if r.cluster == nil {
		all := append(append(make([]rueidis.Completed, 0, len(cmds)+len(w.tail)), cmds...), w.tail...)
		replies, err = r.one.doDurable(limited, all...)
	} else {
		replies, err = r.redirected(limited, cmds, w.tail)
	}
	if err != nil {
		return nil, nil, err
	}
	if notReached = w.judge(replies[len(cmds):]); notReached == nil {
		notReached = r.stillAnswers(ctx, w)
	}
	return replies[:len(cmds)], notReached, nil
}

// stillAnswers looks whether the server that has answered was the one that was known to
// sync before it does, or else if this one does so, too.
func (r route) stillAnswers(ctx context.Context, w *durably) error {
	if w == nil || w.answers == nil || w.answers.news.Load() == w.news && r.leadsTo(w.answers) {
		return nil
	}
	l, err := r.link(ctx)
	if err != nil {
		return fmt.Errorf("%w: the server has changed: %v", driver.ErrDurability, err)
	}
	switch by, _, err := l.syncs.get(ctx, l); {
	case err != nil:
		return fmt.Errorf("%w: the server has changed: %v", driver.ErrDurability, err)
	case by != byAnswering:
		return fmt.Errorf("%w: the server has changed to one that answers before it syncs", driver.ErrDurability)
	}
	return nil
}

// runDurably is doDurably for a script.
func (r route) runDurably(ctx context.Context, w *durably, s script, keys []string, args ...string) (rueidis.RedisMessage, error, error) {
	for _, cmd := range []rueidis.Completed{s.call(r.b, keys, args), s.hand(r.b, keys, args)} {
		replies, notReached, err := r.doDurably(ctx, w, cmd)
		if err != nil {
			return rueidis.RedisMessage{}, nil, err
		}
		reply, err := replies[0].ToMessage()
		if !isReply(err, "NOSCRIPT") {
			return reply, notReached, err
		}
	}
	return rueidis.RedisMessage{}, nil, errors.New("redis does not know a script that it was given")
}

// judge reads what WAIT and WAITAOF returned.
func (w *durably) judge(replies []rueidis.RedisResult) error {
	if w.Replicas > 0 {
		n, err := replies[0].AsInt64()
		replies = replies[1:]
		if err != nil {
			return fmt.Errorf("%w: waiting for %d replicas: %v", driver.ErrDurability, w.Replicas, err)
		}
		if n < int64(w.Replicas) {
			return fmt.Errorf("%w: %d of %d replicas have it after %v", driver.ErrDurability, n, w.Replicas, w.Within)
		}
	}
	if len(replies) > 0 {
		n, err := replies[0].AsIntSlice()
		if err != nil || len(n) < 1 {
			return fmt.Errorf("%w: waiting for the append-only file: %v", driver.ErrDurability, err)
		}
		if n[0] < 1 {
			return fmt.Errorf("%w: it is not synced after %v", driver.ErrDurability, w.Within)
		}
	}
	return nil
}

// doDurable is doMulti for commands of which the last ones wait: on a connection that
// nobody else has meanwhile.
func (l *link) doDurable(ctx context.Context, cmds ...rueidis.Completed) ([]rueidis.RedisResult, error) {
	select {
	case l.places <- struct{}{}:
	case <-ctx.Done():
		return nil, &notSent{ctx.Err()}
	}
	defer func() { <-l.places }()
	return l.doMulti(ctx, cmds...)
}

// syncing is how a server lets its clients know that something is synced.
type syncing int

const (
	byAnswering syncing = iota + 1 // it syncs before it answers
	byWaiting                      // WAITAOF
	notAtAll
	untold // the user may not ask
)

// syncs remembers how the server of a link syncs.
type syncs struct {
	mu   sync.Mutex
	by   syncing
	read time.Time
	news uint64 // of the link then; with others it may be another server
}

// get returns how the server syncs, and for which news of the link that is so. Callers
// don't wait for each other: the server may hang, and each has a time of its own.
func (s *syncs) get(ctx context.Context, l *link) (syncing, uint64, error) {
	news := l.news.Load()
	s.mu.Lock()
	by, known := s.by, s.news == news && time.Since(s.read) < syncingLife
	s.mu.Unlock()
	if by != 0 && known {
		return by, news, nil
	}
	by, err := l.readSyncing(ctx)
	if err == nil {
		s.mu.Lock()
		s.by, s.read, s.news = by, time.Now(), news
		s.mu.Unlock()
	}
	return by, news, err
}

func (l *link) readSyncing(ctx context.Context) (syncing, error) {
	b := l.client.B()
	replies, err := l.doMulti(ctx,
		b.ConfigGet().Parameter("append*", "no-appendfsync-on-rewrite").Build(), b.Arbitrary("HELLO").Build())
	if err != nil {
		return 0, err
	}
	hello, err := replies[1].AsStrMap()
	if err != nil {
		return 0, err
	}
	config, err := replies[0].AsStrMap()
	if _, refused := rueidis.IsRedisErr(err); refused {
		config = nil
	} else if err != nil {
		return 0, err
	}
	always := config["appendfsync"] == "always" && config["no-appendfsync-on-rewrite"] != "yes"
	switch {
	case config != nil && config["appendonly"] != "yes":
		return notAtAll, nil
	case always:
		return byAnswering, nil
	case isNewer(hello["version"], 7, 4, 3) && hello["server"] == "redis":
		return byWaiting, nil
	case config == nil:
		return untold, nil
	}
	return notAtAll, nil
}

// isNewer reports whether a version is not older than another.
func isNewer(version string, than ...int) bool {
	parts := strings.Split(version, ".")
	for i, want := range than {
		if i >= len(parts) {
			return false
		}
		n, err := strconv.Atoi(parts[i])
		if err != nil || n != want {
			return err == nil && n > want
		}
	}
	return true
}
