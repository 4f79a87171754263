package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/redisaddr"
)

// Options are what Redis takes beside the address. The zero value works.
type Options struct {
	// Prefix begins the names of beck's keys. Defaults to none.
	Prefix string
}

// visit is one look at a deployment.
type visit struct {
	addr    *redisaddr.Address
	options Options
	report  *Report
	servers []*server // those with data that answered
}

// Redis looks at a deployment. The error is not nil only where there is nothing to
// look at: nobody answers, the user is refused, or the address makes no sense.
func Redis(ctx context.Context, a *redisaddr.Address, o Options) (*Report, error) {
	v := &visit{addr: a, options: o, report: &Report{At: a.URL(), Kind: a.Kind.String()}}
	defer func() {
		for _, s := range v.servers {
			s.conn.Close()
		}
	}()
	members, err := v.members(ctx)
	if err != nil {
		return nil, err
	}
	if err := v.meet(ctx, members); err != nil {
		return nil, err
	}
	v.meetReplicas(ctx)
	for _, check := range checks {
		for _, s := range v.servers {
			for _, f := range check(v, s) {
				v.report.add(s.addr, f)
			}
		}
	}
	v.clocks()
	v.rights(ctx)
	v.tidy()
	return v.report, nil
}

// member is a server with data that belongs to the deployment.
type member struct {
	addr *redisaddr.Address
	// extra is one that is left out if it doesn't answer.
	extra bool
}

// members are the servers with data.
func (v *visit) members(ctx context.Context) ([]member, error) {
	switch v.addr.Kind {
	case redisaddr.Sentinel:
		return v.fromSentinels(ctx)
	case redisaddr.Cluster:
		return v.fromCluster(ctx)
	}
	var all []member
	for _, a := range v.addr.Each() {
		all = append(all, member{addr: a})
	}
	return all, nil
}

// meet connects to all members side by side and asks them what they are.
func (v *visit) meet(ctx context.Context, members []member) error {
	first := v.visitAll(ctx, members)
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(v.servers) == 0 {
		return first
	}
	return nil
}

// meetReplicas connects to replicas of which only their primaries tell: the user may
// not ask the sentinels, or a node of the cluster has not heard of them yet. Those that
// can't be reached are left out, since primaries may know them by other addresses than
// clients do.
func (v *visit) meetReplicas(ctx context.Context) {
	if v.addr.Kind != redisaddr.Sentinel && v.addr.Kind != redisaddr.Cluster {
		return
	}
	var more []member
	told, known := 0, 0
	for _, s := range v.servers {
		told += len(s.replicas())
		for _, r := range s.replicas() {
			isKnown := slices.ContainsFunc(v.report.Servers, func(s Server) bool { return s.Addr == r.addr })
			if a, err := v.addr.With(r.addr); err == nil && !isKnown {
				more = append(more, member{a, true})
			}
		}
	}
	for _, s := range v.report.Servers {
		if s.Role == "replica" {
			known++
		}
	}
	if known < told {
		_ = v.visitAll(ctx, more)
	}
}

// visitAll connects to members side by side. It returns why the first of those that
// don't answer doesn't.
func (v *visit) visitAll(ctx context.Context, members []member) (first error) {
	servers, errs := make([]*server, len(members)), make([]error, len(members))
	var wait sync.WaitGroup
	for i, m := range members {
		wait.Go(func() { servers[i], errs[i] = examine(ctx, m.addr) })
	}
	wait.Wait()
	for i, s := range servers {
		addr := members[i].addr.Hosts[0]
		if s == nil && members[i].extra {
			continue
		}
		if s == nil {
			if first == nil {
				first = unreachable(addr, errs[i])
			}
			v.report.Servers = append(v.report.Servers, Server{Addr: addr})
			v.report.add(addr, danger("answer", "start it, or see its log and the way there", "no answer: %v", short(errs[i])))
			continue
		}
		v.servers = append(v.servers, s)
		v.report.Servers = append(v.report.Servers, Server{addr, s.role, s.version})
	}
	return first
}

// short is an error of the network without the addresses, which stand before it.
func short(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// unreachable says why nobody could be asked.
func unreachable(addr string, err error) error {
	kind := beck.ErrUnavailable
	if reply, isReply := err.(replyError); isReply {
		for _, word := range []string{"NOAUTH", "WRONGPASS", "NOPERM", "ERR AUTH"} {
			if strings.HasPrefix(string(reply), word) {
				kind = beck.ErrDenied
			}
		}
		if strings.Contains(string(reply), "cluster support disabled") {
			return fmt.Errorf("%w: redis %s is no node of a cluster: redis:// is its scheme", beck.ErrOption, addr)
		}
	}
	return fmt.Errorf("%w: redis %s: %v", kind, addr, err)
}

// tidy leaves out whom findings are about where there is only one, and counts.
func (v *visit) tidy() {
	for i := range v.report.Findings {
		if len(v.report.Servers) == 1 {
			v.report.Findings[i].Servers = nil
		}
		slices.Sort(v.report.Findings[i].Servers)
	}
	v.report.count()
}

// clocks compares the clocks of the servers with each other and with this machine.
func (v *visit) clocks() {
	const check = "clock"
	var least, most time.Duration
	told, atLeast, atMost := 0, "", ""
	for _, s := range v.servers {
		if !s.clockTold {
			v.report.add(s.addr, unknown(check, s.grant("+time"), "this user may not ask for the time"))
			continue
		}
		if told == 0 || s.ahead < least {
			least, atLeast = s.ahead, s.addr
		}
		if told == 0 || s.ahead > most {
			most, atMost = s.ahead, s.addr
		}
		told++
	}
	if told == 0 {
		return
	}
	const sync = "let all machines take their time from NTP (chrony, systemd-timesyncd)"
	apart := most - least
	here := max(most, -least)
	switch {
	case apart >= time.Minute:
		v.report.add("", danger(check, sync, "%s is %s ahead of %s: after a failover leases end and messages grow old by that much at once",
			atMost, apart.Round(time.Second), atLeast))
	case apart >= time.Second:
		v.report.add("", warn(check, sync, "%s is %s ahead of %s", atMost, apart.Round(100*time.Millisecond), atLeast))
	case here >= 5*time.Second:
		v.report.add("", warn(check, sync, "%s away from this machine's: positions such as -10m and delays are off by that much",
			here.Round(100*time.Millisecond)))
	default:
		v.report.add("", ok(check, "within %s of this machine's", roundUp(here)))
	}
}

// roundUp makes small differences look alike, since they are.
func roundUp(d time.Duration) time.Duration {
	for _, step := range []time.Duration{100 * time.Millisecond, time.Second} {
		if d <= step {
			return step
		}
	}
	return d.Round(time.Second)
}
