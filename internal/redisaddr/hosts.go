package redisaddr

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

const (
	defaultPort         = "6379"
	defaultSentinelPort = "26379"
)

// parseHosts reads host:port,host:port,…
func parseHosts(text string, kind Kind) ([]string, error) {
	parts := strings.Split(text, ",")
	if kind == Single && len(parts) > 1 {
		return nil, wrong("a comma in the host: several hosts take redis+sentinel://, redis+cluster:// or redis+shards://")
	}
	port := defaultPort
	if kind == Sentinel {
		port = defaultSentinelPort
	}
	hosts, seen := make([]string, 0, len(parts)), map[string]int{}
	for i, part := range parts {
		which := "the address"
		if len(parts) > 1 {
			which = "host " + strconv.Itoa(i+1) + " of the address"
		}
		if part == "" && len(parts) > 1 {
			return nil, wrong("%s is empty; there is a comma too many", which)
		}
		host, problem := parseHost(part, port)
		if problem != "" {
			return nil, wrong("%s of %s", problem, which)
		}
		if before, twice := seen[host]; twice {
			return nil, wrong("hosts %d and %d of the address are the same", before, i+1)
		}
		seen[host] = i + 1
		hosts = append(hosts, host)
	}
	return hosts, nil
}

// parseHost reads host, host:port, [ipv6] or [ipv6]:port; without a host it is
// localhost. What it returns is spelt in one way, so that equal ones are equal.
// problem says what is wrong, and doesn't repeat it.
func parseHost(text, port string) (hostPort, problem string) {
	host, rest := text, ""
	if inside, ok := strings.CutPrefix(text, "["); ok {
		inside, after, closed := strings.Cut(inside, "]")
		text, err := url.PathUnescape(inside)
		ip, notIP := netip.ParseAddr(text)
		if !closed || err != nil || notIP != nil || !ip.Is6() {
			return "", "the brackets, which are for an IPv6 address such as [::1],"
		}
		host, rest = ip.String(), after
	} else {
		if i := strings.IndexByte(text, ':'); i >= 0 {
			host, rest = text[:i], text[i:]
		}
		if strings.Count(rest, ":") > 1 {
			return "", "too many colons; an IPv6 address goes in brackets, as [::1]:6379: the host"
		}
		var err error
		if host, err = url.PathUnescape(host); err != nil || !isHostName(host) {
			return "", "a character that no host has, in the host"
		}
		host = strings.ToLower(host)
		if host == "" {
			host = "localhost"
		}
	}
	if rest != "" {
		after, colon := strings.CutPrefix(rest, ":")
		if n, err := strconv.ParseUint(after, 10, 16); !colon || after != "" && (err != nil || n == 0) {
			return "", "the port, which takes 1 to 65535,"
		} else if after != "" {
			port = strconv.FormatUint(n, 10)
		}
	}
	return net.JoinHostPort(host, port), ""
}

func isHostName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c >= 0x80 || c != '.' && c != '-' && c != '_' && !isAlphanumeric(c) {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// HostOf is the host of host:port, as certificates name it.
func HostOf(hostPort string) string {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return hostPort
	}
	host, _, _ = strings.Cut(host, "%") // a certificate knows no zones
	return host
}
