package redisaddr

import (
	"crypto/tls"
	"fmt"
	"strconv"
	"strings"
)

// Kind is how the servers behind an address belong together.
type Kind int

const (
	// Single is one Redis.
	Single Kind = iota
	// Sentinel is a primary with replicas, which sentinels know.
	Sentinel
	// Cluster is a Redis Cluster.
	Cluster
	// Shards are several of Single, among which topics are spread.
	Shards
)

// String returns the word of the scheme, "single" for that which has none.
func (k Kind) String() string {
	return [...]string{"single", "sentinel", "cluster", "shards"}[k]
}

// Address is where a Redis deployment is, and as whom to go there. It prints
// without its secrets, whatever the verb.
type Address struct {
	Kind Kind

	// Network is "tcp" or "unix"; unix only with Single.
	Network string
	// Hosts are host:port, or the path of the socket; of the sentinels with
	// Sentinel, of the data servers otherwise. There is at least one, and none
	// is there twice.
	Hosts []string

	// Master is the name by which sentinels know the primary.
	Master string
	// DB is the number of the database, 0 with Cluster.
	DB int

	// User and Password are those of the data servers, empty if not given.
	User     string
	Password string
	// SentinelUser and SentinelPassword are those of the sentinels.
	SentinelUser     string
	SentinelPassword string

	// TLS is nil for connections in the clear. Its ServerName is empty unless
	// the address gives one: then it is that of the host that is dialled, see
	// TLSFor. It is shared; clone it before you change it.
	TLS *tls.Config
}

// String shows where it is, without user and password.
func (a Address) String() string {
	hosts := strings.Join(a.Hosts, ",")
	switch {
	case a.Network == "unix":
		return "unix:" + hosts + "?db=" + strconv.Itoa(a.DB)
	case a.Kind == Sentinel:
		return fmt.Sprintf("sentinel %s/%s/%d", hosts, a.Master, a.DB)
	case a.Kind == Cluster:
		return "cluster " + hosts
	case a.Kind == Shards:
		return fmt.Sprintf("shards %s/%d", hosts, a.DB)
	}
	return hosts + "/" + strconv.Itoa(a.DB)
}

// GoString is String, so that %#v shows no secret.
func (a Address) GoString() string { return a.String() }

// MarshalText is String, for logs in JSON.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// URL is the address as a URL for people to read: with the user, but without
// password and options.
func (a Address) URL() string {
	var b strings.Builder
	b.WriteString("redis")
	if a.TLS != nil {
		b.WriteString("s")
	}
	switch {
	case a.Network == "unix":
		b.WriteString("+unix")
	case a.Kind != Single:
		b.WriteString("+" + a.Kind.String())
	}
	b.WriteString("://" + a.userInfo())
	b.WriteString(strings.Join(a.Hosts, ","))
	switch {
	case a.Network == "unix" && a.DB != 0:
		b.WriteString("?db=" + strconv.Itoa(a.DB))
	case a.Kind == Sentinel:
		b.WriteString("/" + a.Master + "/" + strconv.Itoa(a.DB))
	case a.Network != "unix" && a.Kind != Cluster:
		b.WriteString("/" + strconv.Itoa(a.DB))
	}
	return b.String()
}

// Each returns the addresses of the single servers that the hosts of a are, in
// the order of Hosts. Of Sentinel these are the sentinels themselves, as the user
// who may talk to them.
func (a *Address) Each() []*Address {
	all := make([]*Address, len(a.Hosts))
	for i, host := range a.Hosts {
		one := a.single(host)
		if a.Kind == Sentinel {
			one.User, one.Password, one.DB = a.SentinelUser, a.SentinelPassword, 0
		}
		all[i] = one
	}
	return all
}

// With returns the address of another data server, given as host:port or host,
// where to go as to those of a: a shard that is to be added, a node of a cluster
// or the primary that a sentinel named. The error doesn't repeat the host.
func (a *Address) With(host string) (*Address, error) {
	if a.Network == "unix" {
		return nil, wrong("a host beside a unix socket")
	}
	hostPort, problem := parseHost(host, defaultPort)
	if problem != "" {
		return nil, wrong("%s of the added host", problem)
	}
	return a.single(hostPort), nil
}

// single is the data server at hostPort.
func (a *Address) single(hostPort string) *Address {
	return &Address{
		Kind: Single, Network: a.Network, Hosts: []string{hostPort}, DB: a.DB,
		User: a.User, Password: a.Password, TLS: a.TLS,
	}
}

// TLSFor returns the TLS settings for a connection to a host of the deployment,
// nil for one in the clear.
func (a *Address) TLSFor(hostPort string) *tls.Config {
	if a.TLS == nil || a.TLS.ServerName != "" {
		return a.TLS
	}
	c := a.TLS.Clone()
	c.ServerName = HostOf(hostPort)
	return c
}
