package onredis

import (
	"context"
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
// So whoever reads by a connection that is new asks, in the same pipeline, which
// server this is. In a cluster a node has one address all its life, and who takes over
// from whom is known from its map.

// lineage is what is known of the server of a node, for all links to it.
type lineage struct {
	mu      sync.Mutex
	runID   string // of the process, empty if not known
	address string
	count   atomic.Uint32
	lost    func() // for a cluster, in place of counting
}

// sawServer takes over what INFO told of the server at an address.
func (l *lineage) sawServer(info, address string) {
	runID := infoField(info, "run_id")
	l.mu.Lock()
	defer l.mu.Unlock()
	sameAddress, same := l.address == address, l.runID == runID
	first := l.address == ""
	if runID == "" {
		same = sameAddress // nobody may ask; a restart goes unnoticed
	}
	l.runID, l.address = runID, address
	if first || same || sameAddress && infoField(info, "aof_enabled") == "1" {
		return
	}
	if l.lost != nil {
		l.lost()
		return
	}
	l.count.Add(1)
}

// doTelling is doMulti for reading, with the era of what was read.
func (r route) doTelling(ctx context.Context, cmds ...rueidis.Completed) ([]rueidis.RedisResult, string, error) {
	l, err := r.link(ctx)
	if err != nil {
		if r.cluster != nil {
			r.cluster.trouble("")
		}
		return nil, "", err
	}
	if dials := l.dials.Load(); l.seen.Load() != dials {
		if err := l.identify(ctx); err != nil {
			return nil, "", err
		}
		l.seen.Store(dials)
	}
	dials := l.dials.Load()
	replies, err := r.doMulti(ctx, cmds...)
	if err == nil && l.dials.Load() != dials {
		// They may be of a server that nobody has asked who it is.
		err = l.identify(ctx)
	}
	return replies, r.era(l), err
}

func (r route) era(l *link) string {
	if r.cluster != nil {
		return strconv.FormatUint(uint64(r.cluster.era(slotOf(r.key)))+1, 10)
	}
	return strconv.FormatUint(uint64(l.lineage.count.Load())+1, 10)
}

// identify asks which server this is. A user who may not ask is told apart by the
// server's address alone.
func (l *link) identify(ctx context.Context) error {
	reply, err := l.do(ctx, l.client.B().Info().Section("server", "persistence").Build())
	if _, refused := rueidis.IsRedisErr(err); err != nil && !refused {
		return err
	}
	var info string
	if err == nil {
		if info, err = reply.ToString(); err != nil {
			return err
		}
	}
	address, _ := l.dialed.Load().(string)
	l.lineage.sawServer(info, address)
	return nil
}
