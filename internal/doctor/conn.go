package doctor

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/beckmq/beck/internal/redisaddr"
)

// How long connecting and a command may take, whatever the context says.
const (
	dialTimeout = 3 * time.Second
	callTimeout = 3 * time.Second
)

// maxReply bounds a reply: the bytes of its strings, and about as much for each of
// its elements.
const (
	maxReply    = 8 << 20
	elementCost = 32
	maxDepth    = 8
)

// replyError is an error that the server answered.
type replyError string

func (e replyError) Error() string { return string(e) }

// denied reports whether err says that the user lacks a permission.
func denied(err error) bool {
	var reply replyError
	return errors.As(err, &reply) && strings.HasPrefix(string(reply), "NOPERM")
}

// conn is a connection of RESP2, which all servers speak, and in which what
// SUBSCRIBE answers is a reply like any other.
type conn struct {
	net.Conn
	in *bufio.Reader
}

// dial connects to the one server at an address and logs in.
func dial(ctx context.Context, a *redisaddr.Address) (*conn, error) {
	limited, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	host := a.Hosts[0]
	c, err := (&net.Dialer{}).DialContext(limited, a.Network, host)
	if err != nil {
		return nil, err
	}
	if config := a.TLSFor(host); config != nil {
		secured := tls.Client(c, config)
		if err := secured.HandshakeContext(limited); err != nil {
			c.Close()
			return nil, err
		}
		c = secured
	}
	connected := &conn{c, bufio.NewReader(c)}
	if login := loginOf(a); login != nil {
		if _, err := connected.do(ctx, login...); err != nil {
			c.Close()
			return nil, err
		}
	}
	return connected, nil
}

func loginOf(a *redisaddr.Address) []string {
	switch {
	case a.User != "":
		return []string{"AUTH", a.User, a.Password}
	case a.Password != "":
		return []string{"AUTH", a.Password}
	}
	return nil
}

// do runs one command. A reply is a string, an int64, nil or a []any of them; an
// error of the server is a replyError. After any other error the connection is
// closed: the reply may still come, and must not be taken for that of another
// command.
func (c *conn) do(ctx context.Context, args ...string) (any, error) {
	reply, err := c.roundTrip(ctx, args)
	if err != nil {
		c.Close()
		return nil, err
	}
	if e, isError := reply.(replyError); isError {
		return nil, e
	}
	return reply, nil
}

func (c *conn) roundTrip(ctx context.Context, args []string) (any, error) {
	limit := time.Now().Add(callTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(limit) {
		limit = d
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := c.SetDeadline(limit); err != nil {
		return nil, err
	}
	b := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, a := range args {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := c.Write(b); err != nil {
		return nil, err
	}
	left := int64(maxReply)
	return readReply(c.in, 0, &left)
}

// readReply reads a reply or a part of one; left is what it may take still.
func readReply(in *bufio.Reader, depth int, left *int64) (any, error) {
	b, err := in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, errNotRedis // only strings are longer than its buffer
	}
	if err != nil {
		return nil, err
	}
	line := strings.TrimRight(string(b), "\r\n")
	if *left -= int64(len(line) + elementCost); line == "" || *left < 0 || depth > maxDepth {
		return nil, errNotRedis
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '+':
		return rest, nil
	case '-':
		return replyError(rest), nil
	}
	n, err := strconv.ParseInt(rest, 10, 64)
	switch {
	case err != nil:
		return nil, errNotRedis
	case kind == ':':
		return n, nil
	case n < 0:
		return nil, nil
	case kind == '$':
		if *left -= n; *left < 0 {
			return nil, errNotRedis
		}
		b := make([]byte, n+2)
		_, err := io.ReadFull(in, b)
		return string(b[:n]), err
	case kind == '*':
		var list []any
		for range n {
			element, err := readReply(in, depth+1, left)
			if err != nil {
				return nil, err
			}
			list = append(list, element)
		}
		return list, nil
	}
	return nil, errNotRedis
}

var errNotRedis = errors.New("what answers there is no Redis")

// pairs reads a reply that is a list of names and values.
func pairs(reply any) map[string]string {
	list, _ := reply.([]any)
	m := map[string]string{}
	for i := 0; i+1 < len(list); i += 2 {
		m[fmt.Sprint(list[i])] = fmt.Sprint(list[i+1])
	}
	return m
}

// lines reads what INFO answers, and what is like it.
func lines(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && !strings.HasPrefix(k, "#") {
			m[k] = v
		}
	}
	return m
}

// strs reads a reply that is a list of strings.
func strs(reply any) []string {
	list, _ := reply.([]any)
	all := make([]string, len(list))
	for i, v := range list {
		all[i] = fmt.Sprint(v)
	}
	return all
}
