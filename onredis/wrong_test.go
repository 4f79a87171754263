package onredis

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/redistest"
)

// secret is the password everywhere in these tests: nothing may show it.
const secret = "sesame99"

// wrongAddress is an address by which nobody gets anywhere.
type wrongAddress struct {
	what string
	url  string
	is   error
	says []string // what the error tells: above all what to do
}

// refused tries addresses: each error comes within five seconds, is of its kind,
// says what to do, and neither it nor the log shows a password.
func refused(t *testing.T, list []wrongAddress) {
	t.Helper()
	for _, c := range list {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			began := time.Now()
			bus, err := Open(t.Context(), c.url, &Options{Options: beck.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}})
			if err == nil {
				_, err = bus.Publish(t.Context(), "orders", beck.Message{Body: []byte("x")})
				_ = bus.Close(t.Context())
			}
			if took := time.Since(began); took > 8*time.Second { // 5, and some for a busy machine
				t.Errorf("it took %v", took)
			}
			if !errors.Is(err, c.is) {
				t.Errorf("%v, want %v", err, c.is)
			}
			for _, part := range c.says {
				if !strings.Contains(fmt.Sprint(err), part) {
					t.Errorf("%v: does not say %q", err, part)
				}
			}
			if all := fmt.Sprintf("%v %+v %#v %s", err, err, err, log.String()); strings.Contains(all, secret) {
				t.Errorf("the password is shown: %s", all)
			}
		})
	}
}

// secretFile is a file with a password, as operators mount them.
func secretFile(t *testing.T, password string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// withQuery is the address of a host with options.
func withQuery(scheme, at string, options ...string) string {
	query := url.Values{}
	for i := 0; i < len(options); i += 2 {
		query.Set(options[i], options[i+1])
	}
	return scheme + "://" + at + "?" + query.Encode()
}

func TestWrongTLS(t *testing.T) {
	t.Parallel()
	c := redistest.NewTLS(t)
	plain := redistest.Start(t)
	secured := redistest.StartWith(t, redistest.Options{TLS: c, Password: secret})
	asking := redistest.StartWith(t, redistest.Options{TLS: c.WithClientAuth()})
	expired := redistest.StartWith(t, redistest.Options{TLS: c.Expired()})
	other := redistest.StartWith(t, redistest.Options{TLS: c.For("redis.example")})
	as := ":" + secret + "@"
	refused(t, []wrongAddress{
		{"TLS to a plain port", withQuery("rediss", as+plain.Addr(), "ca", c.CA), beck.ErrUnavailable, []string{plain.Addr(), "redis in place of rediss"}},
		{"plain to a TLS port", "redis://" + as + secured.Addr(), beck.ErrUnavailable, []string{secured.Addr(), "rediss in place of redis"}},
		{"no CA", "rediss://" + as + secured.Addr(), beck.ErrUnavailable, []string{"unknown authority", "ca=PATH"}},
		{"another CA", withQuery("rediss", as+secured.Addr(), "ca", c.OtherCA), beck.ErrUnavailable, []string{"unknown authority", "ca=PATH"}},
		{"expired", withQuery("rediss", expired.Addr(), "ca", c.CA), beck.ErrUnavailable, []string{"expired", "renew"}},
		{"of another name", withQuery("rediss", other.Addr(), "ca", c.CA), beck.ErrUnavailable, []string{"127.0.0.1", "server_name=NAME"}},
		{"asked for another name", withQuery("rediss", as+secured.Addr(), "ca", c.CA, "server_name", "redis.example"), beck.ErrUnavailable, []string{"redis.example", "server_name=NAME"}},
		{"no client certificate", withQuery("rediss", asking.Addr(), "ca", c.CA), beck.ErrDenied, []string{"certificate required", "cert=PATH"}},
		{"expired client certificate", withQuery("rediss", asking.Addr(), "ca", c.CA, "cert", c.ExpiredCert, "key", c.ExpiredKey), beck.ErrDenied, []string{"expired", "cert=PATH"}},
		{"wrong password", withQuery("rediss", ":not"+secret+"@"+secured.Addr(), "ca", c.CA), beck.ErrDenied, []string{"WRONGPASS", "check user and password"}},
	})
}

// TestRightTLS is what the wrong ones are compared with.
func TestRightTLS(t *testing.T) {
	t.Parallel()
	c := redistest.NewTLS(t)
	asking := redistest.StartWith(t, redistest.Options{TLS: c.WithClientAuth(), Password: secret})
	other := redistest.StartWith(t, redistest.Options{TLS: c.For("redis.example")})
	for _, at := range []string{
		asking.URLAs("", secret),
		asking.URLAs("", "", "password_file="+secretFile(t, secret)),
		withQuery("rediss", other.Addr(), "ca", c.CA, "server_name", "redis.example"),
	} {
		bus, err := Open(t.Context(), at, nil)
		if err != nil {
			t.Errorf("%s: %v", at, err)
			continue
		}
		if _, err := bus.Publish(t.Context(), "orders", beck.Message{Body: []byte("x")}); err != nil {
			t.Errorf("%s: %v", at, err)
		}
		_ = bus.Close(t.Context())
	}
}

func TestWrongUser(t *testing.T) {
	t.Parallel()
	s := redistest.StartWith(t, redistest.Options{NoDefault: true, Users: []string{
		"nothing on >" + secret + " -@all",
		"reader on >" + secret + " ~* &* +@read +@connection +@scripting",
		"elsewhere on >" + secret + " ~other:* &* +@all",
	}})
	closed := redistest.StartWith(t, redistest.Options{Socket: true, Password: secret})
	hint := "docs/redis-acl.md"
	refused(t, []wrongAddress{
		{"no user", s.URL(), beck.ErrDenied, []string{"NOAUTH", "user and password in the address"}},
		{"unknown", s.URLAs("nobody", secret), beck.ErrDenied, []string{"WRONGPASS", "check user and password"}},
		{"wrong password", s.URLAs("reader", "not"+secret), beck.ErrDenied, []string{"WRONGPASS"}},
		{"may nothing", s.URLAs("nothing", secret), beck.ErrDenied, []string{"NOPERM", hint}},
		{"may not write", s.URLAs("reader", secret), beck.ErrDenied, []string{"NOPERM", "xadd", hint}},
		{"may use other keys", s.URLAs("elsewhere", secret), beck.ErrDenied, []string{"NOPERM", hint}},
		{"no database", strings.Replace(closed.URLAs("", secret), ".sock", ".sock?db=99", 1), beck.ErrOption, []string{"DB index"}},
		{"password for a socket", closed.URLAs("", "not"+secret), beck.ErrDenied, []string{"WRONGPASS"}},
		{"no socket", "redis+unix://:" + secret + "@" + closed.Dir() + "/none.sock", beck.ErrUnavailable, []string{"no such file", "unixsocket"}},
	})
}

func TestWrongSentinels(t *testing.T) {
	t.Parallel()
	g := redistest.SentinelWith(t, redistest.SentinelOptions{
		Data: redistest.Options{Password: secret}, Password: secret, Users: []string{"nothing on >" + secret + " -@all"},
	})
	var all []string
	for _, s := range g.Sentinels {
		all = append(all, s.Addr())
	}
	hosts, data := strings.Join(all, ","), g.Primary().Addr()
	at := func(password, hosts, name, options string) string {
		return "redis+sentinel://:" + password + "@" + hosts + "/" + name + "?" + options
	}
	right, mend := "sentinel_password_file="+secretFile(t, secret), "sentinel_password_file=PATH"
	refused(t, []wrongAddress{
		{"no such name", at(secret, hosts, "other", right), beck.ErrOption, []string{"the name other", "SENTINEL MASTERS"}},
		{"a data server as sentinel", at(secret, data, "mymaster", right), beck.ErrOption, []string{data, "no sentinel", "redis://"}},
		{"a sentinel as data server", "redis://:" + secret + "@" + all[0], beck.ErrOption, []string{"redis+sentinel://" + all[0]}},
		{"a sentinel as node", "redis+cluster://:" + secret + "@" + all[0], beck.ErrOption, []string{"redis+sentinel://"}},
		{"a replica", "redis://:" + secret + "@" + g.Replicas()[0].Addr(), beck.ErrUnavailable, []string{"READONLY", "primary"}},
		{"wrong password", at("not"+secret, hosts, "mymaster", right), beck.ErrDenied, []string{"WRONGPASS", "check user and password"}},
		{"no password for sentinels", at(secret, hosts, "mymaster", ""), beck.ErrDenied, []string{"the sentinels answer NOAUTH", mend}},
		{"wrong password for sentinels", at(secret, hosts, "mymaster", "sentinel_password_file="+secretFile(t, "not"+secret)), beck.ErrDenied, []string{"the sentinels answer WRONGPASS", mend}},
		{"user without rights at sentinels", at(secret, hosts, "mymaster", right+"&sentinel_user=nothing"), beck.ErrDenied, []string{"the sentinels answer NOPERM"}},
		{"TLS to plain sentinels", strings.Replace(at(secret, hosts, "mymaster", right), "redis+", "rediss+", 1), beck.ErrUnavailable, []string{"redis in place of rediss"}},
		{"nobody there", at(secret, "127.0.0.1:1,127.0.0.1:2", "mymaster", ""), beck.ErrUnavailable, []string{"connection refused"}},
	})
}

func TestWrongCluster(t *testing.T) {
	t.Parallel()
	whole := redistest.Cluster(t, 3, 0)
	alone := redistest.Start(t, "--cluster-enabled", "yes")
	alone.Do("CLUSTER", "ADDSLOTSRANGE", "0", "10000")
	plain := redistest.Start(t, "--requirepass", secret)
	node := whole.Nodes()[0].Addr()
	as := ":" + secret + "@"
	refused(t, []wrongAddress{
		{"a node as a server", "redis://" + node, beck.ErrOption, []string{"redis+cluster://" + node}},
		{"a server as a node", "redis+cluster://" + as + plain.Addr(), beck.ErrOption, []string{plain.Addr(), "redis://"}},
		{"slots missing", "redis+cluster://" + as + alone.Addr(), beck.ErrUnavailable, []string{"6383 of the 16384 slots", "--cluster check"}},
		{"TLS to plain nodes", "rediss+cluster://" + as + node, beck.ErrUnavailable, []string{"redis in place of rediss"}},
		{"wrong password", "redis+cluster://:not" + secret + "@" + plain.Addr(), beck.ErrDenied, []string{"WRONGPASS"}},
		{"nobody there", "redis+cluster://" + as + "127.0.0.1:1,127.0.0.1:2", beck.ErrUnavailable, []string{"connection refused"}},
	})
}

func TestWrongShards(t *testing.T) {
	t.Parallel()
	one := redistest.Start(t, "--requirepass", secret)
	other := redistest.Start(t, "--requirepass", "not"+secret)
	node := redistest.Start(t, "--cluster-enabled", "yes")
	as := "redis+shards://:" + secret + "@"
	refused(t, []wrongAddress{
		{"wrong password at one", as + one.Addr() + "," + other.Addr(), beck.ErrDenied, []string{other.Addr(), "WRONGPASS"}},
		{"a node of a cluster", "redis+shards://" + node.Addr(), beck.ErrOption, []string{node.Addr(), "redis+cluster://"}},
		{"TLS to plain ports", "rediss+shards://:" + secret + "@" + one.Addr(), beck.ErrUnavailable, []string{one.Addr(), "redis in place of rediss"}},
		{"nobody there", as + "127.0.0.1:1,127.0.0.1:2", beck.ErrUnavailable, []string{"connection refused"}},
	})
}
