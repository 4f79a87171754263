package redistest

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Options of a server. The zero value is a server that stores nothing on disk and
// lets in everybody on this machine.
type Options struct {
	// Args are those of redis-server, such as "--appendonly", "yes".
	Args []string
	// Password is that of the default user; defaults to none.
	Password string
	// Users are lines of an ACL file without the word "user", such as
	// "ann on >secret ~* +@all". With any, the server has an ACL file.
	Users []string
	// NoDefault turns the default user off, so that only Users get in.
	NoDefault bool
	// TLS makes the server speak nothing else; defaults to plain connections.
	TLS *TLS
	// Socket makes the server listen on a unix socket only.
	Socket bool

	// sentinel makes it a sentinel.
	sentinel bool
	// file has the server keep its settings in a file, which Sentinel rewrites.
	file bool
}

// The user by which this package itself works on a server that has an ACL file.
const (
	ownUser     = "redistest"
	ownPassword = "of-redistest-only"
)

func (o Options) hasACL() bool { return len(o.Users) > 0 || o.NoDefault }

// login is the command by which this package logs in, nil where it needs none.
func (s *Server) login() []string {
	switch {
	case s.options.hasACL():
		return []string{"AUTH", ownUser, ownPassword}
	case s.password() != "":
		return []string{"AUTH", s.password()}
	}
	return nil
}

// password is that of the default user, if the server was started with one.
func (s *Server) password() string {
	for i, arg := range s.options.Args {
		if arg == "--requirepass" && i+1 < len(s.options.Args) {
			return s.options.Args[i+1]
		}
	}
	return s.options.Password
}

// link are the arguments by which a server logs in at its primary.
func (s *Server) link() []string {
	switch {
	case s.options.hasACL():
		return []string{"--masteruser", ownUser, "--masterauth", ownPassword}
	case s.password() != "":
		return []string{"--masterauth", s.password()}
	}
	return nil
}

// arguments are all those of the server's process. They write what files it needs.
func (s *Server) arguments() ([]string, error) {
	args := []string{"--bind", "127.0.0.1", "--dir", s.dir, "--daemonize", "no"}
	port := strconv.Itoa(s.port)
	switch {
	case s.options.Socket:
		args = append(args, "--port", "0", "--unixsocket", s.socket())
	case s.options.TLS != nil:
		args = append(args, "--port", "0", "--tls-port", port)
		args = append(args, s.options.TLS.arguments()...)
	default:
		args = append(args, "--port", port)
	}
	if !s.options.sentinel {
		args = append(args, "--save", "", "--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0")
		args = append(args, s.link()...)
	}
	if slices.Contains(s.options.Args, "--cluster-enabled") {
		args = append(args, "--cluster-port", strconv.Itoa(s.busPort))
	}
	if s.options.hasACL() {
		if err := s.writeACL(); err != nil {
			return nil, err
		}
		args = append(args, "--aclfile", s.aclFile())
	} else if s.options.Password != "" {
		args = append(args, "--requirepass", s.options.Password)
	}
	args = append(args, s.options.Args...)
	if !s.options.sentinel && !s.options.file {
		return args, nil
	}
	started := []string{s.configFile()}
	if s.options.sentinel {
		started = append(started, "--sentinel")
	}
	if _, err := os.Stat(s.configFile()); err == nil && s.started {
		return started, nil // it may have been rewritten since
	}
	return started, os.WriteFile(s.configFile(), configLines(args), 0o600)
}

// configLines turns arguments into the lines of a configuration file.
func configLines(args []string) []byte {
	var b []byte
	for _, a := range args {
		if name, ok := strings.CutPrefix(a, "--"); ok {
			b = append(append(b, '\n'), name...)
			continue
		}
		b = strconv.AppendQuote(append(b, ' '), a)
	}
	return append(b, '\n')
}

// writeACL writes the users, unless the server has run before: it may have saved
// others since.
func (s *Server) writeACL() error {
	if s.started {
		return nil
	}
	byDefault := "nopass"
	if p := s.password(); p != "" {
		byDefault = ">" + p
	}
	state := "on"
	if s.options.NoDefault {
		state = "off"
	}
	lines := "user default " + state + " " + byDefault + " ~* &* +@all\n" +
		"user " + ownUser + " on >" + ownPassword + " ~* &* +@all\n"
	for _, u := range s.options.Users {
		lines += "user " + strings.Join(strings.Fields(u), " ") + "\n"
	}
	return os.WriteFile(s.aclFile(), []byte(lines), 0o600)
}

func (s *Server) aclFile() string    { return filepath.Join(s.dir, "users.acl") }
func (s *Server) configFile() string { return filepath.Join(s.dir, "redis.conf") }

// URL is the server's address as beck takes it, with the files for TLS but without
// user and password.
func (s *Server) URL() string { return s.URLAs("", "") }

// URLAs is the server's address for a user, "" being the default one. The options
// are written as "name=value".
func (s *Server) URLAs(user, password string, options ...string) string {
	if s.options.Socket {
		return address("redis+unix", s.options.TLS, user, password, s.socket(), options)
	}
	return address("redis", s.options.TLS, user, password, s.Addr(), options)
}

// address puts together an address of beck's.
func address(scheme string, secured *TLS, user, password, where string, options []string) string {
	query := url.Values{}
	for _, o := range options {
		name, value, _ := strings.Cut(o, "=")
		query.Set(name, value)
	}
	if secured != nil {
		scheme = strings.Replace(scheme, "redis", "rediss", 1)
		query.Set("ca", secured.CA)
		if secured.ClientAuth {
			query.Set("cert", secured.ClientCert)
			query.Set("key", secured.ClientKey)
		}
	}
	who := ""
	if password != "" {
		who = url.UserPassword(user, password).String() + "@"
	}
	tail := ""
	if len(query) > 0 {
		tail = "?" + query.Encode()
	}
	return scheme + "://" + who + where + tail
}
