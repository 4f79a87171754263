package redisaddr

import (
	"net/url"
	"strings"
)

// WithPassword returns the text of an address with a password, if it names none,
// and as it is otherwise.
func WithPassword(text, password string) string {
	scheme, user, rest, ok := cut(text)
	_, _, query, err := split(rest)
	options, err2 := parseOptions(query)
	named := options["password_file"] != "" || options["password_env"] != "" || strings.Contains(user, ":")
	if !ok || err != nil || err2 != nil || named || password == "" {
		return text
	}
	return scheme + "://" + user + url.UserPassword("", password).String() + "@" + rest
}

// Redacted returns the text of an address that Parse takes, with xxxxx for its
// password. Its options stay, which name secrets, but hold none.
func Redacted(text string) string {
	scheme, user, rest, ok := cut(text)
	if !ok {
		return "redis"
	}
	if name, password, _ := strings.Cut(user, ":"); password != "" {
		user = name + ":xxxxx"
	}
	if user != "" {
		user += "@"
	}
	return scheme + "://" + user + rest
}

// cut takes the user and password out of the text of an address.
func cut(text string) (scheme, user, rest string, ok bool) {
	scheme, rest, ok = strings.Cut(text, "://")
	authority, _, _, err := split(rest)
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, rest = rest[:i], rest[i+1:]
	}
	return scheme, user, rest, ok && err == nil
}
