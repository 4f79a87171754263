package onredis

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck/internal/driver"
)

// pool has the connections of one purpose: a link to every node that has keys. That
// is one node, or a Sentinel's primary whichever it is, unless this is a cluster.
type pool struct {
	open    func(node string) (*link, error)
	cluster *cluster // nil if one node has all keys
	one     *link    // the link to that
	b       rueidis.Builder
	watches bool // it is told of changes of what it reads

	mu     sync.Mutex
	links  map[string]*opening // of a cluster, by the addresses of nodes
	closed bool
}

// opening is a link that is there, or being made.
type opening struct {
	done chan struct{}
	link *link
	err  error
}

// route leads to the node that has a key, and so to all keys of its slot.
type route struct {
	*pool
	key string
}

// at is the route to a key.
func (p *pool) at(key string) route { return route{p, key} }

// do runs one command. Its error is what rueidis or Redis said, or notSent.
func (r route) do(ctx context.Context, cmd rueidis.Completed) (rueidis.RedisMessage, error) {
	if r.cluster == nil {
		return r.one.do(ctx, cmd)
	}
	return r.doOnce(ctx, cmd)
}

// doMulti runs commands in order, on one connection. Only where a cluster is just
// moving keys about, those that it has refused are done behind the others.
func (r route) doMulti(ctx context.Context, cmds ...rueidis.Completed) ([]rueidis.RedisResult, error) {
	if r.cluster == nil {
		return r.one.doMulti(ctx, cmds...)
	}
	return r.redirected(ctx, cmds, nil)
}

// run runs a script, and hands it to Redis first if need be. A script that Redis
// does not know has done nothing.
func (r route) run(ctx context.Context, s script, keys []string, args ...string) (rueidis.RedisMessage, error) {
	reply, err := r.do(ctx, s.call(r.b, keys, args))
	if !isReply(err, "NOSCRIPT") {
		return reply, err
	}
	return r.do(ctx, s.hand(r.b, keys, args))
}

// link is the link to the node that has the key, as far as known.
func (r route) link(ctx context.Context) (*link, error) {
	if r.cluster == nil {
		return r.one, nil
	}
	return r.to(ctx, r.cluster.owner(slotOf(r.key)))
}

// to is the link to a node of a cluster. It is made if it is not there; whoever
// needs it meanwhile waits for that.
func (p *pool) to(ctx context.Context, node string) (*link, error) {
	if node == "" {
		return nil, &notSent{errors.New("no node of the cluster has this slot")}
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, &notSent{driver.ErrClosed}
	}
	o := p.links[node]
	if o == nil {
		o = &opening{done: make(chan struct{})}
		p.links[node] = o
		go p.make(node, o)
	}
	p.mu.Unlock()
	select {
	case <-o.done:
		return o.link, o.err
	case <-ctx.Done():
		return nil, &notSent{ctx.Err()}
	}
}

func (p *pool) make(node string, o *opening) {
	defer close(o.done)
	l, err := p.open(node)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err != nil:
		var unsent *notSent
		if _, refused := rueidis.IsRedisErr(err); !refused && !errors.Is(err, rueidis.ErrNoCache) && !errors.As(err, &unsent) {
			err = &notSent{err} // nothing but a greeting was
		}
		o.err = err
		delete(p.links, node)
	case p.closed:
		o.err = &notSent{driver.ErrClosed}
		go l.close()
	default:
		o.link = l
	}
}

// all are the links that are there.
func (p *pool) all() []*link {
	if p.cluster == nil {
		if p.one == nil {
			return nil
		}
		return []*link{p.one}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []*link
	for _, o := range p.links {
		if o.link != nil {
			list = append(list, o.link)
		}
	}
	return list
}

// primaries are the links to all nodes that have keys. Those that can't be reached
// are an error.
func (p *pool) primaries(ctx context.Context) ([]*link, error) {
	if p.cluster == nil {
		return []*link{p.one}, nil
	}
	var list []*link
	for _, node := range p.cluster.primaries() {
		l, err := p.to(ctx, node)
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", node, err)
		}
		list = append(list, l)
	}
	return list, nil
}

// cut ends the calls that wait for a node.
func (p *pool) cut(node string) {
	p.mu.Lock()
	o := p.links[node]
	p.mu.Unlock()
	if o == nil {
		return
	}
	select {
	case <-o.done:
		if o.link != nil {
			o.link.conns.cut("")
		}
	default: // it is just being made
	}
}

// keep closes the links to nodes that don't belong to the cluster any more.
func (p *pool) keep(nodes map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for node, o := range p.links {
		if o.link != nil && !nodes[node] {
			delete(p.links, node)
			go o.link.close()
		}
	}
}

// group is some of a list of keys: those whose node one link leads to.
type group struct {
	link *link  // nil if it is that to a node of a cluster
	node string // the node
	at   []int  // their places in the list
}

// groups splits keys by their nodes.
func (p *pool) groups(keys []string) []group {
	if p.cluster == nil {
		all := make([]int, len(keys))
		for i := range all {
			all[i] = i
		}
		return []group{{link: p.one, at: all}}
	}
	byNode := map[string]int{}
	var list []group
	for i, key := range keys {
		node := p.cluster.owner(slotOf(key))
		n, ok := byNode[node]
		if !ok {
			n = len(list)
			byNode[node] = n
			list = append(list, group{node: node})
		}
		list[n].at = append(list[n].at, i)
	}
	return list
}

// linkOf is the link of a group. It may have to be made.
func (p *pool) linkOf(ctx context.Context, g group) (*link, error) {
	if g.link != nil {
		return g.link, nil
	}
	return p.to(ctx, g.node)
}

// each runs one or more commands for each of some keys: in one pipeline a node, all
// nodes side by side. It returns the replies in the order of keys, or the first error.
func (p *pool) each(ctx context.Context, keys []string, build func(i int) []rueidis.Completed) ([][]rueidis.RedisResult, error) {
	replies := make([][]rueidis.RedisResult, len(keys))
	groups := p.groups(keys)
	errs := make([]error, len(groups))
	var wg sync.WaitGroup
	for n, g := range groups {
		work := func() { errs[n] = p.eachOf(ctx, g, keys, build, replies) }
		if len(groups) == 1 {
			work()
		} else {
			wg.Go(work)
		}
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return replies, nil
}

func (p *pool) eachOf(ctx context.Context, g group, keys []string, build func(i int) []rueidis.Completed, replies [][]rueidis.RedisResult) error {
	l, err := p.linkOf(ctx, g)
	if err != nil {
		return err
	}
	var cmds []rueidis.Completed
	counts := make([]int, len(g.at))
	for n, i := range g.at {
		some := build(i)
		counts[n] = len(some)
		cmds = append(cmds, some...)
	}
	got, err := l.doMulti(ctx, cmds...)
	if err != nil {
		return err
	}
	for n, i := range g.at {
		replies[i], got = got[:counts[n]], got[counts[n]:]
		if p.cluster == nil || !anyRedirect(replies[i]) {
			continue
		}
		if replies[i], err = p.at(keys[i]).doMulti(ctx, build(i)...); err != nil {
			return err
		}
	}
	return nil
}

// stopCalls has calls fail from now on.
func (p *pool) stopCalls() {
	for _, l := range p.all() {
		l.closed.Store(true)
	}
}

// close ends all calls. It may take as long as Redis takes to answer them.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	for _, l := range p.all() {
		l.close()
	}
}
