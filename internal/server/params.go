package server

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/wire"
)

const (
	defaultLimit = 100
	maxLimit     = beck.MaxFetch
)

// checkParams refuses parameters that a route doesn't know, or that are given
// more than once.
func checkParams(r *http.Request, known []string) error {
	all, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return fmt.Errorf("%w: the parameters behind the question mark: %v", beck.ErrOption, err)
	}
	for name, values := range all {
		switch {
		case len(known) == 0:
			return fmt.Errorf("%w: unknown parameter %.40q; it takes none", beck.ErrOption, name)
		case !slices.Contains(known, name):
			return fmt.Errorf("%w: unknown parameter %.40q; it takes %q", beck.ErrOption, name, known)
		case len(values) > 1:
			return fmt.Errorf("%w: parameter %q is given %d times", beck.ErrOption, name, len(values))
		}
	}
	return nil
}

// checkNoHeaders refuses beck's own headers where there are none.
func checkNoHeaders(headers http.Header) error {
	for name := range headers {
		if isOurs(name) {
			return notSupported(name)
		}
	}
	return nil
}

// isOurs reports whether a header means something to beck in some call.
func isOurs(name string) bool { return strings.HasPrefix(name, "Beck-") || name == headerDedupe }

func notSupported(header string) error {
	return wire.NewProblem(wire.CodeUnsupported, "header %.60q is not supported here", header)
}

// param returns a parameter that was checked.
func param(r *http.Request, name string) (value string, given bool) {
	values := r.URL.Query()[name]
	if len(values) == 0 {
		return "", false
	}
	return values[0], true
}

// limitOf reads the parameter limit.
func limitOf(r *http.Request) (int, error) {
	text, given := param(r, "limit")
	if !given {
		return defaultLimit, nil
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 || limit > maxLimit {
		return 0, fmt.Errorf("%w: limit %.20q; it takes 1 to %d", beck.ErrOption, text, maxLimit)
	}
	return limit, nil
}

// fromOf reads the parameter from, which the bus checks.
func fromOf(r *http.Request, otherwise beck.Position) beck.Position {
	if from, given := param(r, "from"); given {
		return beck.Position(from)
	}
	return otherwise
}
