package onredis

import (
	"context"
	"net"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

const (
	// redirectTime is for how long a call follows a slot that moves about, and waits
	// while only some of its keys have been moved: scripts can be run nowhere then.
	redirectTime = 30 * time.Second
	// freeRedirects is how often it follows at once. Nodes that send it to each other
	// don't agree yet.
	freeRedirects = 2
	// Between two attempts it waits for a time that grows from the first to the last
	// of these.
	firstPartPause = 2 * time.Millisecond
	lastPartPause  = 50 * time.Millisecond
)

// direction is what a node of a cluster says of a command that it has not done.
type direction struct {
	kind directionKind
	node string // where to go
}

type directionKind int

const (
	stay     directionKind = iota // it is no such answer
	moved                         // the slot is at another node
	ask                           // the key is, though the slot isn't yet
	tryAgain                      // some of the keys are
)

// directionOf reads an answer of a node.
func directionOf(reply rueidis.RedisResult, from string) direction {
	return directionIn(reply.Error(), from)
}

func directionIn(answer error, from string) direction {
	err, ok := rueidis.IsRedisErr(answer)
	if !ok {
		return direction{}
	}
	if node, ok := err.IsMoved(); ok {
		return direction{moved, nodeAddress(node, from)}
	}
	if node, ok := err.IsAsk(); ok {
		return direction{ask, nodeAddress(node, from)}
	}
	if err.IsTryAgain() {
		return direction{kind: tryAgain}
	}
	return direction{}
}

// nodeAddress completes the address of a node, which has the host of the one that
// tells it if it has none itself.
func nodeAddress(node, from string) string {
	host, port, err := net.SplitHostPort(node)
	if err != nil {
		if i := strings.LastIndexByte(node, ':'); i >= 0 { // IPv6 without brackets
			host, port = node[:i], node[i+1:]
		}
	}
	if host == "" {
		host, _, _ = net.SplitHostPort(from)
	}
	return net.JoinHostPort(host, port)
}

func anyRedirect(replies []rueidis.RedisResult) bool {
	for _, r := range replies {
		if directionOf(r, "").kind != stay {
			return true
		}
	}
	return false
}

// redirected runs commands at the node that has the key, and follows it where it has
// gone. What a node refuses in this way it has not done, so only that is sent again.
// Behind what is sent goes tail, each time; its replies are added to the end.
func (r route) redirected(ctx context.Context, cmds, tail []rueidis.Completed) ([]rueidis.RedisResult, error) {
	all := cmds
	if len(tail) > 0 {
		all = append(append(make([]rueidis.Completed, 0, len(cmds)+len(tail)), cmds...), tail...)
	}
	for i := range all {
		all[i] = all[i].Pin() // it may be sent again
	}
	slot := slotOf(r.key)
	l, err := r.to(ctx, r.cluster.owner(slot))
	if err != nil {
		r.cluster.trouble("")
		return nil, err
	}
	do := l.doMulti
	if len(tail) > 0 {
		do = l.doDurable
	}
	replies, err := do(ctx, all...)
	if err != nil {
		return nil, err
	}
	if !anyRedirect(replies[:len(cmds)]) {
		r.cluster.look(replies, l.node)
		return replies, nil
	}
	f := &following{route: r, slot: slot, cmds: all[:len(cmds)], tail: all[len(cmds):], replies: replies, from: l.node}
	return f.run(ctx)
}

// doOnce is redirected for one command, at little cost where nothing moves.
func (r route) doOnce(ctx context.Context, cmd rueidis.Completed) (rueidis.RedisMessage, error) {
	l, err := r.to(ctx, r.cluster.owner(slotOf(r.key)))
	if err != nil {
		r.cluster.trouble("")
		return rueidis.RedisMessage{}, err
	}
	cmd = cmd.Pin() // it may be sent again
	reply, err := l.do(ctx, cmd)
	switch {
	case err == nil:
		return reply, nil
	case directionIn(err, l.node).kind != stay:
		replies, err := r.redirected(ctx, []rueidis.Completed{cmd}, nil)
		if err != nil {
			return rueidis.RedisMessage{}, err
		}
		return replies[0].ToMessage()
	case ctx.Err() == nil && !l.closed.Load():
		r.cluster.lookAt(err, l.node)
	}
	return reply, err
}

// doBuilt is doMulti for many commands, which are built again for the rare case that
// they have to be sent again: keeping them for that costs more.
func (r route) doBuilt(ctx context.Context, build func() []rueidis.Completed) ([]rueidis.RedisResult, error) {
	if r.cluster == nil {
		return r.one.doMulti(ctx, build()...)
	}
	slot := slotOf(r.key)
	l, err := r.to(ctx, r.cluster.owner(slot))
	if err != nil {
		r.cluster.trouble("")
		return nil, err
	}
	replies, err := l.doMulti(ctx, build()...)
	if err != nil {
		return nil, err
	}
	if !anyRedirect(replies) {
		r.cluster.look(replies, l.node)
		return replies, nil
	}
	again := build()
	for i := range again {
		again[i] = again[i].Pin()
	}
	f := &following{route: r, slot: slot, cmds: again, replies: replies, from: l.node}
	return f.run(ctx)
}

// following is a call whose key has gone elsewhere.
type following struct {
	route
	slot       uint16
	cmds, tail []rueidis.Completed
	replies    []rueidis.RedisResult // the newest ones, tail's behind those of cmds
	from       string                // the node that gave them
}

func (f *following) run(ctx context.Context) ([]rueidis.RedisResult, error) {
	elsewhere := false // what was armed for the key has to be armed at another node
	defer func() {
		if elsewhere {
			f.cluster.changed(f.slot)
		}
	}()
	pause, limit := firstPartPause, time.Now().Add(redirectTime)
	for n := 0; ; n++ {
		to, which := f.next()
		if to.kind == stay || time.Now().After(limit) {
			return f.replies, nil
		}
		if n >= freeRedirects || to.kind == tryAgain {
			select {
			case <-ctx.Done():
				return f.replies, nil
			case <-time.After(pause):
			}
			pause = min(2*pause, lastPartPause)
		}
		node := to.node
		switch to.kind {
		case moved:
			elsewhere = f.cluster.moved(f.slot, node) || elsewhere
		case tryAgain:
			node = f.cluster.owner(f.slot)
		}
		// Who reads by the watcher is armed where he is sent to. A hint would have him
		// read again, and be sent there again, as long as the slot is half moved.
		elsewhere = elsewhere || to.kind == ask && !f.watches
		if err := f.send(ctx, node, to.kind == ask, which); err != nil {
			return f.replies, nil // which say where it should be
		}
	}
}

// next is where to go with which of the commands: the first that was refused, and
// those that were in the same way.
func (f *following) next() (to direction, which []int) {
	for i := range f.cmds {
		d := directionOf(f.replies[i], f.from)
		if d.kind == stay {
			continue
		}
		if which == nil {
			to = d
		}
		if d == to {
			which = append(which, i)
		}
	}
	return to, which
}

// send runs some of the commands at a node.
func (f *following) send(ctx context.Context, node string, asking bool, which []int) error {
	l, err := f.to(ctx, node)
	if err != nil {
		f.cluster.trouble(node)
		return err
	}
	var cmds []rueidis.Completed
	step := 1
	if asking {
		step = 2
	}
	for _, i := range which {
		if asking {
			cmds = append(cmds, l.client.B().Asking().Build())
		}
		cmds = append(cmds, f.cmds[i])
	}
	cmds = append(cmds, f.tail...)
	do := l.doMulti
	if len(f.tail) > 0 {
		do = l.doDurable
	}
	got, err := do(ctx, cmds...)
	if err != nil {
		return err
	}
	for n, i := range which {
		f.replies[i] = got[step*n+step-1]
	}
	copy(f.replies[len(f.cmds):], got[step*len(which):])
	f.from = l.node
	f.cluster.look(got, l.node)
	return nil
}
