package doctor

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/beckmq/beck/internal/redisaddr"
)

// roundTrips is how many are measured.
const roundTrips = 9

// settings are those that are asked for by CONFIG GET.
var settings = []string{
	"appendonly", "appendfsync", "no-appendfsync-on-rewrite", "save", "maxmemory", "maxmemory-policy",
	"maxmemory-clients", "min-replicas-to-write", "min-replicas-max-lag", "client-output-buffer-limit",
	"tracking-table-max-keys",
}

// server is one with data, and what it says of itself.
type server struct {
	addr string
	at   *redisaddr.Address
	conn *conn

	name    string // of the program: redis, valkey
	version string
	mode    string // standalone, cluster, sentinel
	role    string // primary, replica

	info      map[string]string // nil if it may not be asked for
	infoErr   error
	config    map[string]string // nil if it may not be asked for
	confErr   error
	roundTrip time.Duration
	trips     bool

	clockTold bool
	ahead     time.Duration // of this machine's clock
}

// examine connects to a server and asks it all that the checks need.
func examine(ctx context.Context, a *redisaddr.Address) (*server, error) {
	c, err := dial(ctx, a)
	if err != nil {
		return nil, err
	}
	s := &server{addr: a.Hosts[0], at: a, conn: c}
	hello, err := c.do(ctx, "HELLO")
	if err != nil {
		c.Close()
		return nil, err
	}
	said := pairs(hello)
	s.name, s.version, s.mode = said["server"], said["version"], said["mode"]
	s.role = map[string]string{"master": "primary", "replica": "replica", "slave": "replica"}[said["role"]]
	if reply, err := c.do(ctx, "INFO"); err == nil {
		s.info = lines(fmt.Sprint(reply))
	} else {
		s.infoErr = err
	}
	if reply, err := c.do(ctx, append([]string{"CONFIG", "GET"}, settings...)...); err == nil {
		s.config = pairs(reply)
	} else {
		s.confErr = err
	}
	s.measure(ctx)
	return s, ctx.Err()
}

// measure finds out the round-trip time and what the clock says.
func (s *server) measure(ctx context.Context) {
	var took []time.Duration
	for range roundTrips {
		began := time.Now()
		if _, err := s.conn.do(ctx, "PING"); err != nil {
			return
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	s.roundTrip, s.trips = took[len(took)/2], true
	for i := range 3 {
		began := time.Now()
		reply, err := s.conn.do(ctx, "TIME")
		if err != nil {
			return
		}
		trip := time.Since(began)
		parts := strs(reply)
		if len(parts) != 2 {
			return
		}
		seconds, err1 := strconv.ParseInt(parts[0], 10, 64)
		micros, err2 := strconv.ParseInt(parts[1], 10, 64)
		if err1 != nil || err2 != nil {
			return
		}
		ahead := time.UnixMicro(seconds*1_000_000 + micros).Sub(began.Add(trip / 2))
		if i == 0 || ahead.Abs() < s.ahead.Abs() {
			s.ahead, s.clockTold = ahead, true
		}
	}
}

// number reads a number of INFO or CONFIG GET, -1 if it isn't there.
func number(from map[string]string, name string) int64 {
	n, err := strconv.ParseInt(from[name], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// setting is what CONFIG GET said, or INFO under another name; "" if neither did.
func (s *server) setting(name, inInfo string) string {
	if v, ok := s.config[name]; ok {
		return v
	}
	return s.info[inInfo]
}

// newer reports whether the server is of a version or a later one.
func (s *server) newer(major, minor, patch int) bool {
	parts := strings.SplitN(s.version, ".", 3)
	for i, want := range []int{major, minor, patch} {
		n := 0
		if i < len(parts) {
			n, _ = strconv.Atoi(parts[i])
		}
		if n != want {
			return n > want
		}
	}
	return true
}

// user is as whom the server was visited.
func (s *server) user() string {
	if s.at.User == "" {
		return "default"
	}
	return s.at.User
}

// grant is the command that gives the user rights.
func (s *server) grant(rights ...string) string {
	return "ACL SETUSER " + s.user() + " " + strings.Join(rights, " ")
}

// set is the setting that mends something, now and for good.
func set(name, value string) string {
	if strings.Contains(value, " ") {
		value = strconv.Quote(value)
	}
	return fmt.Sprintf("CONFIG SET %s %s, and the same in redis.conf", name, value)
}
