package redistest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// MasterName is what the sentinels call the primary and its replicas.
const MasterName = "mymaster"

// topologyTimeout is how long several servers may take to agree on something.
const topologyTimeout = 30 * time.Second

// SentinelOptions say what a SentinelGroup is like. The zero value is a primary,
// one replica and three sentinels that let in everybody on this machine.
type SentinelOptions struct {
	// Data is for the primary and its replicas. Its TLS is for sentinels too.
	Data Options
	// Replicas is how many there are; defaults to 1.
	Replicas int
	// Password and Users are those of the sentinels, as in Options.
	Password  string
	Users     []string
	NoDefault bool
	// DownAfter is how long a primary may be silent; defaults to a second.
	DownAfter time.Duration
	// FailoverTimeout defaults to 5 seconds.
	FailoverTimeout time.Duration
}

// SentinelGroup is a primary with its replicas, watched by three sentinels.
type SentinelGroup struct {
	t       testing.TB
	options SentinelOptions
	// Data are the servers with data: the first was the primary in the beginning.
	Data []*Server
	// Sentinels watch them.
	Sentinels []*Server
}

// Sentinel starts a primary, a replica and three sentinels, and waits until all of
// them know each other and the replica is in sync. The arguments are those of the
// servers with data. All end with the test.
func Sentinel(t testing.TB, args ...string) *SentinelGroup {
	t.Helper()
	return SentinelWith(t, SentinelOptions{Data: Options{Args: args}})
}

// SentinelWith is Sentinel with all there is to choose.
func SentinelWith(t testing.TB, o SentinelOptions) *SentinelGroup {
	t.Helper()
	needRedis(t)
	o.Replicas = cmp.Or(o.Replicas, 1)
	o.DownAfter = cmp.Or(o.DownAfter, time.Second)
	o.FailoverTimeout = cmp.Or(o.FailoverTimeout, 5*time.Second)
	o.Data.file = true // Sentinel writes there who is whose replica
	// Each pings the other often, so that a lag is seen soon.
	o.Data.Args = append([]string{"--repl-ping-replica-period", "1", "--repl-timeout", "5"}, o.Data.Args...)
	g := &SentinelGroup{t: t, options: o}
	if err := g.start(); err != nil {
		t.Fatal(ended(err, slices.Concat(g.Data, g.Sentinels)))
	}
	return g
}

func (g *SentinelGroup) start() error {
	primary, err := launch(g.t, g.options.Data)
	if err != nil {
		return err
	}
	var rest []Options
	for range g.options.Replicas {
		replica := g.options.Data
		replica.Args = append(slices.Clone(replica.Args), "--replicaof", "127.0.0.1 "+strconv.Itoa(primary.port))
		rest = append(rest, replica)
	}
	for range 3 {
		rest = append(rest, g.sentinelOptions())
	}
	servers, err := launchAll(g.t, rest)
	if err != nil {
		return err
	}
	g.Data = append([]*Server{primary}, servers[:g.options.Replicas]...)
	g.Sentinels = servers[g.options.Replicas:]
	for _, s := range g.Sentinels {
		if err := g.watch(s, primary); err != nil {
			return err
		}
	}
	return within(topologyTimeout, "sentinels and replicas are ready", g.settled)
}

// sentinelOptions are those of a sentinel's process.
func (g *SentinelGroup) sentinelOptions() Options {
	o := Options{
		sentinel: true, TLS: g.options.Data.TLS,
		Password: g.options.Password, Users: g.options.Users, NoDefault: g.options.NoDefault,
	}
	switch {
	case o.hasACL():
		o.Args = []string{"--sentinel sentinel-user", ownUser, "--sentinel sentinel-pass", ownPassword}
	case o.Password != "":
		o.Args = []string{"--sentinel sentinel-pass", o.Password}
	}
	return o
}

// watch has a sentinel watch the primary, with shorter periods than are usual, so
// that it finds the others and puts right what has changed at once.
func (g *SentinelGroup) watch(sentinel, primary *Server) error {
	commands := [][]string{
		{"DEBUG", "info-period", "300", "publish-period", "300", "tilt-period", "2000"},
		{"MONITOR", MasterName, "127.0.0.1", strconv.Itoa(primary.port), "2"},
		{"SET", MasterName, "down-after-milliseconds", strconv.FormatInt(g.options.DownAfter.Milliseconds(), 10)},
		{"SET", MasterName, "failover-timeout", strconv.FormatInt(g.options.FailoverTimeout.Milliseconds(), 10)},
	}
	if login := primary.login(); len(login) == 3 {
		commands = append(commands, []string{"SET", MasterName, "auth-user", login[1], "auth-pass", login[2]})
	} else if len(login) == 2 {
		commands = append(commands, []string{"SET", MasterName, "auth-pass", login[1]})
	}
	for _, c := range commands {
		if _, err := sentinel.try(append([]string{"SENTINEL"}, c...)...); err != nil {
			return fmt.Errorf("sentinel %s: %w", c[0], err)
		}
	}
	return nil
}

// URL is the group's address as beck takes it, without user and password.
func (g *SentinelGroup) URL() string { return g.URLAs("", "") }

// URLAs is the group's address for a user of the servers with data. The options are
// written as "name=value".
func (g *SentinelGroup) URLAs(user, password string, options ...string) string {
	return address("redis+sentinel", g.options.Data.TLS, user, password, hosts(g.Sentinels)+"/"+MasterName+"/0", options)
}

func hosts(servers []*Server) string {
	var all []string
	for _, s := range servers {
		all = append(all, s.Addr())
	}
	return strings.Join(all, ",")
}

// Primary is the server that the sentinels name, once it is one.
func (g *SentinelGroup) Primary() *Server {
	g.t.Helper()
	var primary *Server
	err := within(topologyTimeout, "there is a primary", func() (err error) {
		primary, err = g.primary()
		return err
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return primary
}

// Replicas are the servers that run and are not the primary.
func (g *SentinelGroup) Replicas() []*Server {
	g.t.Helper()
	primary := g.Primary()
	return slices.DeleteFunc(slices.Clone(g.Data), func(s *Server) bool { return s == primary || !s.running() })
}

// primary is the server on which all sentinels that run agree, if it works as one.
func (g *SentinelGroup) primary() (*Server, error) {
	named := map[string]bool{}
	for _, s := range g.Sentinels {
		if !s.running() {
			continue
		}
		addr, err := s.try("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MasterName)
		if err != nil {
			return nil, err
		}
		named[addr] = true
	}
	if len(named) != 1 {
		return nil, fmt.Errorf("the sentinels name %d primaries", len(named))
	}
	for _, s := range g.Data {
		if !named["127.0.0.1\n"+strconv.Itoa(s.port)] {
			continue
		}
		return s, s.writable()
	}
	return nil, errors.New("the sentinels name a server of others")
}

// writable returns an error unless the server takes writes now.
func (s *Server) writable() error {
	role, err := s.try("ROLE")
	if err == nil && !strings.HasPrefix(role, "master") {
		err = errors.New("it is a replica")
	}
	if err == nil {
		_, err = s.try("DEL", "redistest:none")
	}
	return err
}

// Failover has the sentinels make a replica the primary, as an operator does, and
// returns the new primary once it takes writes.
func (g *SentinelGroup) Failover() *Server {
	g.t.Helper()
	old := g.Primary()
	err := within(topologyTimeout, "SENTINEL FAILOVER", func() error {
		_, err := g.sentinel().try("SENTINEL", "FAILOVER", MasterName)
		return err
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return g.successor(old)
}

// Crash kills the primary and returns the next one once it takes writes. The old
// one becomes a replica when it is started again, by Restart.
func (g *SentinelGroup) Crash() (next, old *Server) {
	g.t.Helper()
	old = g.Primary()
	old.Kill()
	return g.successor(old), old
}

func (g *SentinelGroup) successor(old *Server) (next *Server) {
	g.t.Helper()
	err := within(topologyTimeout, "another primary", func() (err error) {
		if next, err = g.primary(); err == nil && next == old {
			err = errors.New("it is still the old one")
		}
		return err
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return next
}

// sentinel is one that runs; the first if none does.
func (g *SentinelGroup) sentinel() *Server {
	for _, s := range g.Sentinels {
		if s.running() {
			return s
		}
	}
	return g.Sentinels[0]
}

// Settle waits until all servers that run know each other and all replicas are in
// sync, so that the next failover is possible.
func (g *SentinelGroup) Settle() {
	g.t.Helper()
	if err := within(topologyTimeout, "sentinels and replicas are ready", g.settled); err != nil {
		g.t.Fatal(err)
	}
}

func (g *SentinelGroup) settled() error {
	primary, err := g.primary()
	if err != nil {
		return err
	}
	replicas := 0
	for _, s := range g.Data {
		if s == primary || !s.running() {
			continue
		}
		if err := s.follows(primary); err != nil {
			return err
		}
		replicas++
	}
	for _, s := range g.Sentinels {
		if !s.running() {
			continue
		}
		if _, err := s.try("SENTINEL", "CKQUORUM", MasterName); err != nil {
			return err
		}
		reply, err := s.call("SENTINEL", "REPLICAS", MasterName)
		if err != nil {
			return err
		}
		if n := healthy(reply); n < replicas {
			return fmt.Errorf("a sentinel sees %d replicas of %d", n, replicas)
		}
		if reply, err = s.call("SENTINEL", "SENTINELS", MasterName); err != nil {
			return err
		}
		if list, _ := reply.([]any); len(list) != len(g.Sentinels)-1 {
			return fmt.Errorf("a sentinel knows %d others of %d", len(list), len(g.Sentinels)-1)
		}
	}
	return nil
}

// healthy counts the replicas in the reply of SENTINEL REPLICAS to which nothing is
// wrong.
func healthy(reply any) (n int) {
	list, _ := reply.([]any)
	for _, r := range list {
		lines := "\n" + text(r) + "\n"
		if strings.Contains(lines, "\nflags\nslave\n") && strings.Contains(lines, "\nmaster-link-status\nok\n") {
			n++
		}
	}
	return n
}

// follows returns an error unless the server is a replica of another, in sync.
func (s *Server) follows(primary *Server) error {
	info, err := s.try("INFO", "replication")
	switch {
	case err != nil:
		return err
	case field(info, "role") != "slave" || field(info, "master_port") != strconv.Itoa(primary.port):
		return errors.New("a server is no replica of the primary")
	case field(info, "master_link_status") != "up" || field(info, "master_sync_in_progress") != "0":
		return errors.New("a replica is not in sync")
	}
	return nil
}
