package redisaddr

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/beckmq/beck"
)

// form is what a scheme stands for.
type form struct {
	kind    Kind
	network string
	secure  bool
}

var forms = map[string]form{
	"redis":           {Single, "tcp", false},
	"redis+unix":      {Single, "unix", false},
	"redis+sentinel":  {Sentinel, "tcp", false},
	"redis+cluster":   {Cluster, "tcp", false},
	"redis+shards":    {Shards, "tcp", false},
	"rediss":          {Single, "tcp", true},
	"rediss+sentinel": {Sentinel, "tcp", true},
	"rediss+cluster":  {Cluster, "tcp", true},
	"rediss+shards":   {Shards, "tcp", true},
}

// IsScheme reports whether addresses begin with this scheme.
func IsScheme(scheme string) bool {
	_, ok := forms[scheme]
	return ok
}

const schemes = "it takes redis://, redis+unix://, redis+sentinel://, redis+cluster:// or redis+shards://, and rediss for TLS"

// wrong makes an error of what is wrong with an address.
func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{beck.ErrOption}, args...)...)
}

// Parse reads an address, and the files and environment variables it names. Its
// errors are beck.ErrOption and hold nothing that may be a secret.
func Parse(text string) (*Address, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return nil, wrong("the address of a Redis is redis://host:port or rediss://host:port")
	}
	f, ok := forms[scheme]
	switch {
	case scheme == "rediss+unix":
		return nil, wrong("rediss+unix of the address: there is no TLS on a unix socket; write redis+unix")
	case !ok:
		return nil, wrong("scheme %.20q of the address; %s", scheme, schemes)
	}
	authority, path, query, err := split(rest)
	if err != nil {
		return nil, err
	}
	a := &Address{Kind: f.kind, Network: f.network}
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		if err := a.parseUser(scheme, authority[:i]); err != nil {
			return nil, err
		}
		authority = authority[i+1:]
	}
	options, err := parseOptions(query)
	if err != nil {
		return nil, err
	}
	if f.network == "unix" {
		err = a.parseSocket(authority, path, options)
	} else {
		err = a.parsePlace(authority, path)
	}
	if err != nil {
		return nil, err
	}
	if err := a.apply(options, f.secure); err != nil {
		return nil, err
	}
	return a, nil
}

// split cuts an address at the first / and at the ? behind the scheme.
func split(rest string) (authority, path, query string, err error) {
	i := strings.IndexAny(rest, "/?#")
	if i < 0 {
		return rest, "", "", nil
	}
	if strings.Contains(rest[i:], "@") {
		// Most likely all before the @ is user and password.
		return "", "", "", wrong("the address has an @ behind the host; write / ? and # in a password as %%2F, %%3F and %%23, and an @ in an option as %%40")
	}
	if strings.Contains(rest, "#") {
		return "", "", "", wrong("the address has a #; write ? and # in a password as %%3F and %%23")
	}
	path, query, _ = strings.Cut(rest[i:], "?")
	return rest[:i], path, query, nil
}

func (a *Address) parseUser(scheme, text string) error {
	if a.Kind != Single && strings.Contains(text, "@") {
		return wrong("the address has more than one @; user and password go once, before the first host, with an @ in them as %%40")
	}
	user, password, _ := strings.Cut(text, ":")
	var err1, err2 error
	a.User, err1 = url.PathUnescape(user)
	a.Password, err2 = url.PathUnescape(password)
	if err1 != nil || err2 != nil {
		return wrong("the address is malformed; it takes %s://user:password@host:port, with special characters in user and password %%-encoded", scheme)
	}
	return nil
}

// userInfo is what URL shows of user and password.
func (a Address) userInfo() string {
	if a.User == "" && a.Password == "" {
		return ""
	}
	if a.Password == "" {
		return url.User(a.User).String() + "@"
	}
	return url.UserPassword(a.User, "xxxxx").String() + "@"
}

// parsePlace reads the hosts and what follows them.
func (a *Address) parsePlace(authority, path string) error {
	var err error
	if a.Hosts, err = parseHosts(authority, a.Kind); err != nil {
		return err
	}
	path = strings.TrimPrefix(path, "/")
	if a.Kind == Sentinel {
		a.Master, path, _ = strings.Cut(path, "/")
		if !isMaster(a.Master) {
			return wrong("the address takes the name that the sentinels know the primary by behind the hosts, as in redis+sentinel://h1,h2,h3/mymaster; a name has letters, digits, '.', '-' and '_'")
		}
	}
	if a.DB, err = parseDatabase(path); err != nil {
		return err
	}
	if a.Kind == Cluster && a.DB != 0 {
		return wrong("the address has a database, but a cluster has only one; leave /%d out", a.DB)
	}
	return nil
}

// isMaster reports whether a sentinel takes such a name.
func isMaster(name string) bool { return name != "" && isHostName(name) }

func (a *Address) parseSocket(authority, path string, options map[string]string) error {
	file, err := url.PathUnescape(path)
	if authority != "" || err != nil || len(file) < 2 || strings.ContainsRune(file, 0) {
		return wrong("the address takes the full path of the socket behind three slashes, as in redis+unix:///run/redis.sock")
	}
	a.Hosts = []string{file}
	if text, ok := options["db"]; ok {
		delete(options, "db")
		a.DB, err = parseDatabase(text)
	}
	return err
}

func parseDatabase(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	db, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, wrong("database %.20q of the address; it takes a number such as /0; write / in a password as %%2F", text)
	}
	return int(db), nil
}
