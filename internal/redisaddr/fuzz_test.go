package redisaddr

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/beckmq/beck"
)

// FuzzParse holds what is true of every address, and that a password is shown by
// no error and no address, whatever stands around it.
func FuzzParse(f *testing.F) {
	for scheme := range forms {
		f.Add(scheme+"://u:", "p@ss/word?", "@a,b:1,[::1]:2/m/3?server_name=x&sentinel_user=y")
	}
	f.Add("redis+unix://:", "secret#1", "@/run/redis.sock?db=2")
	f.Add("redis://", "", "")
	f.Add("redis", "://h", "?ca=x&cert=y&key=z&password_file=v&password_env=w")
	f.Fuzz(func(t *testing.T, before, secret, after string) {
		if strings.Contains(after, "password_") || strings.Contains(after, "ca=") || strings.Contains(after, "cert=") {
			t.Skip("reads the files and the environment of this machine")
		}
		for _, text := range []string{before + url.QueryEscape(secret) + after, before + secret + after} {
			a, err := Parse(text)
			if err != nil {
				if !errors.Is(err, beck.ErrOption) {
					t.Fatalf("%q: %v is no ErrOption", text, err)
				}
				continue
			}
			check(t, text, a)
		}
		text := "redis://u:" + url.PathEscape(secret) + "@h" + strings.ReplaceAll(after, "@", "")
		const marked = 8 // shorter ones may be in a text by chance
		if _, err := Parse(text); err != nil && len(secret) >= marked &&
			!strings.Contains(after, secret) && !strings.Contains(plainErrors, secret) && strings.Contains(err.Error(), secret) {
			t.Fatalf("%q: the error shows the secret: %v", text, err)
		}
	})
}

// plainErrors is text of errors in which a short secret may be by chance.
const plainErrors = schemes + "the address has an unknown option; it takes password_env, password_file, sentinel_password_env, sentinel_password_file, sentinel_user, server_name" +
	"the port, which takes 1 to 65535, of the address; a character that no host has, in the host of the address; too many colons; an IPv6 address goes in brackets, as [::1]:6379: the host"

func check(t *testing.T, text string, a *Address) {
	t.Helper()
	seen := map[string]bool{}
	for _, host := range a.Hosts {
		if host == "" || seen[host] {
			t.Fatalf("%q has the hosts %q", text, a.Hosts)
		}
		seen[host] = true
	}
	if len(a.Hosts) == 0 || a.Kind == Single && len(a.Hosts) != 1 {
		t.Fatalf("%q has the hosts %q", text, a.Hosts)
	}
	if (a.Kind == Sentinel) != (a.Master != "") || a.Kind == Cluster && a.DB != 0 || a.Kind != Single && a.Network == "unix" {
		t.Fatalf("%q is %v with master %q, database %d and network %s", text, a.Kind, a.Master, a.DB, a.Network)
	}
	if a.Network == "unix" || strings.Contains(strings.Join(a.Hosts, ","), "%") {
		return // what is shown is not encoded again
	}
	// What is shown leads to the same place.
	again, err := Parse(a.URL())
	if err != nil || again.String() != a.String() || again.User != a.User {
		t.Fatalf("%q is shown as %q, which is %v, %v", text, a.URL(), again, err)
	}
}
