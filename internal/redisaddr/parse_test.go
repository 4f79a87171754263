package redisaddr

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/beckmq/beck"
)

func TestParse(t *testing.T) {
	t.Setenv("BECK_ADDR_TEST", "from env")
	for text, want := range map[string]Address{
		"redis://localhost":                        {Hosts: []string{"localhost:6379"}},
		"redis://":                                 {Hosts: []string{"localhost:6379"}},
		"redis:///3":                               {Hosts: []string{"localhost:6379"}, DB: 3},
		"redis://:7000":                            {Hosts: []string{"localhost:7000"}},
		"redis://10.0.0.1:7000/3":                  {Hosts: []string{"10.0.0.1:7000"}, DB: 3},
		"redis://[::1]:7000":                       {Hosts: []string{"[::1]:7000"}},
		"redis://[0:0::0:1]":                       {Hosts: []string{"[::1]:6379"}},
		"redis://[fe80::1%25eth0]:1":               {Hosts: []string{"[fe80::1%eth0]:1"}},
		"redis://Re%64is.Example:07000?":           {Hosts: []string{"redis.example:7000"}},
		"redis://ann:p%40ss%2F@host":               {Hosts: []string{"host:6379"}, User: "ann", Password: "p@ss/"},
		"redis://ann:p@ss:word+@host":              {Hosts: []string{"host:6379"}, User: "ann", Password: "p@ss:word+"},
		"redis://:secret@host:1/0":                 {Hosts: []string{"host:1"}, Password: "secret"},
		"redis://ann@host":                         {Hosts: []string{"host:6379"}, User: "ann"},
		"redis://host?password_env=BECK_ADDR_TEST": {Hosts: []string{"host:6379"}, Password: "from env"},

		"redis+unix:///run/redis.sock":            {Network: "unix", Hosts: []string{"/run/redis.sock"}},
		"redis+unix://a:b@/run/r%20s+x.sock?db=2": {Network: "unix", Hosts: []string{"/run/r s+x.sock"}, User: "a", Password: "b", DB: 2},
		"redis+sentinel://h1,h2:1,[::1]/mymaster": {Kind: Sentinel, Hosts: []string{"h1:26379", "h2:1", "[::1]:26379"}, Master: "mymaster"},
		"redis+sentinel:///my.master-1_x/2":       {Kind: Sentinel, Hosts: []string{"localhost:26379"}, Master: "my.master-1_x", DB: 2},
		"redis+sentinel://a:b@h1,h2/m/0?sentinel_user=c&sentinel_password_env=BECK_ADDR_TEST": {
			Kind: Sentinel, Hosts: []string{"h1:26379", "h2:26379"}, Master: "m", User: "a", Password: "b",
			SentinelUser: "c", SentinelPassword: "from env"},
		"redis+cluster://h1,h2:7001":  {Kind: Cluster, Hosts: []string{"h1:6379", "h2:7001"}},
		"redis+cluster://h1/0":        {Kind: Cluster, Hosts: []string{"h1:6379"}},
		"redis+shards://:p@a,b:1,c/4": {Kind: Shards, Hosts: []string{"a:6379", "b:1", "c:6379"}, Password: "p", DB: 4},
	} {
		if want.Network == "" {
			want.Network = "tcp"
		}
		got, err := Parse(text)
		if err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s is %+v, %v, want %+v", text, got, err, want)
		}
	}
}

func TestParseTLS(t *testing.T) {
	for _, scheme := range []string{"rediss://h1", "rediss+sentinel://h1/m", "rediss+cluster://h1", "rediss+shards://h1"} {
		a, err := Parse(scheme)
		if err != nil || a.TLS == nil || a.TLS.MinVersion < 0x303 || a.TLS.ServerName != "" {
			t.Errorf("%s: %+v, %v", scheme, a, err)
			continue
		}
		if name := a.TLSFor("[fe80::1%eth0]:6379").ServerName; name != "fe80::1" {
			t.Errorf("%s: the server's name is %q", scheme, name)
		}
		if name := a.TLSFor("other:6379").ServerName; name != "other" {
			t.Errorf("%s: the server's name is %q", scheme, name)
		}
		a, err = Parse(scheme + "?server_name=redis.example")
		if err != nil || a.TLSFor("other:6379").ServerName != "redis.example" {
			t.Errorf("%s with server_name: %+v, %v", scheme, a, err)
		}
	}
}

// TestWrong also holds that no error repeats a secret.
func TestWrong(t *testing.T) {
	const secret = "sesame99"
	for text, names := range map[string]string{
		"host:6379":                              "redis://",
		"http://:" + secret + "@host":            "http",
		"unix:///tmp/redis.sock":                 "redis+unix://",
		"redis+sentinels://h/m":                  "redis+sentinel://",
		"rediss+unix:///tmp/redis.sock":          "unix socket",
		"redis://:" + secret + "@host?timeout=5": `"timeout"`,
		"redis://:" + secret + "@host/x":         `"x"`,
		"redis://:" + secret + "@host/-1":        `"-1"`,
		"redis://:" + secret + "%zz@host":        "malformed",
		"redis://" + secret + "%zz@host":         "malformed",
		"redis://:" + secret + "#1@host":         "%23",
		"redis://host/0#x":                       "#",
		"redis://user:123?" + secret + "@host":   "%3F",
		"redis://user:123/" + secret + "@host":   "%2F",
		"redis://user:/" + secret + "@host":      "%2F",
		"redis://user:123#" + secret + "@host":   "%23",
		"redis://:" + secret + "@host:99999":     "65535",
		"redis://:" + secret + "@host:0":         "65535",
		"redis://host:" + secret:                 "65535",
		"redis://:p@ho st:x" + secret:            "character",
		"redis://ho%zz" + secret:                 "character",
		"redis://::1":                            "brackets",
		"redis://[::1":                           "brackets",
		"redis://[::1]" + secret:                 "65535",
		"redis://[127.0.0.1]":                    "brackets",
		"redis://a,b":                            "comma",

		"redis+unix://":                                              "redis+unix:///",
		"redis+unix://run/redis.sock":                                "redis+unix:///",
		"redis+unix:///run/redis.sock?db=x":                          `"x"`,
		"redis+unix:///run/redis.sock?ca=x":                          "ca",
		"redis://h?db=1":                                             "/2",
		"redis+sentinel://h1":                                        "mymaster",
		"redis+sentinel://h1/a%2Fb":                                  "mymaster",
		"redis+sentinel://h1/m/x":                                    `"x"`,
		"redis+sentinel://h1/m/0/1":                                  `"0/1"`,
		"redis+sentinel://u:" + secret + "@h1,u:" + secret + "@h2/m": "first host",
		"redis+cluster://h1,h2,h1:6379":                              "1 and 3",
		"redis+cluster://h1,H1":                                      "1 and 2",
		"redis+cluster://h1,,h2":                                     "host 2",
		"redis+cluster://h1,":                                        "host 2",
		"redis+cluster://h1:1,h2:x":                                  "host 2",
		"redis+cluster://h1/2":                                       "/2",
		"redis+shards://h1,h2/x":                                     `"x"`,
		"redis://h?ca=x":                                             "rediss",
		"redis://h?server_name=x":                                    "rediss",
		"redis://h?sentinel_user=x":                                  "redis+sentinel",
		"redis+cluster://h?sentinel_password_env=x":                  "redis+sentinel",
		"rediss://h?server_name=a&server_name=b":                     "twice",
		"rediss://h?server_name":                                     "empty",
		"rediss://h?server_name=%zz":                                 "malformed",
		"redis://:p@h?password_env=HOME":                             "one is enough",
		"redis://h?password_env=HOME&password_file=x":                "one is enough",
		"redis://h?password_env=" + secret:                           "password_env",
		"redis://h?password_file=" + secret:                          "no such file",
		"redis://h?password_file=/":                                  "regular file",
		"redis+sentinel://h/m?sentinel_password_file=" + secret:      "sentinel_password_file",
		"rediss://h?ca=" + secret:                                    "ca of the address: no such file",
		"rediss://h?cert=x":                                          "no key",
		"rediss://h?key=" + secret:                                   "no cert",
	} {
		_, err := Parse(text)
		if !errors.Is(err, beck.ErrOption) || !strings.Contains(err.Error(), names) {
			t.Errorf("%s: %v, want an ErrOption naming %q", text, err, names)
		}
		if strings.Contains(fmt.Sprintf("%v %#v", err, err), secret) {
			t.Errorf("%s: the error shows the secret: %v", text, err)
		}
	}
}

func TestPrintsNoSecret(t *testing.T) {
	t.Setenv("BECK_ADDR_TEST", "sesame99")
	for text, want := range map[string][2]string{
		"redis://u:sesame99@h/2":              {"h:6379/2", "redis://u:xxxxx@h:6379/2"},
		"rediss://u@h":                        {"h:6379/0", "rediss://u@h:6379/0"},
		"redis+unix://:sesame99@/r.sock?db=3": {"unix:/r.sock?db=3", "redis+unix://:xxxxx@/r.sock?db=3"},
		"redis+cluster://:sesame99@a,b":       {"cluster a:6379,b:6379", "redis+cluster://:xxxxx@a:6379,b:6379"},
		"rediss+shards://:sesame99@a,b/1":     {"shards a:6379,b:6379/1", "rediss+shards://:xxxxx@a:6379,b:6379/1"},
		"redis+sentinel://a,b/m?password_env=BECK_ADDR_TEST&sentinel_password_env=BECK_ADDR_TEST": {
			"sentinel a:26379,b:26379/m/0", "redis+sentinel://:xxxxx@a:26379,b:26379/m/0"},
	} {
		a, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if a.String() != want[0] || a.URL() != want[1] {
			t.Errorf("%s prints as %s and %s, want %s", text, a, a.URL(), want)
		}
		js, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		for _, shown := range []string{
			string(js), fmt.Sprintf("%v %+v %#v %s %q", a, a, a, a, a), fmt.Sprintf("%v %+v %#v", *a, *a, *a),
			fmt.Sprintf("%v %+v %#v", struct{ A *Address }{a}, struct{ A Address }{*a}, []Address{*a}),
		} {
			if strings.Contains(shown, "sesame99") {
				t.Errorf("%s is printed with its secret: %s", text, shown)
			}
		}
	}
}

func TestEach(t *testing.T) {
	a, err := Parse("rediss+shards://u:p@a,b:1/3")
	if err != nil {
		t.Fatal(err)
	}
	each := a.Each()
	added, err := a.With("C:7000")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"rediss://u:xxxxx@a:6379/3", "rediss://u:xxxxx@b:1/3", "rediss://u:xxxxx@c:7000/3"} {
		got := append(each, added)[i]
		if got.Kind != Single || got.URL() != want || got.Password != "p" {
			t.Errorf("server %d is %s with password %s, want %s", i, got.URL(), got.Password, want)
		}
	}
	if _, err := a.With("c:70000"); !errors.Is(err, beck.ErrOption) {
		t.Errorf("With a port that none is: %v", err)
	}
	if a, err = Parse("redis+sentinel://u:p@a/m/3?sentinel_user=s"); err != nil {
		t.Fatal(err)
	}
	if one := a.Each()[0]; one.URL() != "redis://s@a:26379/0" || one.Password != "" {
		t.Errorf("a sentinel is %s", one.URL())
	}
}

func TestWithPassword(t *testing.T) {
	for text, want := range map[string]string{
		"redis://h:1/2":                     "redis://:p%40,w@h:1/2",
		"rediss://u@h":                      "rediss://u:p%40,w@h",
		"redis://u:own@h":                   "redis://u:own@h",
		"redis://u:@h":                      "redis://u:@h",
		"redis+sentinel://u@a,b/m/1":        "redis+sentinel://u:p%40,w@a,b/m/1",
		"redis+cluster://a?password_file=x": "redis+cluster://a?password_file=x",
		"redis+unix:///r.sock?db=1":         "redis+unix://:p%40,w@/r.sock?db=1",
		"redis://h/x@y":                     "redis://h/x@y",
	} {
		if got := WithPassword(text, "p@,w"); got != want {
			t.Errorf("%s becomes %s, want %s", text, got, want)
		}
	}
}

func TestRedacted(t *testing.T) {
	for text, want := range map[string]string{
		"redis://h:1/2": "redis://h:1/2",
		"redis://u@h":   "redis://u@h",
		"redis://u:@h":  "redis://u:@h",
		"rediss+sentinel://u:p@p@a,b/m?password_env=x": "rediss+sentinel://u:xxxxx@a,b/m?password_env=x",
		"redis+unix://:p@/r.sock?db=1":                 "redis+unix://:xxxxx@/r.sock?db=1",
		"redis://:p/x@h":                               "redis",
		"host":                                         "redis",
	} {
		if got := Redacted(text); got != want {
			t.Errorf("%s is shown as %s, want %s", text, got, want)
		}
	}
}
