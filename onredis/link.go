package onredis

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/redisaddr"
)

const (
	// dialTimeout bounds connecting, and again the greeting behind it.
	dialTimeout = 2 * time.Second
	// pingInterval is how long a connection may be silent before it is tried.
	pingInterval = time.Second
	// answerTimeout is how long a trial may take before the connection is given
	// up, and all calls on it with it.
	answerTimeout = 10 * time.Second

	// sentinelInterval is how often sentinels are asked for the primary, should their
	// message of another one not have come.
	sentinelInterval = 2 * time.Second
	// sentinelKeepAlive tells connections to sentinels from those to their primary.
	sentinelKeepAlive = 5 * time.Second

	// maxCalls is how many calls may be under way on a client. A rueidis
	// connection has room for 1024; when that is full, a call blocks whatever
	// its context says. The rest is for rueidis's own calls.
	maxCalls = 1000
	// sharedDials is how often a call tries again if the connection was not made
	// because another call gave up.
	sharedDials = 10
	// abandoned is after what time a call whose context has ended is over at
	// the latest: it got an answer, or its connection was given up.
	abandoned = pingInterval + answerTimeout + time.Second
	// probes is how many trials find out that calls which were left are over. The
	// connections of a client answer in order, but which one takes a trial is
	// chance; that one of four gets none of so many is rare, and does no harm while
	// maxCalls are spread over them.
	probes = 16
)

// link is a client with a bound on the calls under way, so that each call
// returns soon after its context ends.
type link struct {
	client rueidis.Client
	node   string // the address of the node, of a cluster
	calls  chan struct{}
	left   atomic.Int64 // calls whose contexts ended, and that still have a place
	closed atomic.Bool
	places chan struct{} // of calls that wait for durability
	syncs  syncs
	conns  conns

	// Which server its connections lead to can't be asked of rueidis, which may have
	// some to two while it changes from one to the other. What is written tells.
	lineage *lineage
	server  server                 // the last one identified; guarded by lineage
	dials   atomic.Uint64          // connections begun
	turns   atomic.Uint64          // how often another address was written to than before
	news    atomic.Uint64          // both of these
	seen    atomic.Uint64          // the news of which the server was identified
	wrote   atomic.Pointer[string] // the address last written to
	names   sync.Map               // addresses, so that each is one string
}

// forWork are the options of the client that does all but waiting.
func forWork() rueidis.ClientOption {
	return rueidis.ClientOption{
		DisableCache:        true,
		BlockingPoolSize:    maxDurable + 8,
		BlockingPoolCleanup: time.Minute,
	}
}

// forWatching are the options of the client through which watched topics are
// read. It has one connection, and whatever that reads is tracked.
func forWatching(invalidated func([]rueidis.RedisMessage)) rueidis.ClientOption {
	return rueidis.ClientOption{
		PipelineMultiplex: -1,
		// Any option but OPTIN, which rueidis sets if there is none, and with
		// which a plain read would not be tracked.
		ClientTrackingOptions: []string{"OPTOUT"},
		OnInvalidations:       invalidated,
	}
}

// openLink connects to one Redis, or to the primary of which sentinels know.
// Whatever kind of Redis this is to work with is decided here, for both clients
// alike.
func openLink(a *redisaddr.Address, line *lineage, o rueidis.ClientOption) (*link, error) {
	l := &link{
		node: a.Hosts[0], lineage: line,
		calls: make(chan struct{}, maxCalls), places: make(chan struct{}, maxDurable),
	}
	o.InitAddress = a.Hosts
	o.Username, o.Password, o.SelectDB = a.User, a.Password, a.DB
	o.TLSConfig = a.TLS
	o.Dialer = net.Dialer{Timeout: dialTimeout, KeepAlive: pingInterval}
	if a.Kind == redisaddr.Sentinel {
		o.Sentinel = rueidis.SentinelOption{
			MasterSet: a.Master, Username: a.SentinelUser, Password: a.SentinelPassword, TLSConfig: a.TLS,
			Dialer:                  net.Dialer{Timeout: dialTimeout, KeepAlive: sentinelKeepAlive},
			TopologyRefreshInterval: sentinelInterval,
		}
	} else {
		o.ForceSingleClient = true
	}
	o.DialCtxFn = func(ctx context.Context, to string, d *net.Dialer, secure *tls.Config) (net.Conn, error) {
		c, err := dial(ctx, a.Network, to, d, secure)
		if err != nil {
			return nil, err
		}
		if d.KeepAlive != sentinelKeepAlive {
			name, _ := l.names.LoadOrStore(to, &to)
			c.to, c.link = name.(*string), l
			l.dials.Add(1) // before anybody can read by it
			l.news.Add(1)
			l.conns.add(c, to)
		}
		return c, nil
	}
	o.ConnWriteTimeout = answerTimeout
	o.ClientSetInfo = rueidis.DisableClientSetInfo // needs a permission of its own
	o.DisableRetry = true                          // the callers know what may be repeated
	o.AlwaysPipelining = true                      // a lost connection is seen at once
	client, err := rueidis.NewClient(o)
	if err != nil {
		if client != nil {
			client.Close()
		}
		return nil, whoRefused(a, l, err)
	}
	l.client = client
	return l, nil
}

// do runs one command. Its error is what rueidis or Redis said, or notSent.
func (l *link) do(ctx context.Context, cmd rueidis.Completed) (rueidis.RedisMessage, error) {
	if err := l.begin(ctx); err != nil {
		return rueidis.RedisMessage{}, err
	}
	reply := l.client.Do(ctx, cmd)
	for range sharedDials {
		if !othersEnded(ctx, reply) {
			break
		}
		reply = l.client.Do(ctx, cmd)
	}
	l.end(ctx, reply)
	return reply.ToMessage()
}

// doMulti runs commands in order, on one connection.
func (l *link) doMulti(ctx context.Context, cmds ...rueidis.Completed) ([]rueidis.RedisResult, error) {
	if err := l.begin(ctx); err != nil {
		return nil, err
	}
	replies := l.client.DoMulti(ctx, cmds...)
	for range sharedDials {
		if !othersEnded(ctx, replies[0]) {
			break
		}
		replies = l.client.DoMulti(ctx, cmds...)
	}
	l.end(ctx, replies[0])
	return replies, nil
}

// othersEnded reports whether a call failed because it waited for a connection
// that another call was making, whose context ended. Nothing was sent then.
func othersEnded(ctx context.Context, reply rueidis.RedisResult) bool {
	err := reply.NonRedisError()
	if err == nil || ctx.Err() != nil {
		return false
	}
	var unsent *notSent
	if errors.As(err, &unsent) {
		err = unsent.cause
	}
	return errors.Is(err, context.Canceled)
}

func (l *link) begin(ctx context.Context) error {
	if l.closed.Load() {
		return &notSent{driver.ErrClosed}
	}
	if ctx.Err() != nil {
		return &notSent{ctx.Err()}
	}
	select {
	case l.calls <- struct{}{}:
		return nil
	default:
	}
	select {
	case l.calls <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &notSent{ctx.Err()}
	}
}

// end gives the place of a call free. A call that was left when its context
// ended still has its place in rueidis, until Redis has answered it.
func (l *link) end(ctx context.Context, reply rueidis.RedisResult) {
	switch {
	case reply.NonRedisError() == nil || ctx.Err() == nil:
		<-l.calls
	case l.left.Add(1) == 1:
		go l.freeLeft() // ends soon after the client is closed
	}
}

// freeLeft gives the places of calls that were left free, as long as there are
// any. Whatever was sent before a trial is over when the trial is.
func (l *link) freeLeft() {
	for n := l.left.Load(); n > 0; n = l.left.Add(-n) {
		ctx, cancel := context.WithTimeout(context.Background(), abandoned)
		for range probes {
			if l.closed.Load() || ctx.Err() != nil {
				break
			}
			l.client.Do(ctx, l.client.B().Ping().Build())
		}
		cancel()
		for range n {
			<-l.calls
		}
	}
}

// writes is told before something is written to an address.
func (l *link) writes(to *string) {
	if l.wrote.Load() == to {
		return
	}
	if before := l.wrote.Swap(to); before != nil && before != to {
		l.turns.Add(1)
		l.news.Add(1)
	}
}

// close ends all calls. It may take as long as Redis takes to answer them.
func (l *link) close() {
	l.closed.Store(true)
	l.client.Close()
}

// notSent is the error of a command that has certainly not reached Redis. It
// has no Unwrap: rueidis would take the cause for its own.
type notSent struct{ cause error }

func (e *notSent) Error() string { return e.cause.Error() }

// dial connects so that errors before Redis's first answer are notSent: until
// then only the greeting was written.
func dial(ctx context.Context, network, to string, d *net.Dialer, secure *tls.Config) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c, err := d.DialContext(ctx, network, to)
	if err == nil && secure != nil {
		c, err = handshake(ctx, c, to, secure)
	}
	if err != nil {
		return nil, &notSent{err}
	}
	return &conn{Conn: c, secure: secure != nil}, nil
}

// conn is a connection whose errors are notSent until it is greeted.
type conn struct {
	net.Conn
	secure  bool
	greeted atomic.Bool
	to      *string // the address, nil for a sentinel's
	link    *link
}

func (c *conn) Close() error {
	if c.link != nil {
		c.link.conns.remove(c)
	}
	return c.Conn.Close()
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.greeted.Load() {
		return n, err
	}
	if n > 0 {
		c.greeted.Store(true)
	} else if err != nil {
		err = &notSent{&handshakeError{err, c.secure}}
	}
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	if c.to != nil {
		c.link.writes(c.to)
	}
	n, err := c.Conn.Write(b)
	if err != nil && !c.greeted.Load() {
		err = &notSent{&handshakeError{c.whyClosed(err), c.secure}}
	}
	return n, err
}
