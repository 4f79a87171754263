package onredis

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/beckmq/beck/internal/redisaddr"
)

// A primary that hangs is replaced within seconds, but the calls that it was given
// wait for it until answerTimeout. So when another one has taken its place, the
// connections to it are cut: those calls end then, and nobody knows whether they were
// done.

// rueidis itself waits so: it asks the old primary for its role before it goes on to
// the new one. So each sentinel is asked here as well.

const (
	// cutGrace is for how long a primary that was replaced may still answer.
	cutGrace = 500 * time.Millisecond
	// askEvery is how often a sentinel is asked, and for how long it may think.
	askEvery = time.Second
)

// conns are the connections of a link that are open, with the addresses they lead to.
type conns struct {
	mu   sync.Mutex
	open map[*conn]string
}

func (s *conns) add(c *conn, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[*conn]string{}
	}
	s.open[c] = to
}

func (s *conns) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// others reports whether any leads elsewhere than to an address.
func (s *conns) others(than string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, to := range s.open {
		if to != than {
			return true
		}
	}
	return false
}

// cut closes those that lead elsewhere than to an address; all if that is empty.
func (s *conns) cut(but string) {
	s.mu.Lock()
	var list []*conn
	for c, to := range s.open {
		if to != but {
			list = append(list, c)
		}
	}
	s.mu.Unlock()
	for _, c := range list {
		_ = c.Conn.Close()
	}
}

// sentinels cuts connections to servers which the sentinels don't call primary any
// more.
type sentinels struct {
	e *engine

	mu      sync.Mutex
	answers []string    // of each, empty if it gave none of late
	stale   []time.Time // when a link was first seen to lead elsewhere, by link
}

// run asks until ctx ends.
func (s *sentinels) run(ctx context.Context) {
	hosts := s.e.addr.Each()
	s.answers = make([]string, len(hosts))
	s.stale = make([]time.Time, 2)
	var wg sync.WaitGroup
	for i, a := range hosts {
		wg.Go(func() { s.watch(ctx, i, a) })
	}
	wg.Wait()
}

func (s *sentinels) watch(ctx context.Context, i int, a *redisaddr.Address) {
	var l *link
	defer func() {
		if l != nil {
			go l.close() // one that hangs holds up nobody
		}
	}()
	for {
		if l == nil {
			l = openSentinel(ctx, a)
		}
		primary := ""
		if l != nil {
			primary = askPrimary(ctx, l, s.e.addr.Master)
		}
		s.heard(i, primary)
		select {
		case <-ctx.Done():
			return
		case <-time.After(askEvery):
		}
	}
}

// openSentinel connects to a sentinel; nil if that can't be done, or ctx has ended.
func openSentinel(ctx context.Context, a *redisaddr.Address) *link {
	done := make(chan *link, 1)
	go func() {
		l, _ := openLink(a, &lineage{}, forWork())
		done <- l
	}()
	select {
	case l := <-done:
		return l
	case <-ctx.Done():
		go func() {
			if l := <-done; l != nil {
				l.close()
			}
		}()
		return nil
	}
}

// askPrimary returns the address that a sentinel has of the primary, empty if it
// doesn't answer.
func askPrimary(ctx context.Context, l *link, master string) string {
	limited, cancel := context.WithTimeout(ctx, askEvery)
	defer cancel()
	reply, err := l.do(limited, l.client.B().SentinelGetMasterAddrByName().Master(master).Build())
	if err != nil {
		return ""
	}
	parts, err := reply.AsStrSlice()
	if err != nil || len(parts) != 2 {
		return ""
	}
	return net.JoinHostPort(parts[0], parts[1])
}

// heard takes over an answer. If all who answer agree, and they are most of them,
// links have cutGrace to follow.
func (s *sentinels) heard(i int, primary string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[i] = primary
	agreed, votes := "", 0
	for _, a := range s.answers {
		if a == "" {
			continue
		}
		if agreed != "" && a != agreed {
			agreed = ""
			break
		}
		agreed = a
		votes++
	}
	for n, p := range []*pool{s.e.work, s.e.watcher} {
		switch {
		case agreed == "" || 2*votes <= len(s.answers) || !p.one.conns.others(agreed):
			s.stale[n] = time.Time{}
		case s.stale[n].IsZero():
			s.stale[n] = time.Now()
		case time.Since(s.stale[n]) > cutGrace:
			p.one.conns.cut(agreed)
		}
	}
}
