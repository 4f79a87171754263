package redisaddr

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
)

// maxFile is the most that is read of a file: passwords are short, and a bundle
// of all public authorities has a quarter of it.
const maxFile = 1 << 20

// optionsOf says which addresses an option is for; the values are for people.
var optionsOf = map[string]string{
	"db":                    "redis+unix://",
	"ca":                    "rediss",
	"cert":                  "rediss",
	"key":                   "rediss",
	"server_name":           "rediss",
	"password_file":         "",
	"password_env":          "",
	"sentinel_user":         "redis+sentinel://",
	"sentinel_password_env": "redis+sentinel://", "sentinel_password_file": "redis+sentinel://",
}

// parseOptions reads what is behind the question mark.
func parseOptions(query string) (map[string]string, error) {
	options := map[string]string{}
	for query != "" {
		var part string
		part, query, _ = strings.Cut(query, "&")
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		_, known := optionsOf[name]
		_, twice := options[name]
		// A + stays: these are paths and names, not forms.
		value, err := url.PathUnescape(value)
		switch {
		case !known:
			return nil, wrong("the address has an unknown option %.40q; it takes %s", name,
				strings.Join(slices.Sorted(maps.Keys(optionsOf)), ", "))
		case twice:
			return nil, wrong("the address has the option %s twice", name)
		case err != nil:
			return nil, wrong("the option %s of the address is malformed; write %% as %%25", name)
		case value == "":
			return nil, wrong("the option %s of the address is empty", name)
		}
		options[name] = value
	}
	return options, nil
}

// apply does what the options say.
func (a *Address) apply(options map[string]string, secure bool) error {
	for _, name := range slices.Sorted(maps.Keys(options)) {
		switch of := optionsOf[name]; {
		case name == "db":
			return wrong("the option db of the address is for redis+unix://; here the database goes behind the host, as /2")
		case of == "rediss" && !secure && a.Network == "unix":
			return wrong("the option %s of the address is about TLS, which a unix socket has not", name)
		case of == "rediss" && !secure:
			return wrong("the option %s of the address is about TLS: write rediss instead of redis, or leave it out", name)
		case strings.HasPrefix(name, "sentinel_") && a.Kind != Sentinel:
			return wrong("the option %s of the address is for redis+sentinel://", name)
		}
	}
	given := a.Password != ""
	err := secret(&a.Password, options, "password", given)
	if err != nil {
		return err
	}
	a.SentinelUser = options["sentinel_user"]
	if err := secret(&a.SentinelPassword, options, "sentinel_password", false); err != nil {
		return err
	}
	if secure {
		a.TLS, err = secured(options)
	}
	return err
}

// secret reads a password from where name_file or name_env says. Neither of
// these is repeated in an error: it may be the password itself, by mistake.
func secret(to *string, options map[string]string, name string, given bool) error {
	file, fromFile := options[name+"_file"]
	env, fromEnv := options[name+"_env"]
	switch {
	case fromFile && fromEnv:
		return wrong("the address has both %s_file and %s_env; one is enough", name, name)
	case given && (fromFile || fromEnv):
		return wrong("the address has a password, and %s_file or %s_env as well; one is enough", name, name)
	case fromFile:
		content, err := read(file)
		if err != nil {
			return wrong("%s_file of the address: %v", name, err)
		}
		text := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
		if text == "" {
			return wrong("%s_file of the address: the file is empty", name)
		}
		*to = text
	case fromEnv:
		if *to = os.Getenv(env); *to == "" {
			return wrong("%s_env of the address: there is no such variable in the environment, or it is empty", name)
		}
	}
	return nil
}

// secured makes the settings of TLS.
func secured(options map[string]string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: options["server_name"]}
	if file, ok := options["ca"]; ok {
		content, err := read(file)
		if err != nil {
			return nil, wrong("ca of the address: %v", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(content) {
			return nil, wrong("ca of the address: the file holds no certificate in PEM form")
		}
	}
	certFile, hasCert := options["cert"]
	keyFile, hasKey := options["key"]
	switch {
	case !hasCert && !hasKey:
		return c, nil
	case !hasKey:
		return nil, wrong("the address has cert but no key; a client certificate takes both")
	case !hasCert:
		return nil, wrong("the address has key but no cert; a client certificate takes both")
	}
	cert, err := read(certFile)
	if err != nil {
		return nil, wrong("cert of the address: %v", err)
	}
	key, err := read(keyFile)
	if err != nil {
		return nil, wrong("key of the address: %v", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, wrong("cert and key of the address: %v", err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// read reads a file of a sensible size. Only regular ones: reading a pipe may
// take for ever, and addresses are read more than once. The error doesn't hold
// the file's name.
func read(file string) ([]byte, error) {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return nil, cause(err)
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	case info.Size() > maxFile:
		return nil, errors.New("the file is too large")
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, cause(err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFile))
	return content, cause(err)
}

// cause is an error of the file system without the file's name.
func cause(err error) error {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return path.Err
	}
	return err
}
