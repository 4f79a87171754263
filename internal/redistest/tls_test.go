package redistest

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
	"testing"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	c := NewTLS(t)
	for _, test := range []struct {
		name      string
		server    *TLS
		ca        string
		cert, key string
		works     bool
	}{
		{"as it should be", c, c.CA, "", "", true},
		{"another authority", c, c.OtherCA, "", "", false},
		{"an expired server", c.Expired(), c.CA, "", "", false},
		{"a server of another name", c.For("redis.example"), c.CA, "", "", false},
		{"no client certificate", c.WithClientAuth(), c.CA, "", "", false},
		{"a client certificate", c.WithClientAuth(), c.CA, c.ClientCert, c.ClientKey, true},
		{"an expired client certificate", c.WithClientAuth(), c.CA, c.ExpiredCert, c.ExpiredKey, false},
	} {
		s := StartWith(t, Options{TLS: test.server, Args: []string{"--appendonly", "yes"}})
		if s.Do("PING") != "PONG" || !strings.HasPrefix(s.URL(), "rediss://127.0.0.1:") {
			t.Errorf("%s: no server at %s", test.name, s.URL())
		}
		if err := ping(t, s.Addr(), test.ca, test.cert, test.key); (err == nil) != test.works {
			t.Errorf("%s: %v", test.name, err)
		}
		s.end()
	}
}

// ping talks to a server as a careful client does.
func ping(t *testing.T, addr, ca, cert, key string) error {
	t.Helper()
	text, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "127.0.0.1"}
	config.RootCAs.AppendCertsFromPEM(text)
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	c, err := tls.Dial("tcp", addr, config)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 16))
	return err
}

func TestSocketAndUsers(t *testing.T) {
	t.Parallel()
	s := StartWith(t, Options{Socket: true, Users: []string{"ann on >secret ~a* +get"}, NoDefault: true})
	if !strings.HasPrefix(s.URLAs("ann", "secret", "db=2"), "redis+unix://ann:secret@/") {
		t.Errorf("URL: %q", s.URLAs("ann", "secret", "db=2"))
	}
	s.Do("SET", "a", "1")
	if got := s.Do("ACL", "DRYRUN", "ann", "GET", "a"); got != "OK" {
		t.Errorf("what ann may: %q", got)
	}
	if got := s.Do("ACL", "DRYRUN", "ann", "SET", "a", "1"); got == "OK" {
		t.Error("ann may do everything")
	}
	s.Restart()
	if got := s.Do("ACL", "USERS"); got != "ann\ndefault\nredistest" {
		t.Errorf("users after a restart: %q", got)
	}
}
