package server

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/beckmq/beck/internal/wire"
)

// A guard refuses requests that a web page has a browser send to a server that
// trusts everybody who can reach it.
type guard struct {
	anyHost    bool
	anyAddress bool // of this machine's network, not only loopback ones
	hosts      map[string]bool
	origin     *http.CrossOriginProtection
}

func newGuard(o Options) *guard {
	g := &guard{anyHost: o.Insecure && len(o.Hosts) == 0, anyAddress: o.Insecure, hosts: map[string]bool{}, origin: http.NewCrossOriginProtection()}
	for _, host := range o.Hosts {
		g.hosts[strings.ToLower(host)] = true
	}
	return g
}

// check returns nil for a request that may go on.
func (g *guard) check(r *http.Request) *wire.Problem {
	if !g.anyHost && !g.allowed(r.Host) {
		return wire.NewProblem(wire.CodeHostNotAllowed,
			"access denied: this server doesn't answer to %.100q; a name of its own, beside localhost, must be given to it when it starts", r.Host)
	}
	return g.checkOrigin(r)
}

func (g *guard) checkOrigin(r *http.Request) *wire.Problem {
	if err := g.origin.Check(r); err != nil {
		return wire.NewProblem(wire.CodeCrossOrigin, "access denied: a page of another site has sent this request (%v)", err)
	}
	return nil
}

// checkChanging is check for a GET that changes something: a page of another site
// can't read what it brings, but may have a browser send it.
func (g *guard) checkChanging(r *http.Request) *wire.Problem {
	changing := *r
	changing.Method = http.MethodPost
	return g.checkOrigin(&changing)
}

// allowed reports whether a Host header names this machine itself. A page whose
// name was made to point here has its own name there, never an address. Browsers
// always send one.
func (g *guard) allowed(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if host == "" || isLocalhost(host) || g.hosts[host] {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && (g.anyAddress || address.Unmap().IsLoopback())
}

func isLocalhost(host string) bool {
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
