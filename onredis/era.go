package onredis

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/redis/rueidis"
)

// Two eras of a topic are what its server had before and after it may have lost
// messages that it had confirmed: when a replica, which may have been behind, took its
// place; or when it was started again without an append-only file. A reader that was
// told of everything before the loss can't see it by the continuity rule, since the
// last message that it saw is still there.
//
// So whoever reads by a connection that is new, or by one to another server than what
// was written last, asks which server this is. In a cluster a node has one address all
// its life, and who takes over from whom is known from its map.

const (
	// identifyTries is how often it is asked again which server answered, while a
	// client changes from one to another.
	identifyTries = 20
	// eraTries is how often a reading is done again during which an era ended.
	eraTries = 3
)

// server is a process of Redis.
type server struct {
	runID   string // empty if this user may not ask
	address string
}

// is reports whether two are the same, as far as can be known: a user who may not ask
// does not notice a restart.
func (s server) is(o server) bool {
	if s.runID == "" || o.runID == "" {
		return s.address == o.address
	}
	return s.runID == o.runID
}

// lineage is what is known of the server of a node, for all links to it.
type lineage struct {
	mu    sync.Mutex
	now   server
	count atomic.Uint32
	lost  func() // for a cluster, in place of counting
}

// sawServer takes over which server a link leads to, and whether that keeps what it
// has in an append-only file.
func (l *lineage) sawServer(by *link, s server, keeps bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before, now := by.server, l.now
	by.server = s
	switch {
	case now.address == "":
		l.now = s
	case s.is(now):
	case before.address != "" && !before.is(now) && s.is(before):
		// This link still leads to the one that another link has left.
	default:
		l.now = s
		if s.address == now.address && keeps {
			return
		}
		if l.lost != nil {
			l.lost()
			return
		}
		l.count.Add(1)
	}
}

// doTelling runs commands that read, with the era of what was read. If they can be
// repeated they are, should that era end meanwhile: nothing of one era is then told
// under the name of another. If they can't it is the later one.
func (r route) doTelling(ctx context.Context, repeat bool, build func() []rueidis.Completed) ([]rueidis.RedisResult, string, error) {
	for try := 1; ; try++ {
		l, news, before, err := r.known(ctx)
		if err != nil {
			return nil, "", err
		}
		replies, err := r.doMulti(ctx, build()...)
		if err != nil || l.news.Load() == news && r.leadsTo(l) && r.era(l) == before {
			return replies, before, err
		}
		// They may be of a server that nobody has asked who it is.
		_, _, after, err := r.known(ctx)
		if err != nil || after == before || !repeat || try == eraTries {
			return replies, after, err
		}
	}
}

// known is the link to the node, to a server that was identified, and its era. As long
// as its news are the same it leads to that one.
func (r route) known(ctx context.Context) (l *link, news uint64, era string, err error) {
	if l, err = r.link(ctx); err != nil {
		if r.cluster != nil {
			r.cluster.trouble("")
		}
		return nil, 0, "", err
	}
	if news = l.news.Load(); l.seen.Load() != news {
		if news, err = l.identify(ctx); err != nil {
			if r.cluster != nil && ctx.Err() == nil {
				r.cluster.lookAt(err, l.node)
			}
			return nil, 0, "", err
		}
		l.seen.Store(news)
	}
	return l, news, r.era(l), nil
}

// leadsTo reports whether a link still is the one to the node.
func (r route) leadsTo(l *link) bool {
	return r.cluster == nil || r.cluster.owner(slotOf(r.key)) == l.node
}

func (r route) era(l *link) string {
	if r.cluster != nil {
		return strconv.FormatUint(uint64(r.cluster.era(slotOf(r.key)))+1, 10)
	}
	return strconv.FormatUint(uint64(l.lineage.count.Load())+1, 10)
}

// identify asks which server this is, and returns the news of which that is the answer.
// A user who may not ask is told apart by the server's address alone.
func (l *link) identify(ctx context.Context) (news uint64, err error) {
	for range identifyTries {
		turns := l.turns.Load()
		news = l.news.Load()
		reply, err := l.do(ctx, l.client.B().Info().Section("server", "persistence").Build())
		if _, refused := rueidis.IsRedisErr(err); err != nil && !refused {
			return 0, err
		}
		var info string
		if err == nil {
			if info, err = reply.ToString(); err != nil {
				return 0, err
			}
		}
		if to := l.wrote.Load(); to != nil && l.turns.Load() == turns { // else it may be the answer of another one
			l.lineage.sawServer(l, server{infoField(info, "run_id"), *to}, infoField(info, "aof_enabled") == "1")
			return news, nil
		}
	}
	return 0, &notSent{errors.New("it is not clear which server is the primary")}
}
