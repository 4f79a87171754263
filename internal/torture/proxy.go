package torture

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Link is the state of a Proxy.
type Link int32

// The states.
const (
	// Open passes everything on at once.
	Open Link = iota
	// Slow passes everything on late and in small pieces.
	Slow
	// HalfOpen passes on what clients send, and holds back what servers answer.
	HalfOpen
	// Silent holds back everything, and keeps the connections.
	Silent
	// Closed has cut all connections and takes no new ones.
	Closed
)

const (
	slowDelay = 30 * time.Millisecond
	slowPiece = 4 << 10
	heldTick  = 5 * time.Millisecond
)

// Proxy passes on TCP connections to a server, well or badly.
type Proxy struct {
	listener net.Listener
	target   string
	state    atomic.Int32
	all      sync.WaitGroup

	mu    sync.Mutex
	ended bool
	conns map[net.Conn]bool
}

// NewProxy begins to pass on connections to target, from an address of its own.
func NewProxy(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, target: target, conns: map[net.Conn]bool{}}
	p.all.Go(p.accept)
	return p, nil
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Set changes how the link is from now on.
func (p *Proxy) Set(l Link) {
	p.state.Store(int32(l))
	if l == Closed {
		p.cut()
	}
}

func (p *Proxy) link() Link { return Link(p.state.Load()) }

func (p *Proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// Close ends the proxy and all its connections.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.listener.Close()
	p.cut()
	p.all.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		if p.link() == Closed || !p.keep(client) {
			client.Close()
			continue
		}
		p.all.Go(func() { p.serve(client) })
	}
}

// keep remembers a connection, unless the proxy has ended.
func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.conns[c] = true
	}
	return !p.ended
}

func (p *Proxy) drop(c net.Conn) {
	c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *Proxy) serve(client net.Conn) {
	defer p.drop(client)
	server, err := net.DialTimeout("tcp", p.target, time.Second)
	if err != nil || !p.keep(server) {
		if err == nil {
			server.Close()
		}
		return
	}
	defer p.drop(server)
	var both sync.WaitGroup
	both.Go(func() { p.pass(server, client, Silent) })
	both.Go(func() { p.pass(client, server, HalfOpen) })
	both.Wait()
}

// pass copies from one connection to the other, but while the link is in a state
// from held on; and closes both at the end.
func (p *Proxy) pass(to, from net.Conn, held Link) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		piece := buffer
		if p.link() == Slow {
			piece = buffer[:slowPiece]
		}
		n, err := from.Read(piece)
		if n > 0 {
			if p.link() == Slow {
				time.Sleep(slowDelay)
			}
			for p.link() >= held && p.link() != Closed {
				if p.over() {
					return
				}
				time.Sleep(heldTick)
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *Proxy) over() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended
}
