package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/beckmq/beck/internal/redisaddr"
)

// trial is a command by which a right is tried. Redis looks at the user's rights
// before anything else but the number of arguments, so a command will do that then
// fails, or has nothing to do: $K is a key, $T another one and $C a channel that
// never exist, since no topic's name begins as theirs do.
type trial struct{ right, command string }

// part is a group of rights, for one purpose.
type part struct {
	name   string
	level  Level // of it missing
	says   string
	trials []trial
	// kind is the deployment that needs it; nil for all.
	kind *redisaddr.Kind
	// since is the version that has these commands.
	since [3]int
}

func only(k redisaddr.Kind) *redisaddr.Kind { return &k }

// parts are those of docs/redis-acl.md.
var parts = []part{
	{name: "messages", level: Danger, says: "topics, subscriptions and queues don't work", trials: []trial{
		{"+ping", "PING"}, {"+client|tracking", "CLIENT TRACKING OFF"}, {"+time", "TIME"}, {"+type", "TYPE $K"},
		{"+scan", "SCAN 0 MATCH $K COUNT 1"}, {"+exists", "EXISTS $T"}, {"+del", "DEL $T"}, {"+unlink", "UNLINK $T"},
		{"+expire", "EXPIRE $T 1"}, {"+pexpire", "PEXPIRE $T 1"}, {"+pttl", "PTTL $T"}, {"+persist", "PERSIST $T"},
		{"+memory|usage", "MEMORY USAGE $K"}, {"+eval", "EVAL return 1 $K"}, {"+evalsha", "EVALSHA 0 1 $K"},
		{"+xadd", "XADD $K NOMKSTREAM * a b"}, {"+xrange", "XRANGE $K - +"}, {"+xlen", "XLEN $K"},
		{"+xtrim", "XTRIM $K MAXLEN 0"}, {"+xdel", "XDEL $K 1-1"}, {"+xack", "XACK $K g 1-1"},
		{"+xclaim", "XCLAIM $K g c 0 1-1"}, {"+xautoclaim", "XAUTOCLAIM $K g c 0 0"}, {"+xpending", "XPENDING $K g"},
		{"+xreadgroup", "XREADGROUP GROUP g c STREAMS $K >"}, {"+xgroup", "XGROUP CREATE $K g 0"},
		{"+xgroup", "XGROUP DESTROY $K g"}, {"+xgroup", "XGROUP SETID $K g 0"}, {"+xgroup", "XGROUP DELCONSUMER $K g c"},
		{"+xinfo", "XINFO STREAM $K"}, {"+xinfo", "XINFO GROUPS $K"}, {"+xinfo", "XINFO CONSUMERS $K g"},
		{"+get", "GET $T"}, {"+set", "SET $T a XX"}, {"+hget", "HGET $T a"}, {"+hmget", "HMGET $T a"},
		{"+hset", "HSET $T a b c"}, {"+hdel", "HDEL $T a"}, {"+hgetall", "HGETALL $T"}, {"+hkeys", "HKEYS $T"},
		{"+hincrby", "HINCRBY $T a x"}, {"+hlen", "HLEN $T"}, {"+zadd", "ZADD $T NX XX 1 a"}, {"+zrem", "ZREM $T a"},
		{"+zrange", "ZRANGE $T 0 0"}, {"+zrangebyscore", "ZRANGEBYSCORE $T 0 0"}, {"+zscore", "ZSCORE $T a"},
		{"+zcount", "ZCOUNT $T 0 0"}, {"+zcard", "ZCARD $T"},
	}},
	{name: "broadcasts", level: Warn, says: "broadcasts can't be sent", trials: []trial{{"+publish", "PUBLISH $C x"}}},
	{name: "listening", level: Warn, says: "nobody can listen to broadcasts", trials: []trial{
		{"+subscribe", "SUBSCRIBE $C"}, {"+unsubscribe", "UNSUBSCRIBE $C"},
		{"+psubscribe", "PSUBSCRIBE $P"}, {"+punsubscribe", "PUNSUBSCRIBE $P"},
	}},
	{name: "requests", level: Warn, says: "requests and answers don't go", trials: []trial{
		{"+spublish", "SPUBLISH $C x"}, {"+ssubscribe", "SSUBSCRIBE $C"}, {"+sunsubscribe", "SUNSUBSCRIBE $C"},
	}},
	{name: "replicated", level: Warn, says: "messages can't be published at a level with replicas",
		trials: []trial{{"+wait", "WAIT 0 1"}}},
	{name: "synced", level: Warn, says: "messages can't be published as synced", since: [3]int{7, 4, 3},
		trials: []trial{{"+waitaof", "WAITAOF 0 0 1"}}},
	{name: "sentinel", level: Danger, says: "beck can't make sure that a server is the primary", kind: only(redisaddr.Sentinel),
		trials: []trial{{"+role", "ROLE"}}},
	{name: "cluster", level: Danger, says: "beck can't find topics, or loses sight of those that move", kind: only(redisaddr.Cluster),
		trials: []trial{{"+cluster|slots", "CLUSTER SLOTS"}, {"+asking", "ASKING"}}},
	{name: "reshard", level: Warn, says: "beck reshard can't move topics", kind: only(redisaddr.Shards),
		trials: []trial{{"+rename", "RENAME $T $T"}, {"+dump", "DUMP $T"}, {"+restore", "RESTORE $T x x"}}},
}

// missing is what one server refuses.
type missing struct {
	rights         []string
	keys, channels bool
	err            error
}

// rights tries on each server what the user may do.
func (v *visit) rights(ctx context.Context) {
	found := make([][]missing, len(v.servers))
	var wait sync.WaitGroup
	for i, s := range v.servers {
		wait.Go(func() { found[i] = v.tryAll(ctx, s) })
	}
	wait.Wait()
	for i, s := range v.servers {
		v.reportRights(s, found[i])
	}
}

func (v *visit) tryAll(ctx context.Context, s *server) []missing {
	all := make([]missing, len(parts))
	for i, p := range parts {
		if p.kind != nil && *p.kind != v.addr.Kind || !s.newer(p.since[0], p.since[1], p.since[2]) {
			continue
		}
		all[i] = v.try(ctx, s, p)
		if all[i].err != nil {
			break
		}
	}
	return all
}

// try tries the rights of a part, on a connection of its own: one that has
// subscribed takes no other commands.
func (v *visit) try(ctx context.Context, s *server, p part) (m missing) {
	c, err := dial(ctx, s.at)
	if err != nil {
		m.err = err
		return m
	}
	defer c.Close()
	for _, t := range p.trials {
		_, err := c.do(ctx, v.commandOf(t)...)
		if _, isReply := err.(replyError); err != nil && !isReply {
			m.err = err
			return m
		}
		if !denied(err) {
			continue
		}
		switch text := err.Error(); {
		case strings.Contains(text, " channel"):
			m.channels = true
		case strings.Contains(text, " key"):
			m.keys = true
		case !slices.Contains(m.rights, t.right):
			m.rights = append(m.rights, t.right)
		}
	}
	return m
}

// commandOf fills in keys and channels.
func (v *visit) commandOf(t trial) []string {
	stream := v.options.Prefix + "~doctor"
	if script, isScript := strings.CutPrefix(t.command, "EVAL return 1 "); isScript {
		return []string{"EVAL", "return 1", "1", strings.Replace(script, "$K", stream, 1)}
	}
	args := strings.Fields(t.command)
	for i, a := range args {
		switch a {
		case "$K", "$C":
			args[i] = stream
		case "$T":
			args[i] = "{" + stream + "}:doctor"
		case "$P":
			args[i] = v.options.Prefix + "*"
		}
	}
	return args
}

func (v *visit) reportRights(s *server, found []missing) {
	const check = "permissions"
	well := true
	for i, m := range found {
		p := parts[i]
		if m.err != nil {
			v.report.add(s.addr, unknown(check, "", "the connection failed while they were tried: %v", m.err))
			return
		}
		rights := m.rights
		if m.keys {
			rights = append(rights, v.keyPatterns()...)
		}
		if m.channels {
			rights = append(rights, "&"+v.options.Prefix+"*")
		}
		if len(rights) == 0 {
			continue
		}
		well = false
		v.report.add(s.addr, Finding{Level: p.level, Check: check, Mend: s.grant(rights...),
			Says: fmt.Sprintf("%s lacks rights: %s", s.user(), p.says)})
	}
	switch {
	case !well:
	case s.at.User == "" && s.at.Password == "" && s.at.Network == "tcp":
		v.report.add(s.addr, warn(check, "give beck a user of its own: docs/redis-acl.md",
			"no password: whoever reaches the port may read and remove everything"))
	default:
		v.report.add(s.addr, ok(check, "%s may do all that beck needs", s.user()))
	}
}

func (v *visit) keyPatterns() []string {
	if v.options.Prefix == "" {
		return []string{"~*"}
	}
	return []string{"~" + v.options.Prefix + "*", "~{" + v.options.Prefix + "*"}
}
