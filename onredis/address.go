package onredis

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/beckmq/beck"
)

const defaultPort = "6379"

// address is where a Redis is, and as whom to go there.
type address struct {
	hostPort string
	user     string
	password string
	db       int
	tls      *tls.Config // nil without TLS
}

// String shows the address without user and password.
func (a address) String() string { return a.hostPort + "/" + strconv.Itoa(a.db) }

// parseAddress reads redis://user:password@host:port/db. Its errors never repeat
// more of the text than the part that is wrong, and nothing of it that may be
// the password; the errors of net/url do, so they are not passed on.
func parseAddress(text string) (address, error) {
	scheme, _, ok := strings.Cut(text, "://")
	if !ok {
		return address{}, fmt.Errorf("%w: the address of a Redis is redis://host:port or rediss://host:port", beck.ErrOption)
	}
	if scheme != "redis" && scheme != "rediss" {
		return address{}, fmt.Errorf("%w: scheme %.20q of the address; it takes redis:// or rediss://", beck.ErrOption, scheme)
	}
	_, rest, _ := strings.Cut(text, "://")
	if i := strings.IndexAny(rest, "/?#"); i >= 0 && strings.Contains(rest[i:], "@") {
		// Most likely all before the @ is user and password.
		return address{}, fmt.Errorf("%w: the address has an @ behind the host; write / ? and # in a password as %%2F, %%3F and %%23", beck.ErrOption)
	}
	u, err := url.Parse(text)
	if err != nil {
		return address{}, fmt.Errorf("%w: the address is malformed; it takes %s://user:password@host:port/db, with special characters in user and password %%-encoded", beck.ErrOption, scheme)
	}
	for name := range u.Query() {
		return address{}, fmt.Errorf("%w: the address has an unknown option %.40q", beck.ErrOption, name)
	}
	if u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return address{}, fmt.Errorf("%w: the address has something behind the database; write ? and # in a password as %%3F and %%23", beck.ErrOption)
	}
	a := address{}
	if a.db, err = parseDatabase(u.Path); err != nil {
		return address{}, err
	}
	host, port := u.Hostname(), u.Port()
	if host == "" {
		host = "localhost"
	}
	if port == "" {
		port = defaultPort
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return address{}, fmt.Errorf("%w: the port of the address; it takes 1 to 65535", beck.ErrOption)
	}
	a.hostPort = net.JoinHostPort(host, port)
	a.user = u.User.Username()
	a.password, _ = u.User.Password()
	if scheme == "rediss" {
		a.tls = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	}
	return a, nil
}

func parseDatabase(path string) (int, error) {
	text := strings.TrimPrefix(path, "/")
	if text == "" {
		return 0, nil
	}
	db, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%w: database %.20q of the address; it takes a number such as /0; write / in a password as %%2F", beck.ErrOption, text)
	}
	return int(db), nil
}
