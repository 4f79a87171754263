package doctor

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/redisaddr"
)

// sentinel is what one sentinel says.
type sentinel struct {
	addr    string
	err     error
	unknown bool // it knows no such primary
	primary string
	known   int               // sentinels it knows, itself included
	state   map[string]string // nil if the user may not ask
	others  []string          // replicas
	quorum  error             // of CKQUORUM
	lacks   []string          // rights that beck needs
}

// fromSentinels asks the sentinels who the primary is, and looks at themselves.
func (v *visit) fromSentinels(ctx context.Context) ([]member, error) {
	var all []*sentinel
	for _, a := range v.addr.Each() {
		all = append(all, v.askSentinel(ctx, a))
	}
	primaries, replicas := []string{}, []string{}
	var failed error
	for _, s := range all {
		role := "sentinel"
		switch {
		case s.err != nil:
			role = ""
			failed = unreachable(s.addr, s.err)
			v.report.add(s.addr, danger("sentinels", "start it, or see its log and the way there", "no answer: %v", short(s.err)))
		case s.unknown:
			failed = fmt.Errorf("%w: the sentinel %s knows no primary of the name %q; see: redis-cli -h HOST -p PORT SENTINEL MASTERS",
				beck.ErrOption, s.addr, v.addr.Master)
			v.report.add(s.addr, danger("sentinels", "SENTINEL MONITOR "+v.addr.Master+" HOST PORT 2", "it knows no primary of the name %s", v.addr.Master))
		case !slices.Contains(primaries, s.primary):
			primaries = append(primaries, s.primary)
		}
		for _, r := range s.others {
			if !slices.Contains(replicas, r) {
				replicas = append(replicas, r)
			}
		}
		v.report.Servers = append(v.report.Servers, Server{Addr: s.addr, Role: role})
	}
	if len(primaries) == 0 {
		return nil, failed
	}
	v.judgeSentinels(all, primaries)
	var members []member
	for _, hostPort := range slices.Compact(append(primaries, slices.DeleteFunc(replicas, func(r string) bool { return slices.Contains(primaries, r) })...)) {
		a, err := v.addr.With(hostPort)
		if err != nil {
			return nil, err
		}
		members = append(members, member{addr: a})
	}
	return members, nil
}

func (v *visit) askSentinel(ctx context.Context, a *redisaddr.Address) *sentinel {
	s := &sentinel{addr: a.Hosts[0]}
	c, err := dial(ctx, a)
	if err != nil {
		s.err = err
		return s
	}
	defer c.Close()
	reply, err := c.do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", v.addr.Master)
	hostPort := strs(reply)
	switch {
	case err != nil:
		s.err = err
		return s
	case len(hostPort) != 2:
		s.unknown = true
		return s
	}
	s.primary = net.JoinHostPort(hostPort[0], hostPort[1])
	if reply, err := c.do(ctx, "SENTINEL", "SENTINELS", v.addr.Master); err == nil {
		list, _ := reply.([]any)
		s.known = 1 + len(list)
	}
	if reply, err := c.do(ctx, "SENTINEL", "MASTER", v.addr.Master); err == nil {
		s.state = pairs(reply)
	}
	if reply, err := c.do(ctx, "SENTINEL", "REPLICAS", v.addr.Master); err == nil {
		list, _ := reply.([]any)
		for _, r := range list {
			f := pairs(r)
			s.others = append(s.others, net.JoinHostPort(f["ip"], f["port"]))
		}
	}
	_, s.quorum = c.do(ctx, "SENTINEL", "CKQUORUM", v.addr.Master)
	// SUBSCRIBE is last: this connection takes nothing else then.
	for _, t := range []trial{{"+ping", "PING"}, {"+client|tracking", "CLIENT TRACKING OFF"}, {"+subscribe &+switch-master", "SUBSCRIBE +switch-master"}} {
		if _, err := c.do(ctx, strings.Fields(t.command)...); denied(err) {
			s.lacks = append(s.lacks, t.right)
		}
	}
	return s
}

func (v *visit) judgeSentinels(all []*sentinel, primaries []string) {
	const check = "sentinels"
	user := v.addr.SentinelUser
	if user == "" {
		user = "default"
	}
	grant := "on the sentinels: ACL SETUSER " + user + " "
	if len(primaries) > 1 {
		v.report.add("", danger(check, "wait until a failover is over; if it stays so, SENTINEL RESET on those that are wrong",
			"they name %d primaries: %s", len(primaries), strings.Join(primaries, ", ")))
	}
	silent := 0
	for _, s := range all {
		if s.err != nil {
			silent++
		}
	}
	for _, s := range all {
		if s.err != nil || s.unknown {
			continue
		}
		switch {
		case s.known == 0:
			v.report.add(s.addr, unknown(check, grant+"+sentinel|sentinels", "%s may not ask how many there are, as beck does too", user))
		case s.known < 3:
			v.report.add(s.addr, danger(check, "run three or more, on machines of their own", "there are only %d: when one goes, nobody decides on a failover", s.known))
		}
		switch {
		case denied(s.quorum):
			v.report.add(s.addr, unknown(check, grant+"+sentinel|ckquorum +sentinel|master +sentinel|replicas",
				"%s may not ask whether a failover is possible, nor after what time one begins", user))
		case s.quorum != nil:
			v.report.add(s.addr, danger(check, "bring the other sentinels back", "no failover is possible: %s", s.quorum))
		case s.known-silent <= s.known/2:
			v.report.add("", danger(check, "bring the other sentinels back", "%d of %d don't answer: there is no majority for a failover", silent, s.known))
		case s.known >= 3:
			v.report.add(s.addr, ok(check, "%d, and a failover is possible", s.known))
		}
		if len(s.lacks) > 0 {
			v.report.add(s.addr, danger("permissions", grant+strings.Join(s.lacks, " "), "%s lacks rights at the sentinels: beck can't connect, or doesn't hear of failovers", user))
		}
		if after := number(s.state, "down-after-milliseconds"); after > 60_000 {
			v.report.add(s.addr, warn(check, "SENTINEL SET "+v.addr.Master+" down-after-milliseconds 10000",
				"a failover begins only after %d seconds without the primary", after/1000))
		}
		if n, q := int64(s.known), number(s.state, "quorum"); q > 0 && n > 0 && q > n {
			v.report.add(s.addr, danger(check, "SENTINEL SET "+v.addr.Master+" quorum "+strconv.FormatInt(n/2+1, 10),
				"the quorum is %d of %d: it is never reached", q, n))
		}
	}
}
