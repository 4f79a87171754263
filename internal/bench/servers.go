package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	// serverPatience is how long servers may take until they are ready.
	serverPatience = 20 * time.Second
	serverPoll     = 10 * time.Millisecond
	// sentinels is how many watch a primary.
	sentinels = 3
	// downAfter is how long a primary may be silent until sentinels act.
	downAfter = 500 * time.Millisecond
	// primaryName is what they call it.
	primaryName = "mymaster"
)

// servers are Redis servers that a measurement starts on this machine, without an
// append-only file, and ends.
type servers struct {
	dir string
	all map[string]*exec.Cmd // by host:port
}

// newServers makes room for servers; close ends them.
func newServers() (*servers, error) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		return nil, fmt.Errorf("redis-server is needed for this: %w", err)
	}
	dir, err := os.MkdirTemp("", "beck-bench-")
	return &servers{dir: dir, all: map[string]*exec.Cmd{}}, err
}

func (s *servers) close() {
	for addr := range s.all {
		s.kill(addr)
	}
	_ = os.RemoveAll(s.dir)
}

// kill ends a server as a crash does.
func (s *servers) kill(addr string) {
	if cmd := s.all[addr]; cmd != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		delete(s.all, addr)
	}
}

// start runs a server with arguments of redis-server on a free port.
func (s *servers) start(ctx context.Context, args ...string) (addr string, err error) {
	port, err := freePort()
	if err != nil {
		return "", err
	}
	addr = net.JoinHostPort("127.0.0.1", port)
	return addr, s.startAt(ctx, addr, args...)
}

func (s *servers) startAt(ctx context.Context, addr string, args ...string) error {
	_, port, _ := net.SplitHostPort(addr)
	dir := filepath.Join(s.dir, port)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	common := []string{"--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--logfile", filepath.Join(dir, "log")}
	if len(args) > 0 && !strings.HasPrefix(args[0], "--") { // a file of settings comes first
		common = append(args, common...)
	} else {
		common = append(common, args...)
	}
	return s.run(ctx, addr, common)
}

func (s *servers) run(ctx context.Context, addr string, args []string) error {
	cmd := exec.Command("redis-server", args...)
	if err := cmd.Start(); err != nil {
		return err
	}
	s.all[addr] = cmd
	return until(ctx, "a Redis server", func() bool {
		reply, err := ask(addr, "PING")
		return err == nil && reply == "+PONG"
	})
}

// cluster starts n nodes that share the slots evenly.
func (s *servers) cluster(ctx context.Context, n int) (nodes []string, err error) {
	for range n {
		bus, err := freePort()
		if err != nil {
			return nil, err
		}
		addr, err := s.start(ctx, "--cluster-enabled", "yes", "--cluster-port", bus)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, addr)
		first, last := len(nodes)-1, len(nodes)
		if _, err = ask(addr, fmt.Sprintf("CLUSTER ADDSLOTSRANGE %d %d", first*16384/n, last*16384/n-1)); err == nil {
			_, err = ask(addr, fmt.Sprintf("CLUSTER SET-CONFIG-EPOCH %d", last))
		}
		if err == nil && len(nodes) > 1 {
			host, port, _ := net.SplitHostPort(nodes[0])
			_, err = ask(addr, "CLUSTER MEET "+host+" "+port+" "+s.busOf(nodes[0]))
		}
		if err != nil {
			return nil, err
		}
	}
	return nodes, until(ctx, "the cluster", func() bool {
		for _, addr := range nodes {
			info, err := ask(addr, "CLUSTER INFO")
			if err != nil || !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:"+strconv.Itoa(n)) {
				return false
			}
		}
		return true
	})
}

// busOf is the port by which the nodes of a cluster talk.
func (s *servers) busOf(addr string) string {
	args := s.all[addr].Args
	for i, a := range args {
		if a == "--cluster-port" {
			return args[i+1]
		}
	}
	return ""
}

// group is a primary with a replica, and sentinels that watch them.
type group struct {
	primary, replica string
	sentinels        []string
}

// url is the address of the group by its sentinels.
func (g *group) url() string {
	return "redis+sentinel://" + strings.Join(g.sentinels, ",") + "/" + primaryName
}

// group starts one.
func (s *servers) group(ctx context.Context) (g *group, err error) {
	g = &group{}
	if g.primary, err = s.start(ctx, replicated...); err != nil {
		return nil, err
	}
	if g.replica, err = s.start(ctx, replicaOf(g.primary)...); err != nil {
		return nil, err
	}
	host, port, _ := net.SplitHostPort(g.primary)
	settings := fmt.Sprintf("sentinel monitor %s %s %s 2\nsentinel down-after-milliseconds %s %d\nsentinel failover-timeout %s 1000\n",
		primaryName, host, port, primaryName, downAfter.Milliseconds(), primaryName)
	for i := range sentinels {
		file := filepath.Join(s.dir, fmt.Sprintf("sentinel%d.conf", i))
		if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
			return nil, err
		}
		addr, err := s.start(ctx, file, "--sentinel")
		if err != nil {
			return nil, err
		}
		g.sentinels = append(g.sentinels, addr)
	}
	return g, s.settled(ctx, g)
}

// replicated are the settings of a primary whose replicas are soon in sync.
var replicated = []string{"--repl-diskless-sync-delay", "0", "--repl-backlog-size", "64mb"}

func replicaOf(primary string) []string {
	host, port, _ := net.SplitHostPort(primary)
	return append([]string{"--replicaof", host + " " + port}, replicated...)
}

// settled waits until the replica is in sync and all sentinels know each other and
// both servers, so that the next failover is possible.
func (s *servers) settled(ctx context.Context, g *group) error {
	return until(ctx, "the sentinels", func() bool {
		info, err := ask(g.replica, "INFO replication")
		if err != nil || !strings.Contains(info, "master_link_status:up") {
			return false
		}
		for _, addr := range g.sentinels {
			known, err := ask(addr, "INFO sentinel")
			if err != nil || !strings.Contains(known, "status=ok,address="+g.primary+",slaves=1,sentinels="+strconv.Itoa(sentinels)) {
				return false
			}
			replicas, err := ask(addr, "SENTINEL REPLICAS "+primaryName)
			if err != nil || !strings.Contains(replicas, "\nflags\nslave\n") || !strings.Contains(replicas, "\nmaster-link-status\nok\n") {
				return false
			}
		}
		return true
	})
}

// until polls what servers need some time for.
func until(ctx context.Context, what string, ready func() bool) error {
	for deadline := time.Now().Add(serverPatience); ; time.Sleep(serverPoll) {
		switch {
		case ready():
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(deadline):
			return fmt.Errorf("%s not ready after %v", what, serverPatience)
		}
	}
}

// ask sends one command on a connection of its own and returns the reply, an array
// one line an element.
func ask(addr, command string) (string, error) {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := fmt.Fprintf(c, "%s\r\n", command); err != nil {
		return "", err
	}
	return readReply(bufio.NewReader(c))
}

func readReply(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	if line = strings.TrimSpace(line); err != nil || line == "" {
		return "", errors.Join(err, io.ErrUnexpectedEOF)
	}
	n, _ := strconv.Atoi(line[1:])
	switch line[0] {
	case '-':
		return "", errors.New(line[1:])
	case '$':
		if n < 0 {
			return "", nil
		}
		text := make([]byte, n+2)
		_, err := io.ReadFull(in, text)
		return string(text[:n]), err
	case '*':
		var all strings.Builder
		for range n {
			part, err := readReply(in)
			if err != nil {
				return "", err
			}
			all.WriteString(part + "\n")
		}
		return all.String(), nil
	}
	return line, nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), nil
}
