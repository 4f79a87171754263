package onhttp

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/beckmq/beck"
)

// Options are how a server is spoken to. The zero value works.
type Options struct {
	beck.Options

	// Client sends the requests. It must not have a Timeout, since streams stay
	// open, and it must not repeat requests by itself. Defaults to a client
	// whose connections are kept for 512 callers at a time.
	Client *http.Client
}

// Open returns a bus on the server at a URL, such as http://localhost:8080 or
// https://user:password@beck.example.com/prefix. It does not wait for the server:
// a server that can't be reached shows in the first call.
func Open(url string, o *Options) (*beck.Bus, error) {
	if o == nil {
		o = &Options{}
	}
	e, err := newEngine(url, o)
	if err != nil {
		return nil, &beck.Error{Op: "open", Err: err}
	}
	return beck.New(e, &o.Options)
}

func newEngine(address string, o *Options) (*engine, error) {
	base, user, err := parse(address)
	if err != nil {
		return nil, err
	}
	e := &engine{base: base.String(), name: base.Host + base.Path, log: o.Logger, patience: patience}
	if user != nil {
		password, _ := user.Password()
		e.user, e.password, e.signed = user.Username(), password, true
	}
	if e.log == nil {
		e.log = slog.Default()
	}
	if e.client, err = newClient(o.Client); err != nil {
		return nil, err
	}
	e.watches.byTopic = map[string]*watch{}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	return e, nil
}

// parse takes an address apart; what it returns as base and as error holds no
// secret.
func parse(address string) (base *url.URL, user *url.Userinfo, err error) {
	u, err := url.Parse(address)
	if err != nil {
		// url.Error would show the address, and with it a password.
		return nil, nil, fmt.Errorf("%w: the server's address is no URL; give one such as http://localhost:8080", beck.ErrOption)
	}
	user, u.User = u.User, nil
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, nil, fmt.Errorf("%w: the server's address must begin with http:// or https://", beck.ErrOption)
	case u.Hostname() == "":
		return nil, nil, fmt.Errorf("%w: the server's address has no host; give one such as http://localhost:8080", beck.ErrOption)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, nil, fmt.Errorf("%w: the address of a server (here %s) ends with its path", beck.ErrOption, u.Host)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = ""
	return u, user, nil
}

const (
	dialTime = 5 * time.Second
	// idleTime is how long unused connections are kept: less than servers do,
	// so that no request is sent into a connection that is being closed.
	idleTime = time.Minute
	// idleConnections is how many unused connections are kept, so that many
	// callers at a time don't make a connection for each call.
	idleConnections = 1024
)

func newClient(given *http.Client) (*http.Client, error) {
	client := http.Client{Transport: newTransport()}
	if given != nil {
		if given.Timeout != 0 {
			return nil, fmt.Errorf("%w: Client has a Timeout, which would cut off streams; let the contexts of calls end them", beck.ErrOption)
		}
		client = *given
	}
	if client.CheckRedirect == nil {
		// A redirected POST would be sent twice.
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	return &client, nil
}

func newTransport() *http.Transport {
	dialer := net.Dialer{Timeout: dialTime}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		TLSHandshakeTimeout: dialTime,
		MaxIdleConnsPerHost: idleConnections,
		IdleConnTimeout:     idleTime,
		DisableCompression:  true,
		WriteBufferSize:     64 << 10,
		ReadBufferSize:      16 << 10,
	}
}
