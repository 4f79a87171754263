package onredis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/redisaddr"
)

const (
	hintNoTLS = "; if that port speaks no TLS, write redis in place of rediss"
	hintTLS   = "; if that port speaks TLS, write rediss in place of redis"
	hintCert  = "; the server wants a client certificate of a CA that it trusts: give one by cert=PATH and key=PATH in the address"
)

// explainConnection says what to do about an error of connecting, and which of the
// seam's errors it is. All but refusals may pass, and so are worth another try.
func explainConnection(err error) (hint string, is error) {
	if failed, ok := errors.AsType[*handshakeError](err); ok {
		return failed.explain()
	}
	dialled, ok := errors.AsType[*net.OpError](err)
	switch {
	case !ok || dialled.Net != "unix": // a firewall may say as well that something is not permitted
	case errors.Is(err, fs.ErrPermission):
		return "; this process may not open the socket", driver.ErrDenied
	case errors.Is(err, fs.ErrNotExist):
		return "; no Redis has made this socket: see its setting unixsocket", driver.ErrUnavailable
	}
	return "", driver.ErrUnavailable
}

// handshakeError is a connection that was made, but ended before the first answer.
type handshakeError struct {
	err    error
	secure bool
}

func (e *handshakeError) Error() string {
	if e.secure {
		return "TLS: " + strings.TrimPrefix(e.err.Error(), "tls: ")
	}
	return "no answer: " + e.err.Error()
}

func (e *handshakeError) Unwrap() error { return e.err }

func (e *handshakeError) explain() (hint string, is error) {
	if !e.secure {
		return hintTLS, driver.ErrUnavailable
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](e.err); ok && invalid.Reason == x509.Expired {
		return "; renew the server's certificate, or set the clock right", driver.ErrUnavailable
	}
	if _, ok := errors.AsType[x509.HostnameError](e.err); ok {
		return "; give the name that the server's certificate is for by server_name=NAME in the address", driver.ErrUnavailable
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](e.err); ok {
		return "; give the certificate of the CA that signed the server's by ca=PATH in the address", driver.ErrUnavailable
	}
	if alert, ok := errors.AsType[*net.OpError](e.err); ok && alert.Op == "remote error" {
		switch text := alert.Error(); {
		case strings.Contains(text, "certificate"):
			return hintCert, driver.ErrDenied
		case strings.Contains(text, "handshake failure"): // so TLS 1.2 says it
			return hintCert, driver.ErrUnavailable
		}
		return "", driver.ErrUnavailable
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](e.err); ok || errors.Is(e.err, context.DeadlineExceeded) {
		return hintNoTLS, driver.ErrUnavailable
	}
	return "", driver.ErrUnavailable
}

// handshake makes a connection one over TLS.
func handshake(ctx context.Context, plain net.Conn, to string, settings *tls.Config) (net.Conn, error) {
	if settings.ServerName == "" {
		settings = settings.Clone()
		settings.ServerName = redisaddr.HostOf(to)
	}
	c := tls.Client(plain, settings)
	if err := c.HandshakeContext(ctx); err != nil {
		_ = plain.Close()
		return nil, &handshakeError{err, true}
	}
	return c, nil
}

// whyClosed looks for what a server said before it closed a connection that could
// then not be written to: with TLS 1.3 it looks at the client's certificate when the
// client takes the handshake to be over.
func (c *conn) whyClosed(err error) error {
	if !c.secure {
		return err
	}
	_ = c.SetReadDeadline(time.Now().Add(lastWords))
	_, said := c.Conn.Read(make([]byte, 1))
	if alert, ok := errors.AsType[*net.OpError](said); ok && alert.Op == "remote error" {
		return said
	}
	return err
}

// lastWords is how long an answer may take on a connection that is closed.
const lastWords = 50 * time.Millisecond

// bySentinels is what sentinels answered, not the primary they know.
type bySentinels struct{ text string }

func (e *bySentinels) Error() string { return "sentinel: " + e.text }

// whoRefused tells answers of sentinels from those of the primary.
func whoRefused(a *redisaddr.Address, l *link, err error) error {
	if reply, ok := rueidis.IsRedisErr(err); ok && a.Kind == redisaddr.Sentinel && l.dials.Load() == 0 {
		return &bySentinels{reply.Error()}
	}
	return err
}

func (e *engine) explainSentinels(text string) error {
	word, _, _ := strings.Cut(text, " ")
	switch {
	case word == "NOAUTH" || word == "WRONGPASS" || word == "NOPERM":
		return fmt.Errorf("%w: redis %s: the sentinels answer %s; user and password for them are given by sentinel_user=NAME and sentinel_password_file=PATH in the address",
			driver.ErrDenied, e.addr, word)
	case strings.HasPrefix(text, "No such master"):
		return fmt.Errorf("%w: redis %s: the sentinels know no primary by the name %s; `SENTINEL MASTERS` tells which they know",
			beck.ErrOption, e.addr, e.addr.Master)
	case isUnknownCommand(text):
		return fmt.Errorf("%w: redis %s: what answers there is no sentinel; give the hosts and ports of sentinels, or write redis:// for a Redis of its own",
			beck.ErrOption, e.addr)
	}
	return fmt.Errorf("%w: redis %s: the sentinels answer: %s", driver.ErrUnavailable, e.addr, text)
}

func isUnknownCommand(text string) bool {
	return strings.HasPrefix(strings.ToLower(text), "unknown command")
}

// checkMode refuses a server of another kind than the address says, by what HELLO
// told: it would fail later, and less clearly.
func (e *engine) checkMode(mode string) error {
	if e.addr.Kind != redisaddr.Single {
		return nil
	}
	switch mode {
	case "sentinel":
		return fmt.Errorf("%w: redis %s is a sentinel; write redis+sentinel://%s/NAME with the name of the primary it watches",
			beck.ErrOption, e.addr, e.addr.Hosts[0])
	case "cluster":
		return fmt.Errorf("%w: redis %s is a node of a Redis Cluster; write redis+cluster://%s", beck.ErrOption, e.addr, e.addr.Hosts[0])
	}
	return nil
}
