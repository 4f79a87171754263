package redistest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// callTimeout is how long a command may take.
const callTimeout = 10 * time.Second

// replyError is an error that the server answered.
type replyError string

func (e replyError) Error() string { return string(e) }

// conn is a connection that speaks just enough of RESP2 to steer a server.
type conn struct {
	net.Conn
	in *bufio.Reader
}

// dial connects, and logs in where the server wants it.
func (s *Server) dial() (*conn, error) {
	network, addr := "tcp", s.Addr()
	if s.options.Socket {
		network, addr = "unix", s.socket()
	}
	c, err := net.DialTimeout(network, addr, callTimeout)
	if err != nil {
		return nil, err
	}
	if s.options.TLS != nil {
		c = s.options.TLS.client(c)
	}
	connected := &conn{c, bufio.NewReader(c)}
	if login := s.login(); login != nil {
		if _, err := connected.do(login...); err != nil {
			c.Close()
			return nil, err
		}
	}
	return connected, nil
}

// do runs one command. A reply is a string, an int64, nil or a []any of them; an
// error of the server is a replyError.
func (c *conn) do(args ...string) (any, error) {
	if err := c.SetDeadline(time.Now().Add(callTimeout)); err != nil {
		return nil, err
	}
	b := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, a := range args {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := c.Write(b); err != nil {
		return nil, err
	}
	reply, err := c.read()
	if err != nil {
		return nil, err
	}
	if e, ok := reply.(replyError); ok {
		return nil, e
	}
	return reply, nil
}

func (c *conn) read() (any, error) {
	line, err := c.in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return nil, errors.New("an empty line as reply")
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
		return nil, fmt.Errorf("the reply %q: %w", line, err)
	case kind == ':':
		return n, nil
	case n < 0:
		return nil, nil
	case kind == '$':
		b := make([]byte, n+2)
		_, err := io.ReadFull(c.in, b)
		return string(b[:n]), err
	case kind == '*':
		list := make([]any, n)
		for i := range list {
			if list[i], err = c.read(); err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	return nil, fmt.Errorf("the reply %q", line)
}

// text is a reply as redis-cli --raw prints it: one line an element.
func text(reply any) string {
	list, ok := reply.([]any)
	switch {
	case reply == nil:
		return ""
	case !ok:
		return fmt.Sprint(reply)
	}
	lines := make([]string, len(list))
	for i, r := range list {
		lines[i] = text(r)
	}
	return strings.Join(lines, "\n")
}

// call runs one command on a connection of its own.
func (s *Server) call(args ...string) (any, error) {
	c, err := s.dial()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.do(args...)
}

// try is like Do, but returns what went wrong.
func (s *Server) try(args ...string) (string, error) {
	reply, err := s.call(args...)
	return strings.TrimSpace(text(reply)), err
}

// field returns a field of INFO, or of another command that answers such lines.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && k == name {
			return v
		}
	}
	return ""
}

// within tries something until it succeeds; the last error is returned when it
// does not in time.
func within(limit time.Duration, what string, try func() error) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(pollInterval) {
		err := try()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %v: %w", what, limit, err)
		}
	}
}
